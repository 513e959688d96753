"""Readers of patterns in files of any laboratory: .npy, HDF5, Zarr, and what LiberTEM reads."""
