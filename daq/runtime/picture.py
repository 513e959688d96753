"""The viewer and the picture at the end of a run, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    command = [sys.executable, "-m", "daq.viewer", target, "--snapshot", str(path)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoPictureError(f"the viewer took longer than {SECONDS:g} s") from None
    if done.returncode == 0 and path.is_file():
        return path
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    raise NoPictureError(lines[-1] if lines else f"the viewer ended with {done.returncode}")
