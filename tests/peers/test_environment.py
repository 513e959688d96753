"""Environments of peers are made once, and what cannot be installed is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # they start many interpreters

CODE = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import conftest
try:
    print(conftest.environment(Path({requirements!r}), Path({cache!r})))
except conftest.CannotInstallError as error:
    print("CANNOT", error)
"""


def start(requirements: Path, cache: Path) -> subprocess.Popen[str]:
    here = str(Path(__file__).resolve().parent)
    code = CODE.format(here=here, requirements=str(requirements), cache=str(cache))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_several_processes_make_it_once(tmp_path: Path) -> None:
    requirements = tmp_path / "nothing.txt"
    requirements.write_text("# nothing\n")
    workers = [start(requirements, tmp_path / "cache") for _ in range(3)]
    answers = {worker.communicate(timeout=240)[0].strip() for worker in workers}
    (python,) = answers
    assert Path(python).is_file()
    made = Path(python).stat().st_ctime_ns
    start(requirements, tmp_path / "cache").communicate(timeout=240)
    assert Path(python).stat().st_ctime_ns == made


def test_what_cannot_be_installed_is_said(tmp_path: Path) -> None:
    requirements = tmp_path / "impossible.txt"
    requirements.write_text("./no-such-folder-anywhere\n")
    (answer, _) = start(requirements, tmp_path / "cache").communicate(timeout=240)
    assert answer.startswith("CANNOT impossible.txt cannot be installed: ERROR")
    assert "no-such-folder" in answer
    # and nothing half made is taken for whole the next time
    (again, _) = start(requirements, tmp_path / "cache").communicate(timeout=240)
    assert again == answer
