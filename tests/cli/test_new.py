"""What `daq new` writes installs, passes its test and is found, before anything in it is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import daq
from daq.cli import main
from daq.cli.new import module_name, write_plugin

ROOT = Path(daq.__file__).parents[1]


def run(*words: str, cwd: Path, paths: tuple[Path, ...] = ()) -> str:
    """Run Python in a folder outside the source, and return what it printed; fail if it fails."""
    search = os.pathsep.join(str(path) for path in paths)
    environment = {**os.environ, "PYTHONPATH": search, "GLASSWATCH_RUNTIME_DIR": str(cwd / "rt")}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin("Spot-brightness", tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="module")
def installed(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    run(
        "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--disable-pip-version-check", "--target", str(target), str(plugin), cwd=target,
    )  # fmt: skip
    return target


def test_it_is_small(plugin: Path) -> None:
    files = {str(path.relative_to(plugin)) for path in plugin.rglob("*") if path.is_file()}

    assert files == {
        "pyproject.toml", "README.md", "spot_brightness.py", "spot_brightness.toml",
        "tests/test_spot_brightness.py",
    }  # fmt: skip
    assert "$" not in "".join((plugin / file).read_text() for file in files)
    assert "class SpotBrightness(daq.Analysis)" in (plugin / "spot_brightness.py").read_text()


def test_installed_it_passes_its_own_test(plugin: Path, installed: Path) -> None:
    words = ("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(plugin / "tests"))

    assert "1 passed" in run(*words, cwd=plugin, paths=(installed,))


def test_installed_it_is_found_and_its_configuration_is_valid(
    plugin: Path, installed: Path
) -> None:
    code = (
        "from pathlib import Path; from daq.runtime.experiment import load_experiment\n"
        "experiment = load_experiment(Path('spot_brightness.toml'))\n"
        "print(experiment.analyses['spot_brightness'].analysis.__module__)"
    )

    assert run("-c", code, cwd=plugin, paths=(installed,)) == "spot_brightness\n"


def test_installed_it_runs_at_once(plugin: Path, installed: Path, tmp_path: Path) -> None:
    said = run(
        "-m", "daq", "run", str(plugin / "spot_brightness.toml"), "--headless",
        "--output", str(tmp_path / "runs"), "--set", "sources.camera.rate=0",
        "--set", "viewer.picture=false", cwd=tmp_path, paths=(installed,),
    )  # fmt: skip

    assert ".nxs" in said.splitlines()[-1]


def test_uninstalled_it_works_as_a_file_in_a_folder(plugin: Path, tmp_path: Path) -> None:
    said = run("-m", "daq", "plugins", "--plugins-dir", str(plugin), cwd=tmp_path)

    assert "spot_brightness" in said


def test_the_command_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "tau_map", "--directory", str(tmp_path)]) == 0

    said = capsys.readouterr().out
    assert str(tmp_path / "tau_map") in said
    assert "daq run tau_map.toml" in said


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_plugin("tau_map", tmp_path)

    with pytest.raises(FileExistsError, match="there already"):
        write_plugin("tau_map", tmp_path)


def test_a_plugin_lives_outside_this_source() -> None:
    with pytest.raises(ValueError, match="a plugin lives outside"):
        write_plugin("tau_map", ROOT / "plugins")
    assert not (ROOT / "plugins" / "tau_map").exists()


@pytest.mark.parametrize(
    "name", ["", "3d", "a b", "class", "x/y", "..", "é", "a" * 60, "numpy", "daq"]
)
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no name for a plugin|is installed already"):
        write_plugin(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_module_names() -> None:
    assert module_name("Spot-Brightness_2") == "spot_brightness_2"
