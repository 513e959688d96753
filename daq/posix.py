"""Everything that is not portable to Windows: runtime folder, locks, shared memory, processes."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

_SHARED = Path("/dev/shm")
if not _SHARED.is_dir():  # macOS has no such folder: files for temporary use serve as well
    _SHARED = Path(tempfile.gettempdir())
_RING_NAME = re.compile(r"glasswatch-[0-9]+-[0-9a-z-]{1,80}")
MAX_IPC_PATH = 107
"""Longest path of a Unix socket on Linux, in bytes."""


def runtime_directory() -> Path:
    """Return the folder (mode 0700, made if absent) that holds sockets and locks of this user.

    ``GLASSWATCH_RUNTIME_DIR`` sets it; else it lies under ``XDG_RUNTIME_DIR`` or the folder for
    temporary files. Raises OSError where it belongs to somebody else or is open to others.
    """
    if given := os.environ.get("GLASSWATCH_RUNTIME_DIR"):
        path = Path(given)
    elif base := os.environ.get("XDG_RUNTIME_DIR"):
        path = Path(base) / "glasswatch"
    else:
        path = Path(tempfile.gettempdir()) / f"glasswatch-{os.getuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(
            f"{path} must belong to you with mode 0700; chmod 700 it or set GLASSWATCH_RUNTIME_DIR"
        )
    return path


def fsync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    Raises BlockingIOError where another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)


class SharedMemory:
    """A named piece of memory that several processes map, mode 0600.

    Not `multiprocessing.shared_memory`: on Python 3.11 its resource tracker unlinks the memory
    when the first process that attached to it exits.
    """

    def __init__(
        self, descriptor: int, name: str, size: int, *, writable: bool, owner: bool
    ) -> None:
        self.name = name
        self.size = size
        self._descriptor: int | None = descriptor if owner else None
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.map = mmap.mmap(descriptor, size, mmap.MAP_SHARED, access)
        if not owner:
            os.close(descriptor)

    @classmethod
    def create(cls, suffix: str, size: int) -> SharedMemory:
        """Allocate ``size`` bytes now, so that a full /dev/shm is an OSError here and not a crash later."""
        name = f"glasswatch-{os.getuid()}-{suffix}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(_checked(name), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:
                os.truncate(descriptor, size)
        except OSError:
            os.close(descriptor)
            _checked(name).unlink(missing_ok=True)
            raise
        return cls(descriptor, name, size, writable=True, owner=True)

    @classmethod
    def attach(cls, name: str, *, writable: bool) -> SharedMemory:
        """Map memory that another process made; the name is checked, it is never a path."""
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(_checked(name), flags)
        size = os.fstat(descriptor).st_size
        return cls(descriptor, name, size, writable=writable, owner=False)

    def unlink(self) -> None:
        """Remove the name and the lock; who has it mapped keeps the memory."""
        _checked(self.name).unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def close(self) -> None:
        """Unmap, unless arrays still look into the memory: then the last of them does."""
        with contextlib.suppress(BufferError):
            self.map.close()


def sweep_shared_memory() -> list[str]:
    """Remove shared memory that killed processes of this user left behind; return its names."""
    swept = []
    for path in _SHARED.glob(f"glasswatch-{os.getuid()}-*"):
        try:
            lock = Lock(path)
        except OSError:
            continue
        path.unlink(missing_ok=True)
        lock.release()
        swept.append(path.name)
    return swept


def free_shared_memory() -> int:
    """Return how many bytes of shared memory are free."""
    status = os.statvfs(_SHARED)
    return status.f_bavail * status.f_frsize


def start_process(arguments: Sequence[str], *, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a child of the supervisor: out of reach of the terminal's Ctrl-C, pipes for all three.

    The child's standard input stays open while the supervisor lives: its end tells an orphan.
    """
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, cwd=cwd,
    )  # fmt: skip


def kill_process(process: subprocess.Popen[bytes]) -> None:
    """End a child and whatever it started, at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def describe_exit(returncode: int) -> str:
    """Say in words how a process ended: ``exit status 1`` or ``killed by SIGSEGV``."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


@contextlib.contextmanager
def interrupts(handler: object) -> Iterator[None]:
    """Within the block, SIGINT and SIGTERM call ``handler(signal_number, frame)``."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def set_nonblocking(stream: IO[bytes]) -> None:
    """Make reads from a pipe return at once."""
    os.set_blocking(stream.fileno(), False)


def _checked(name: str) -> Path:
    if not _RING_NAME.fullmatch(name):
        raise ValueError(f"{name[:100]!r} is not the name of a ring")
    return _SHARED / name
