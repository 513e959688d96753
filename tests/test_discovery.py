"""Plugins are found, and one that fails takes no other with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import daq
from daq.config import ConfigError
from daq.discovery import BUILTIN_SOURCES, Plugins

GOOD = """
import daq

class Ramp(daq.Analysis):
    '''A ramp.'''
    name = "{name}"

@daq.hookimpl
def daq_analyses():
    return [Ramp]
"""


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    """Modules from a plugins folder do not outlive their test."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("gw_"):
            del sys.modules[name]


def found(folder: Path, **files: str) -> Plugins:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return Plugins(folder, installed=False)


def test_our_own_are_found_as_any_other() -> None:
    plugins = Plugins()

    assert plugins.owner(plugins.sources["moving_spots"]) == "daq_simulators"
    assert plugins.owner(plugins.analyses["virtual"]) == "daq_stem"
    assert plugins.owner(plugins.readers["merlin"]) == "daq_stem"
    assert plugins.origins["daq_stem"].distribution.startswith("glasswatch ")


def test_the_engine_brings_its_own_sources() -> None:
    plugins = Plugins(installed=False)

    assert set(plugins.sources) == set(BUILTIN_SOURCES)
    assert plugins.failed == {}
    assert plugins.owner(plugins.sources["file"]) == "daq"


def test_single_files_and_packages_in_a_folder(tmp_path: Path) -> None:
    package = tmp_path / "gw_package"
    package.mkdir()
    (package / "__init__.py").write_text("from gw_package.inner import *\n")
    (package / "inner.py").write_text(GOOD.format(name="inner"))
    (tmp_path / "_private.py").write_text("raise SystemExit('not to be imported')")
    (tmp_path / "notes.txt").write_text("not a plugin")

    plugins = found(tmp_path, gw_file=GOOD.format(name="single"))

    assert set(plugins.analyses) == {"single", "inner"}
    assert plugins.failed == {}
    assert plugins.origins["gw_file"].distribution == str(tmp_path / "gw_file.py")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import gw_no_such_library", "ModuleNotFoundError: No module named 'gw_no_such_library'"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("def broken(:", "SyntaxError"),
        ("import daq\n@daq.hookimpl\ndef daq_analyses(): raise OSError('no licence')", "no licence"),
        ("import daq\n@daq.hookimpl\ndef daq_analyses(): return 3", "not a list of classes"),
        ("import daq\n@daq.hookimpl\ndef daq_analyses(): return [int]", "not a subclass of daq.Analysis"),
        (
            "import daq\n@daq.hookimpl\ndef daq_analysis(): return []",
            "daq_analysis: no such hook; did you mean 'daq_analyses'?",
        ),
        ("def daq_analyses(): return []", "daq_analyses: mark it with @daq.hookimpl"),
        ("import daq\n@daq.hookimpl\ndef daq_run_started(runs): pass", "runs"),
        (GOOD.format(name=""), 'write name = "..." in the class'),
        (
            GOOD.format(name="taken").replace(
                "    '''A", "    class Config(daq.Config):\n        timeout: int = 3\n    '''A"
            ),
            "has the key 'timeout', which is the engine's",
        ),
    ],
)  # fmt: skip
def test_what_fails_is_named_and_skipped(tmp_path: Path, text: str, reason: str) -> None:
    plugins = found(tmp_path, gw_bad=text, gw_good=GOOD.format(name="ramp"))

    assert set(plugins.analyses) == {"ramp"}
    assert set(plugins.failed) == {"gw_bad"}
    assert reason in plugins.failed["gw_bad"]
    assert "\n" not in plugins.failed["gw_bad"]


def test_one_name_for_two_types_is_an_error_that_names_both(tmp_path: Path) -> None:
    plugins = found(tmp_path, gw_a=GOOD.format(name="ramp"), gw_b=GOOD.format(name="ramp"))

    with pytest.raises(ConfigError, match=r"analysis type 'ramp'.*gw_a.*gw_b.*uninstall one"):
        _ = plugins.analyses


def test_a_type_of_the_engine_cannot_be_taken(tmp_path: Path) -> None:
    text = GOOD.format(name="file").replace("Analysis", "Source").replace("analyses", "sources")

    with pytest.raises(ConfigError, match="the engine itself and gw_a"):
        _ = found(tmp_path, gw_a=text).sources


def test_a_file_may_not_shadow_an_installed_module(tmp_path: Path) -> None:
    plugins = found(tmp_path, json="raise AssertionError", queue="raise AssertionError")

    assert set(plugins.failed) == {"json", "queue"}
    assert "name of an installed module" in plugins.failed["json"]


def test_an_unknown_type_names_the_nearest_and_what_failed(tmp_path: Path) -> None:
    plugins = found(tmp_path, gw_bad="import gw_missing", gw_good=GOOD.format(name="ramp"))

    with pytest.raises(ConfigError) as caught:
        plugins.analysis("rmap", "analyses.a.type")

    assert str(caught.value) == (
        "analyses.a.type: no analysis type 'rmap'; did you mean 'ramp'?; plugins that failed: "
        "gw_bad (ModuleNotFoundError: No module named 'gw_missing')"
    )


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        Plugins(tmp_path / "absent")


def test_runs_are_announced_and_a_plugin_that_raises_is_named(tmp_path: Path) -> None:
    listening = (
        "import daq\nheard = []\n@daq.hookimpl\ndef daq_run_started(run): heard.append(run.uid)"
    )
    raising = "import daq\n@daq.hookimpl\ndef daq_run_started(run): raise ValueError('not today')"
    plugins = found(tmp_path, gw_a=raising, gw_b=listening, gw_c=raising)

    plugins.run_started(daq.Run("20260101T000000Z-a-0000"))

    assert sys.modules["gw_b"].heard == ["20260101T000000Z-a-0000"]
    assert set(plugins.failed) == {"gw_a", "gw_c"}


def test_every_hook_call_can_be_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLASSWATCH_TRACE_PLUGINS", "1")

    _ = found(tmp_path, gw_a=GOOD.format(name="ramp")).analyses

    assert "plugins: gw_a.daq_analyses" in capsys.readouterr().err


def test_a_process_keeps_the_plugins_that_it_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daq.discovery._loaded", None)
    (tmp_path / "gw_kept.py").write_text(GOOD.format(name="kept"))

    loaded = Plugins.load(tmp_path)

    assert Plugins.load() is loaded
    assert "kept" in Plugins.load().analyses
