"""Fluctuation electron microscopy: maps of the normalised variance V."""
