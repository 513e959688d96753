"""Other packages to compare with, each in an environment of its own.

``NAME.txt`` holds the pinned requirements of a peer. Its environment is made once, in a cache
folder outside this tree (GLASSWATCH_PEERS sets another), and made anew when the requirements or
the Python change. Scripts run in it by subprocess: arguments as JSON, results as an .npz file.
Where pip cannot install, tests are skipped, saying so; GLASSWATCH_PEERS_REQUIRED=1 fails them.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]


class CannotInstallError(Exception):
    """Pip could not make the environment; says why in one line."""


class Peer:
    """An environment with other packages, and scripts to run in it."""

    def __init__(self, python: Path) -> None:
        self.python = python

    def run(self, script: str, **arguments: Any) -> dict[str, np.ndarray]:
        """Run ``script`` (beside this file) with keyword arguments; return the arrays it saved.

        The script gets two file names: its arguments (JSON), and where to save (``np.savez``).
        """
        with tempfile.TemporaryDirectory() as folder:
            asked, answer = Path(folder, "arguments.json"), Path(folder, "answer.npz")
            asked.write_text(json.dumps(arguments, default=str))
            done = subprocess.run(
                [self.python, HERE / script, asked, answer],
                capture_output=True,
                text=True,
                timeout=240,
                env=clean_environment(),
                check=False,
            )
            assert done.returncode == 0, f"{script} failed:\n{done.stdout}\n{done.stderr}"
            with np.load(answer) as arrays:
                return dict(arrays)


def clean_environment() -> dict[str, str]:
    """Return the environment variables without those that would let our packages in."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def cache_folder() -> Path:
    """Return where environments are kept."""
    if told := os.environ.get("GLASSWATCH_PEERS"):
        return Path(told)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "glasswatch" / "peers"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "glasswatch" / "peers"


def environment(requirements: Path, cache: Path) -> Path:
    """Return the Python of the environment of ``requirements``; make it if it is not there.

    Several processes may ask at once: one makes it, the others wait.
    """
    text = requirements.read_text()
    digest = hashlib.sha256(f"{sys.version}\n{sys.executable}\n{text}".encode()).hexdigest()[:12]
    folder = cache / f"{requirements.stem}-{digest}"
    python, complete = folder / "bin" / "python", folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        # Our own pip installs there: one that is put into each environment costs seconds. So does
        # compiling what no script imports; Python compiles the rest when it is first used.
        ours = importlib.util.find_spec("pip") is not None
        pip = [sys.executable, "-m", "pip", "--python", python] if ours else [python, "-m", "pip"]
        install = ["install", "--disable-pip-version-check", "--no-compile", "-r", requirements]
        for command in (
            [sys.executable, "-m", "venv", *(["--without-pip"] if ours else []), folder],
            [*pip, *install],
        ):
            done = subprocess.run(
                command, capture_output=True, text=True, env=clean_environment(), check=False
            )
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
                why = (lines or done.stderr.splitlines() or ["no message"])[-1]
                raise CannotInstallError(f"{requirements.name} cannot be installed: {why}")
        complete.touch()
    return python


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Peer]:
    """Return a function that gives the `Peer` of a name, made if need be."""
    failed: dict[str, str] = {}

    def get(name: str) -> Peer:
        if name not in failed:
            try:
                return Peer(environment(HERE / f"{name}.txt", cache_folder()))
            except CannotInstallError as error:
                failed[name] = str(error)
        if os.environ.get("GLASSWATCH_PEERS_REQUIRED"):
            pytest.fail(failed[name])
        pytest.skip(failed[name])

    return get


@pytest.fixture(scope="session")
def merlin_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the real Merlin files, extracted."""
    folder = Path(os.environ.get("GLASSWATCH_SHARED_DATA", TREE.parent / "shared" / "data"))
    archive = folder / "merlin_single_quad.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive.name} in {folder} (set GLASSWATCH_SHARED_DATA)")
    target = tmp_path_factory.mktemp("merlin")
    with zipfile.ZipFile(archive) as content:
        content.extractall(target)
    return target
