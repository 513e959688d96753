"""The run folder: journal, HDF5 files, master; written, read, verified and repaired."""
