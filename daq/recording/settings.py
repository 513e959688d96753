"""How a run is recorded, and the error that recording raises."""

from __future__ import annotations

import errno
from typing import Final, Literal

from daq.config import Config, setting

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class RecordingSettings(Config):
    """What may be chosen about the files of a run."""

    compression: Literal["bitshuffle-lz4", "gzip", "none"] = setting(
        "bitshuffle-lz4", "", "of large fields; gzip: for readers without the HDF5 plugin"
    )
    threads: int = setting(2, "", "threads that compress", ge=1, le=64)
    reserve_bytes: int = setting(
        64 << 20, "byte", "space kept free: recording stops before the disk is full", ge=0
    )
    copy_bytes: int = setting(
        16 << 20, "byte", "streams below this size are copied into the master at the end", ge=0
    )
    copy_raw: bool = setting(False, "", "copy small streams of sources too")
    merge_bytes: int = setting(
        4 << 30,
        "byte",
        "streams in several parts are made one file at the end, up to this size",
        ge=0,
    )


FAILED_WRITES: Final = (OSError, RuntimeError, ValueError)
"""What HDF5 and the system raise where something cannot be written."""


class RecordingError(OSError):
    """Recording cannot go on: one line with what to do.

    Everything reported `durable` before is safe. ``disk_full`` tells that it can go on as soon as
    there is space.
    """

    def __init__(self, message: str, *, disk_full: bool = False) -> None:
        super().__init__(message)
        self.disk_full = disk_full

    @classmethod
    def of(cls, error: BaseException, what: str) -> RecordingError:
        """Return the error that a failed write of ``what`` means to the user."""
        if isinstance(error, RecordingError):
            return error
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL or any(f"errno = {n}," in str(error) for n in _FULL):
            return cls(f"{what}: the disk is full; free some space", disk_full=True)
        return cls(f"{what}: cannot be written ({error}); check the disk")
