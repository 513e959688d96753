"""Readers of patterns in files of any laboratory: .npy, HDF5 and Zarr."""
