"""Virtual detectors."""
