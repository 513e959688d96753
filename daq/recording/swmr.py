"""Opens HDF5 files that are being written, or were left by a writer that was killed."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

_READ_ATTEMPTS = 22
"""Between attempts HDF5 waits 1 ns, 2 ns, 4 ns ...: 4 ms in all. Its default, 100, never ends."""


def open_for_reading(path: Path) -> h5py.File:
    """Open a file with SWMR and without a lock, so that neither a writer nor we are disturbed.

    Raises OSError, also where a block of the file was torn by the death of its writer.
    """
    import h5py
    import hdf5plugin  # noqa: F401 - registers the filters

    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    # As HDF5 opens what external links lead to: the master may be open in this process too.
    access.set_fclose_degree(h5py.h5f.CLOSE_WEAK)
    access.set_file_locking(False, True)
    _limit_read_attempts(h5py, access)
    flags = h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ
    return h5py.File(h5py.h5f.open(str(path).encode(), flags, access))


def _limit_read_attempts(h5py: Any, access: Any) -> None:
    # h5py does not offer this call; HDF5 is found through the module that is linked with it.
    try:
        call = ctypes.CDLL(h5py.h5p.__file__).H5Pset_metadata_read_attempts
    except (AttributeError, OSError):
        return
    call.argtypes = [ctypes.c_int64, ctypes.c_uint]
    call(access.id, _READ_ATTEMPTS)
