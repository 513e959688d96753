"""A configuration is checked whole; what is wrong is said in one line with the way out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq.config import ConfigError
from daq.discovery import Plugins
from daq.runtime.experiment import (
    Experiment,
    load_corrections,
    load_experiment,
    load_tables,
    parse_assignment,
)


class Camera(daq.Source):
    """A camera."""

    name = "test_camera"

    class Config(daq.Config):
        rate: float = daq.setting(100.0, "1/s", "frames per second", gt=0)
        shape: tuple[int, int] = (8, 8)
        serial: str = daq.setting(..., "", "of the camera")


class Mean(daq.Analysis):
    """A mean."""

    name = "test_mean"

    class Config(daq.Config):
        window: int = daq.setting(10, "records", "length of the window", ge=1)
        bands: list[list[float]] = []

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        return []

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        return []


class Registered:
    @daq.hookimpl
    def daq_sources(self) -> list[type[daq.Source]]:
        return [Camera]

    @daq.hookimpl
    def daq_analyses(self) -> list[type[daq.Analysis]]:
        return [Mean]


PLUGINS = Plugins(installed=False)
PLUGINS.manager.register(Registered(), "test")

TEXT = """
[run]
title = "A night"
sample = {name = "Pd-Ni-P", annealed = 2026-01-02}

[sources.camera]
type = "test_camera"
serial = "A1"

[analyses.mean]
type = "test_mean"
input = "camera"

[analyses.after]
type = "test_mean"
inputs = ["mean.value", "camera"]
window = 3
"""


def read(text: str = TEXT, *overrides: str, base: Path | None = None) -> Experiment:
    return Experiment.from_text(text, overrides, PLUGINS, base=base)


def refusal(text: str = TEXT, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_experiment() -> None:
    experiment = read()

    assert experiment.text == TEXT
    assert experiment.run.title == "A night"
    assert experiment.sources["camera"].source is Camera
    assert experiment.sources["camera"].config.rate == 100.0
    assert experiment.analyses["after"].analysis is Mean
    assert experiment.analyses["after"].inputs == ("mean.value", "camera")
    assert experiment.analyses["after"].config.window == 3
    assert experiment.analyses["mean"].inputs == ("camera",)
    assert experiment.analyses["mean"].timeout == 60.0
    assert experiment.bus.endpoint is None
    assert (experiment.bus.ring, experiment.bus.credit) == (256, 8)
    assert experiment.recorder.output == Path("runs")


def test_resolved_is_json_with_every_default_and_can_be_read_back() -> None:
    resolved = read().resolved()

    again = Experiment.from_dict(json.loads(json.dumps(resolved)), plugins=PLUGINS)

    assert again.resolved() == resolved
    assert resolved["sources"]["camera"] == {
        "type": "test_camera", "rate": 100.0, "shape": [8, 8], "serial": "A1",
    }  # fmt: skip
    assert resolved["run"]["sample"] == {"name": "Pd-Ni-P", "annealed": "2026-01-02"}
    assert resolved["recorder"]["compression"] == "bitshuffle-lz4"


def test_analyses_stand_after_what_they_take_from_and_share_processes_by_group() -> None:
    text = TEXT.replace("[analyses.mean]", '[analyses.first]\ntype = "test_mean"\ninput = "after.value"'
                        "\n\n[analyses.mean]")  # fmt: skip

    names = [[a.name for a in group] for group in read(text).groups()]
    grouped = read(text, "analyses.first.group=g", "analyses.mean.group=g").groups()

    assert names == [["mean"], ["after"], ["first"]]
    assert [[a.name for a in group] for group in grouped] == [["mean", "first"], ["after"]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[run]", "[rnu]", "[rnu]: no such table; did you mean 'run'?"),
        ("title", "titel", "run.titel: no such key; did you mean 'title'?"),
        ("serial", "seril", "sources.camera.seril: no such key; did you mean 'serial'?"),
        ("window", "windw", "analyses.after.windw: no such key; did you mean 'window'?"),
        ("window", "timeuot", "analyses.after.timeuot: no such key; did you mean 'timeout'?"),
        (
            '"test_camera"', '"test_camara"',
            "sources.camera.type: no source type 'test_camara'; did you mean 'test_camera'?",
        ),
        (
            'input = "camera"', 'input = "camra"',
            "analyses.mean: input 'camra': no source or analysis 'camra'; did you mean 'camera'?",
        ),
        (
            '"mean.value"', '"maen.value"',
            "analyses.after: input 'maen.value': no source or analysis 'maen'; did you mean 'mean'?",
        ),
        (
            '"mean.value"', '"mean"',
            "analyses.after: input 'mean' is an analysis; name one of its streams, mean.STREAM",
        ),
        (
            'input = "camera"', 'input = "mean.value"',
            "analyses.mean: it waits for itself; change its input",
        ),
        (
            'input = "camera"', 'input = "after.value"',
            "analyses mean and after wait for each other; change one input",
        ),
        ('input = "camera"', "", ("analyses.mean: one of input = \"camera\" and inputs = "
         '["camera", "stage"] is needed')),
        ('input = "camera"', "inputs = []", "analyses.mean.inputs: at least one stream is needed"),
        (
            'input = "camera"', 'inputs = ["camera", "camera"]',
            "analyses.mean.inputs: a stream is named twice",
        ),
        ("[sources.camera]", '[sources."cam.era"]', "sources.cam.era: a name without dots is needed"),
        ("[sources.camera]", "[sources.entry]", ("sources.entry: stream name 'entry' is reserved; "
         "choose another")),
        ("[sources.camera]", "[sources.mean]", ("mean: a source and an analysis have this name; "
         "rename one")),
        ('type = "test_camera"', "", "sources.camera.type: is needed and not given"),
        ('serial = "A1"', "", "sources.camera.serial: is needed and not given"),
        ("window = 3", "window = 0", ("analyses.after.window: Input should be greater than or equal "
         "to 1, not 0")),
        ('title = "A night"', 'title = "A', ("configuration: not valid TOML: Illegal character '\\n' "
         "(at line 3, column 11)")),
        ("[run]", "bus = 3\n[run]", "bus: a table is needed, [bus]"),
        ("[run]", "sources.x = 3\n[run]", "sources.x: a table is needed, [sources.x]"),
        ("[run]", '[bus]\nendpoint = "tcp://0.0.0.0:1"\n[run]', None),
        ("[run]", "[recorder]\nrecord = 'later'\n[run]", ("recorder.record: Input should be 'now', "
         "'command' or 'never', not 'later'")),
        ("[run]", "[sources.camera.corrections]\ndrak = 1\n[run]", ("sources.camera.corrections.drak: "
         "no such key; did you mean 'dark'?")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(old: str, new: str, message: str | None) -> None:
    said = refusal(TEXT.replace(old, new))

    if message is None:
        assert said.startswith("bus.endpoint: tcp://0.0.0.0:1: without keys")
    else:
        assert said == message


def test_three_analyses_that_wait_for_each_other() -> None:
    text = TEXT.replace('input = "camera"', 'input = "third.x"')
    text += '\n[analyses.third]\ntype = "test_mean"\ninput = "after.x"\n'

    assert refusal(text) == "analyses mean, third and after wait for each other; change one input"


def test_an_experiment_needs_a_source() -> None:
    assert refusal("[run]\n").startswith("no source: write [sources.camera]")


@pytest.mark.parametrize(
    ("override", "keys", "value"),
    [
        ("recorder.record=never", ["recorder", "record"], "never"),
        ("a.b=3", ["a", "b"], 3),
        ("a.b = 1e-3", ["a", "b"], 1e-3),
        ("a=[[4.2,4.6]]", ["a"], [[4.2, 4.6]]),
        ("a={b = 1}", ["a"], {"b": 1}),
        ("a='x=y'", ["a"], "x=y"),
        ("a=x=y", ["a"], "x=y"),
        ("a=true", ["a"], True),
        ("a=/data/run 1", ["a"], "/data/run 1"),
        ("a=", ["a"], ""),
        ("a=1\nb = 2", ["a"], "1\nb = 2"),
        ('a."b.c"=1', ["a", "b.c"], 1),
    ],
)
def test_assignments(override: str, keys: list[str], value: object) -> None:
    assert parse_assignment(override) == (keys, value)


@pytest.mark.parametrize("bad", ["a", "=3", "a b=3", "a..b=3", "[x]\na=3", "a=[1", 'a="b', "a={b"])
def test_bad_assignments(bad: str) -> None:
    with pytest.raises(ConfigError):
        parse_assignment(bad)


@given(st.text())
def test_any_assignment_is_read_or_refused_and_adds_nothing_else(text: str) -> None:
    try:
        keys, _ = parse_assignment(text)
    except ConfigError:
        return
    assert keys


def test_overrides_replace_and_add() -> None:
    experiment = read(
        TEXT, "analyses.mean.bands=[[4.2,4.6]]", "bus.ring=0",
        'analyses.more={type="test_mean", input="camera"}',
    )  # fmt: skip

    assert experiment.analyses["mean"].config.bands == [[4.2, 4.6]]
    assert experiment.bus.ring == 0
    assert experiment.analyses["more"].inputs == ("camera",)
    assert experiment.overrides[1] == "bus.ring=0"
    assert experiment.text == TEXT


def test_an_override_of_what_is_not_there() -> None:
    assert refusal(TEXT, "analyses.maen.window=3") == (
        "--set analyses.maen.window=3: analyses has no 'maen'; did you mean 'mean'?"
    )
    assert refusal(TEXT, "run.title.x=3") == "--set run.title.x=3: run.title is not a table"


def test_overrides_leave_the_tables_that_were_given_alone() -> None:
    tables = {"sources": {"camera": {"type": "test_camera", "serial": "A1"}}}

    Experiment.from_dict(tables, ["sources.camera.rate=5"], PLUGINS)

    assert tables == {"sources": {"camera": {"type": "test_camera", "serial": "A1"}}}


def test_corrections_are_numbers_or_files_beside_the_configuration(tmp_path: Path) -> None:
    dark = np.arange(64.0).reshape(8, 8)
    np.save(tmp_path / "dark.npy", dark)
    np.save(tmp_path / "mask.npy", dark > 60)
    text = (
        TEXT + "\n[sources.camera.corrections]\ndark = 'dark.npy'\ngain = 2.0\nmask = 'mask.npy'\n"
    )

    source = read(text, base=tmp_path).sources["camera"]
    arrays = load_corrections(source.corrections, Path("/nowhere"))
    again = load_corrections(source.resolved()["corrections"], Path("/nowhere"))

    assert source.corrections.dark == tmp_path / "dark.npy"
    assert {name: array.dtype for name, array in arrays.items()} == {
        "dark": np.float32, "gain": np.float32, "mask": np.bool_,
    }  # fmt: skip
    np.testing.assert_array_equal(arrays["dark"], dark)
    assert arrays["gain"] == 2.0
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name])


def test_attributes_are_a_table_or_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "camera.toml").write_text("centre = [3.5, 4.5]\npixel_size = 0.1\n")
    table = TEXT + "\n[sources.camera.attributes]\ncentre = [3.5, 4.5]\npixel_size = 0.1\n"
    file = TEXT.replace("[sources.camera]", '[sources.camera]\nattributes = "camera.toml"')

    for text in (table, file):
        source = read(text, base=tmp_path).sources["camera"]
        assert source.attributes == {"centre": [3.5, 4.5], "pixel_size": 0.1}
        assert source.resolved()["attributes"] == source.attributes
    with pytest.raises(daq.ConfigError, match=r"camera\.toml: no such file"):
        read(file, base=tmp_path / "elsewhere")
    with pytest.raises(daq.ConfigError, match=r"camera\.attributes: text, numbers"):
        read(table.replace("0.1", "2026-01-01"), base=tmp_path)


def test_corrections_that_are_not_there_or_not_numbers(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("not an array")
    np.save(tmp_path / "words.npy", np.array(["a"]))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)

    with pytest.raises(ConfigError, match=r"sources\.camera\.corrections\.dark: .*: no such file"):
        read(TEXT + "\n[sources.camera.corrections]\ndark = 'absent.npy'\n", base=tmp_path)
    for name in ("text", "words", "objects"):
        with pytest.raises(ConfigError, match=rf"corrections\.dark: .*{name}\.npy: not "):
            load_corrections({"dark": f"{name}.npy"}, tmp_path)
    assert load_corrections(None, tmp_path) == {}


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "night.toml"
    path.write_text(TEXT)

    experiment = load_experiment(path, ["run.title=other"], PLUGINS)

    assert experiment.base == tmp_path
    assert experiment.run.title == "other"
    assert load_tables(path)["run"]["title"] == "A night"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_bytes(b'[run]\ntitle = "\xff"\n')

    with pytest.raises(ConfigError, match=r"night\.toml: not a text in UTF-8 \(byte 15\)"):
        load_experiment(tmp_path / "night.toml")
    with pytest.raises(
        ConfigError, match=r"nihgt\.toml: no such file; did you mean '.*/night\.toml'"
    ):
        load_experiment(tmp_path / "nihgt.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_experiment(tmp_path)


def test_shipped_configurations_are_valid() -> None:
    configs = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))

    assert configs
    for path in configs:
        experiment = load_experiment(path, plugins=Plugins())
        assert Experiment.from_dict(experiment.resolved()).resolved() == experiment.resolved()
