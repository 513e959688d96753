"""``daq doctor``: will a run work on this machine, and if not, what is to be done."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from daq.cli import options

EXAMPLES: Final = {"doctor": ["daq doctor", "daq doctor --output /data"]}

LIBRARIES: Final = (
    "bitshuffle", "h5py", "hdf5plugin", "numba", "numpy", "pluggy", "pydantic", "pyqtgraph",
    "PySide6_Essentials", "pyzmq", "rich", "scipy", "typer",
)  # fmt: skip

RING_BYTES: Final = 256 << 20
"""Shared memory that a run takes by default (bus.ring)."""

SAMPLE_BYTES: Final = 64 << 20
"""Written to the output folder, and removed, to see how fast the disk is."""

SLOW_DISK: Final = 200e6
"""Bytes per second; below, the disk holds up a fast camera."""

LITTLE_SPACE: Final = 10e9
"""Bytes; a camera of 264 x 264 pixels at 10 000/s fills them in ten seconds, uncompressed."""

Level = Literal["ok", "warn", "fail"]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what to do where the level is not ``ok``."""

    level: Level
    what: str
    found: str
    advice: str = ""


def doctor(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder that runs are written to.")
    ] = Path("runs"),
    plugins_dir: options.PluginsDir = None,
) -> int:
    """Check this machine: libraries, Qt, shared memory, sockets, disk, plugins, clock.

    Each line says ok, warn or fail, and what to do. The exit status is 1 if anything fails.
    """
    from rich.markup import escape

    from daq.cli import terminal

    console = terminal.console()
    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    failed = False
    for finding in examine(output, plugins_dir):
        failed |= finding.level == "fail"
        advice = f"; {finding.advice}" if finding.advice else ""
        console.print(
            f"[{colours[finding.level]}]{finding.level:<4}[/] {escape(finding.what)}: "
            f"{escape(finding.found)}{escape(advice)}",
            markup=True,
            soft_wrap=True,
        )
    return 1 if failed else 0


def examine(output: Path, plugins_dir: Path | None = None) -> Iterator[Finding]:
    """Yield what is found, check after check; a check that breaks is itself a finding."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        python,
        libraries,
        compression,
        viewer,
        shared_memory,
        sockets,
        lambda: disk(output),
        lambda: plugins(plugins_dir),
        clock,
    )
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            name = getattr(check, "__name__", "check").strip("<>")
            yield Finding("fail", name, f"{type(error).__name__}: {error}", "report this line")


def python() -> Iterator[Finding]:
    """Python itself and the number of cores."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("ok", "python", f"{version} on {sys.platform}, {sys.executable}")
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    level: Level = "ok" if cores > 1 else "warn"
    advice = "" if cores > 1 else "one core: source, analysis and recorder take turns"
    yield Finding(level, "cores", str(cores), advice)


def libraries() -> Iterator[Finding]:
    """Versions of what the engine stands on, against what is known to fail."""
    import importlib.metadata

    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name != "bitshuffle":  # told under compression
                yield Finding("fail", name, "not installed", "pip install -c constraints.txt -e .")
    qt = versions.get("PySide6_Essentials", "")
    if qt.startswith("6.12.") and sys.version_info[:2] == (3, 11):
        yield Finding(
            "fail", "PySide6", f"{qt} aborts on Python 3.11",
            "pip install 'PySide6-Essentials>=6.8.3,<6.12'",
        )  # fmt: skip
    yield Finding("ok", "libraries", ", ".join(f"{name} {v}" for name, v in versions.items()))


def compression() -> Iterator[Finding]:
    """The HDF5 filter that readers of our files need, and the fast compressor."""
    import h5py
    import hdf5plugin

    if h5py.h5z.filter_avail(hdf5plugin.Bitshuffle.filter_id):
        yield Finding("ok", "HDF5", f"{h5py.version.hdf5_version}, bitshuffle-LZ4 is there")
    else:
        yield Finding(
            "fail", "HDF5", "the bitshuffle-LZ4 filter is not found",
            "pip install --force-reinstall hdf5plugin, or set recorder.compression = \"gzip\"",
        )  # fmt: skip
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # bitshuffle reads it when imported
    try:
        import bitshuffle  # noqa: F401 - whether it can be imported is the question
    except ImportError as error:
        advice = "the recorder compresses in the HDF5 filter instead, more slowly"
        if sys.version_info >= (3, 13):
            advice += "; Python 3.11 and 3.12 have the fast one"
        yield Finding("warn", "bitshuffle", str(error), advice)


def viewer() -> Iterator[Finding]:
    """Whether Qt can draw, and whether there is a screen to draw on."""
    from daq.viewer import availability, has_screen

    if (reason := availability()) is not None:
        yield Finding("warn", "viewer", f"{reason}; runs go on without it")
    elif has_screen():
        yield Finding("ok", "viewer", "Qt works, there is a screen")
    else:
        yield Finding(
            "ok", "viewer", "Qt works; no screen here: pictures are written, no window opens"
        )


def shared_memory() -> Iterator[Finding]:
    """Room for the ring through which large frames go."""
    from daq import posix

    free = posix.free_shared_memory()
    found = f"{free / 1e6:.0f} MB free"
    if free < RING_BYTES:
        yield Finding(
            "warn", "shared memory", f"{found}, a run takes {RING_BYTES / 1e6:.0f} MB",
            f"set bus.ring = {max(0, free // (2 << 20))}, or enlarge /dev/shm "
            "(docker: --shm-size=1g; mount -o remount,size=1G /dev/shm)",
        )  # fmt: skip
    else:
        yield Finding("ok", "shared memory", found)


def sockets() -> Iterator[Finding]:
    """The folder of sockets and locks, and whether a bus can listen there."""
    from daq import posix
    from daq.bus.endpoint import check_endpoint, default_endpoint

    try:
        folder = posix.runtime_directory()
    except OSError as error:
        yield Finding("fail", "runtime folder", str(error), "set GLASSWATCH_RUNTIME_DIR to another")
        return
    mode = folder.stat().st_mode & 0o777
    try:
        endpoint = check_endpoint(default_endpoint())
    except ValueError as error:
        yield Finding("fail", "runtime folder", str(error))
        return
    length = len(endpoint.removeprefix("ipc://").encode())
    yield Finding(
        "ok", "runtime folder", f"{folder}, mode {mode:04o}, socket path {length} of "
        f"{posix.MAX_IPC_PATH} bytes",
    )  # fmt: skip


def disk(output: Path) -> Iterator[Finding]:
    """Space and speed of the disk that runs are written to."""
    import shutil
    import tempfile

    folder = next(
        parent for parent in (output.absolute(), *output.absolute().parents) if parent.exists()
    )
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield Finding(
            "fail", "output", f"{folder} cannot be written to", "choose another with --output"
        )
        return
    free = shutil.disk_usage(folder).free
    found = f"{folder}, {free / 1e9:.1f} GB free"
    if free < LITTLE_SPACE:
        level: Level = "warn" if free > 1e9 else "fail"
        yield Finding(
            level, "output", found, "free some space, or choose another disk with --output"
        )
    else:
        yield Finding("ok", "output", found)
    if free < 4 * SAMPLE_BYTES:
        return
    block = os.urandom(1 << 20)
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(SAMPLE_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        speed = SAMPLE_BYTES / (time.perf_counter() - began)
    found = f"{speed / 1e6:.0f} MB/s written and synced"
    if speed < SLOW_DISK:
        yield Finding(
            "warn", "disk speed", found, "a fast camera will be held up; use a local disk or an SSD"
        )
    else:
        yield Finding("ok", "disk speed", found)


def plugins(directory: Path | None) -> Iterator[Finding]:
    """Plugins that are there, and those that failed."""
    from daq.discovery import Plugins

    found = Plugins.load(directory)
    counts: dict[str, Mapping[str, object]] = {
        "sources": found.sources, "analyses": found.analyses, "readers": found.readers,
        "views": found.views,
    }  # fmt: skip
    for name, reason in found.failed.items():
        yield Finding("fail", f"plugin {name}", reason, "mend it, or uninstall it")
    listed = ", ".join(f"{len(types)} {kind}" for kind, types in counts.items())
    yield Finding("ok", "plugins", f"{', '.join(found.origins) or 'none'}: {listed}")


def clock() -> Iterator[Finding]:
    """Whether the clock tells a time that can be right, and runs."""
    from daq import __file__ as installed

    now = time.time()
    year = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < Path(installed).stat().st_mtime - 86400:
        yield Finding(
            "warn", "clock", f"{year}, before this program was installed",
            "set it (timedatectl set-ntp true): time stamps of runs come from it",
        )  # fmt: skip
        return
    wall, steady = time.time(), time.monotonic()
    time.sleep(0.05)
    step = (time.time() - wall) - (time.monotonic() - steady)
    if abs(step) > 0.01:
        yield Finding(
            "warn", "clock", f"stepped by {step * 1e3:.0f} ms just now", "is NTP at work?"
        )
    else:
        yield Finding("ok", "clock", year)
