"""The viewer and the picture at the end of a run, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

SECONDS = 120.0


class NoPictureError(Exception):
    """Why there is no picture, and what to do, in one line."""


def screen() -> bool:
    """Tell whether there is a screen to open a window on."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def start_viewer(target: str) -> subprocess.Popen[bytes]:
    """Open the viewer on a live bus; nobody waits for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "daq.viewer", target],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def draw(target: str, path: Path) -> Path:
    """Draw a run, or what a live bus shows now, without a screen; raise `NoPictureError`.

    Qt can abort a process that lacks a library, so it never runs in the supervisor's own.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            _command(target, path), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        return _drawn(process, path, said)


class Watcher:
    """Sees a live run from its beginning, so that the picture at its end has all of it.

    Parameters
    ----------
    target
        The endpoint of the bus.
    path
        The PNG to write.
    """

    def __init__(self, target: str, path: Path) -> None:
        self._path = path
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [*_command(target, path), "--watch"],
            stdin=subprocess.PIPE, stdout=self._said, stderr=self._said, start_new_session=True,
        )  # fmt: skip

    def draw(self) -> Path:
        """Draw now, while the bus is still there; raise `NoPictureError`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        return _drawn(self._process, self._path, self._said)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()  # closes standard input too
        self._said.close()


def _command(target: str, path: Path) -> list[str]:
    return [sys.executable, "-m", "daq.viewer", target, "--snapshot", str(path)]


def _drawn(process: subprocess.Popen[bytes], path: Path, said: IO[bytes]) -> Path:
    try:
        status = process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise NoPictureError(f"the viewer took longer than {SECONDS:g} s") from None
    if status == 0 and path.is_file():
        return path
    said.seek(0)
    lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    raise NoPictureError(lines[-1] if lines else f"the viewer ended with {status}")
