"""The house: what is written in one place and must be true in another."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daq.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WALLS = {contract["id"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
PACKAGES = sorted(
    path.parent.name for folder in ("plugins", "simulators") for path in ROOT.glob(f"{folder}/*/__init__.py")
)  # fmt: skip
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/__init__.py"))
WORDS = {function.__name__ for function in COMMANDS}


def requirements() -> set[str]:
    project = PROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    names = {re.split(r"[<>=;\[ ]", line)[0] for line in (*project["dependencies"], *extras)}
    return {canonical(name) for name in names - {"glasswatch"}}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): version for name, version in pairs}


def test_every_package_is_registered() -> None:
    assert sorted(PROJECT["project"]["entry-points"]["daq"]) == PACKAGES


def test_every_package_stands_behind_the_walls() -> None:
    layers = [name for layer in WALLS["plugins"]["layers"] for name in layer.split(" | ")]

    assert sorted(PROJECT["tool"]["importlinter"]["root_packages"]) == ["daq", *PACKAGES]
    assert sorted(WALLS["engine"]["forbidden_modules"]) == PACKAGES
    assert sorted(WALLS["public"]["source_modules"]) == PACKAGES
    assert sorted(WALLS["qt"]["source_modules"]) == ["daq", *PACKAGES]
    assert sorted(layers) == ["daq", *PACKAGES]
    assert sorted(WALLS["simulators"]["forbidden_modules"]) == [
        name for name in PLUGINS if f"{name} |" not in WALLS["plugins"]["layers"][0]
    ]


def test_every_requirement_is_pinned_within_its_range() -> None:
    assert requirements() - set(pins()) == set()
    assert tuple(int(part) for part in pins()["pyside6-essentials"].split(".")) < (6, 12)


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run"])
def test_no_index_and_no_host_is_named(file: str) -> None:
    text = (ROOT / file).read_text()

    assert not re.search(r"https?://|index-url|find-links|trusted-host", text)


def test_ci_runs_what_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text()

    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"
    assert re.findall(r"```sh\n(make .*)\n```", readme) == ["make run", "make test"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_make_knows_what_to_do() -> None:
    for target in ("run", "test"):
        done = subprocess.run(
            ["make", "--dry-run", target, "VENV=/tmp/glasswatch-absent"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "--constraint constraints.txt --editable" in done.stdout


@pytest.mark.parametrize("file", ["README.md", *sorted((ROOT / "configs").glob("*.toml"))], ids=str)
def test_commands_and_paths_that_are_named_exist(file: str | Path) -> None:
    text = (ROOT / file).read_text()

    assert set(re.findall(r"\bdaq ([a-z]+)\b", text)) <= WORDS
    for path in re.findall(r"(?:configs|plugins|docs|tests|simulators|daq)/[\w./-]*", text):
        assert (ROOT / path.rstrip(".")).exists(), path


def test_decisions_are_numbered_once_and_titled_by_their_number() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(record.name[:4]) for record in records]

    assert len(set(numbers)) == len(numbers)
    for number, record in zip(numbers, records, strict=True):
        assert record.read_text().startswith(f"# {number}. "), record.name


def test_nothing_of_the_workplace_stands_in_the_source() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git working tree")
    here = str(ROOT)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".py", ".toml", ".md", ".txt", "") and path.is_file():
            assert here not in path.read_text(errors="replace"), name
