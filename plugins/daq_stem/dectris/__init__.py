"""DECTRIS cameras: the source that listens to one, and the reader of the HDF5 files they write."""
