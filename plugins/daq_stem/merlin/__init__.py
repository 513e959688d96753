"""Merlin cameras: the source that listens to one, and the reader of its files."""
