"""Electron correlation microscopy: from two-time correlations to maps of relaxation times with errors."""
