"""A process that can be killed, or whose disk can be full, at any write (`victim.py`, `shim.c`)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    """A folder in memory where there is one: these tests fsync thousands of times."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="recording-", dir=memory if memory.is_dir() else None)
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def new_folder(root: Path) -> Callable[[], Path]:
    """A function that makes empty folders."""
    return lambda: Path(tempfile.mkdtemp(dir=root))


@pytest.fixture
def tmp_path(new_folder: Callable[[], Path]) -> Path:
    """Instead of that of pytest."""
    return new_folder()


@pytest.fixture(scope="session")
def victim() -> Any:
    """The module that the process runs: what it records, and how."""
    spec = importlib.util.spec_from_file_location("recording_victim", HERE / "victim.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def order(root: Path, new_folder: Callable[[], Path]) -> Iterator[Any]:
    """A function that has an order carried out by a process, and returns how that ended."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    library = new_folder() / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "shim.c", "-ldl"], check=True
    )
    environment = {**os.environ, "LD_PRELOAD": str(library), "SHIM_ROOT": str(root)}
    process = subprocess.Popen(
        [sys.executable, HERE / "victim.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None

    def carry_out(folder: Path, **more: Any) -> int:
        print(json.dumps({"folder": str(folder), **more}), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        assert answer, "the victim's parent has died"
        status: int = json.loads(answer)["status"]
        return status

    yield carry_out
    process.stdin.close()
    process.wait(20)
    process.stdout.close()
