"""The source type ``folder``: files that arrive, grow, do not fit, and a source that is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.recording.reader import RunReader
from daq.runtime import arrivals, folder_source
from daq.runtime.folder_source import FolderSource
from daq.testing import check_source

PLUGIN = '''
"""Numbers, one a line; the file is over with the line END, or it grows without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import daq


class Whole(daq.Reader):
    name = "whole"
    suffixes = (".num",)
    counters = ("block",)

    class Config(daq.Config):
        factor: float = daq.setting(1.0, "", "times this")

    @classmethod
    def ready(cls, path: Path) -> bool:
        return path.read_text().endswith("END\\n")

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        self.path, self.factor = path, config.factor
        units = path.read_text().splitlines()[0]
        if units not in ("K", "mW"):
            raise ValueError(f"{path}: its first line is no unit")
        fields = {"value": daq.Field("<f8", (), units), "block": daq.Field("<i4")}
        return [daq.Stream("", fields, attributes={"name": path.stem})]

    def lines(self, *, whole: bool) -> list[str]:
        *lines, rest = self.path.read_text().split("\\n")
        if rest and whole:
            lines.append("cut")
        return [line for line in lines[1:] if line != "END"]

    def given(self, lines: list[str], start: int) -> Iterator[daq.Batch]:
        for first in range(start, len(lines), 3):
            values = [line.split() for line in lines[first : first + 3]]
            good = [value for value in values if value != ["cut"]]
            arrays = {
                "value": np.array([v[0] for v in good], float) * self.factor,
                "block": np.array([v[1] if len(v) > 1 else 0 for v in good], np.int32),
                "time": np.arange(first, first + len(good)),
            }
            if good:
                yield daq.Batch("", arrays, first)
            if len(good) < len(values):
                raise ValueError(f"{self.path}: the last line is cut")

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch]:
        yield from self.given(self.lines(whole=True), start.get("", 0))


class Growing(Whole):
    name = "growing"
    suffixes = (".log",)
    grows = True

    @classmethod
    def ready(cls, path: Path) -> bool:
        return "\\n" in path.read_text()

    def more(self, start: dict[str, int]) -> Iterator[daq.Batch]:
        yield from self.given(self.lines(whole=False), start.get("", 0))


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    return [Whole, Growing]
'''

_module: dict[str, Any] = {"__name__": "numbers_plugin"}
exec(compile(PLUGIN, "numbers_plugin.py", "exec"), _module)
READERS: dict[str, type[daq.Reader]] = {
    "whole": _module["Whole"],
    "growing": _module["Growing"],
}


class Known(FolderSource):
    def __init__(self) -> None:
        super().__init__(READERS)


class Scripted(daq.SourceContext):
    """Time that passes only while the source waits; something may happen at each wait."""

    now: ClassVar[float] = 1000.0

    def __init__(self, *steps: Callable[[], Any], memory: Path | None = None) -> None:
        super().__init__(memory=memory)
        self.steps = list(steps)

    def wait(self, seconds: float) -> bool:
        type(self).now += seconds
        if self.steps:
            self.steps.pop(0)()
        elif type(self).now > 1_000_000:
            pytest.fail("the source waits for ever")
        return self.stopping

    def stop(self) -> None:
        self._stop.set()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted.now = 1000.0

    class Clock:
        monotonic = staticmethod(lambda: Scripted.now)

    monkeypatch.setattr(arrivals, "time", Clock)
    monkeypatch.setattr(folder_source, "time", Clock)


def write(path: Path, values: Sequence[Any], *, units: str = "K", end: bool = True) -> None:
    path.write_text("".join(f"{line}\n" for line in [units, *values, *(["END"] if end else [])]))


def append(path: Path, text: str) -> Callable[[], None]:
    def step() -> None:
        with path.open("a") as file:
            file.write(text)

    return step


def opened(folder: Path, context: Scripted | None = None, **values: Any) -> FolderSource:
    source = Known()
    source.context = context or Scripted()
    config = validated(
        FolderSource.Config, {"path": str(folder), "settle": 1.0, "look": 0.5, **values}, "s"
    )
    source.streams = {stream.name: stream for stream in source.open(config)}  # type: ignore[attr-defined]
    return source


class Taken:
    """What a source gave."""

    def __init__(
        self, source: FolderSource, start: dict[str, int] | None = None, most: int = 10**6
    ):
        self.values: list[float] = []
        self.blocks: list[int] = []
        self.files: list[tuple[str, str]] = []
        self.reasons: dict[str, str] = {}
        self.records: list[daq.Batch] = []
        self.lost: list[daq.Missing] = []
        start = start or {}
        self.next = {"": start.get("", 0), "files": start.get("files", 0)}
        items: Iterator[daq.Batch | daq.Missing] = source.batches(self.next | start)
        for item in items:
            assert item.first == self.next[item.stream], item
            self.next[item.stream] += item.count
            if isinstance(item, daq.Missing):
                self.lost.append(item)
            elif item.stream == "files":
                self.records.append(item)
                name = item.raw["name"][0].decode()
                self.files.append((name, item.raw["status"][0].decode()))
                self.reasons[name] = item.raw["reason"][0].decode()
            else:
                self.values += item.raw["value"].tolist()
                self.blocks += item.raw["block"].tolist()
            if self.next[""] >= most:
                return  # Killed: neither `batches` nor `close` goes on.
        source.close()


# -- which files, in which order ------------------------------------------------------------------


def test_files_that_are_there_are_taken_by_name_with_numbers_by_value(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write(tmp_path / f"scan_{number}.num", [number, number + 0.5])
    taken = Taken(opened(tmp_path, count=3))
    assert taken.values == [1, 1.5, 2, 2.5, 10, 10.5]
    assert [name for name, _ in taken.files] == ["scan_1.num", "scan_2.num", "scan_10.num"]


def test_or_by_the_time_of_their_last_change(tmp_path: Path) -> None:
    for number, when in ((1, 30), (2, 10), (3, 20)):
        write(tmp_path / f"{number}.num", [number])
        os.utime(tmp_path / f"{number}.num", (when, when))
    taken = Taken(opened(tmp_path, count=3, order="time"))
    assert taken.values == [2, 3, 1]
    assert [record.time[0] for record in taken.records] == [10**10, 2 * 10**10, 3 * 10**10]


def test_files_that_come_later_are_taken_as_they_come(tmp_path: Path) -> None:
    context = Scripted(
        lambda: write(tmp_path / "b.num", [1]),
        *[lambda: None] * 5,
        lambda: write(tmp_path / "a.num", [2]),
    )
    taken = Taken(opened(tmp_path, context, quiet=5.0))
    assert taken.values == [1, 2]
    assert taken.files == [("b.num", "taken"), ("a.num", "taken")]


def test_those_before_the_run_can_be_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "old.num", [1])
    context = Scripted(lambda: None, lambda: write(tmp_path / "new.num", [2]))
    assert Taken(opened(tmp_path, context, count=1, existing=False)).values == [2]


def test_the_pattern_chooses_and_files_without_a_reader_are_no_files(tmp_path: Path) -> None:
    for name in ("a_1.num", "b_1.num", "a_2.txt", ".a_3.num"):
        write(tmp_path / name, [1])
    (tmp_path / "a_folder.num").mkdir()
    taken = Taken(opened(tmp_path, pattern="a_*", quiet=5.0))
    assert taken.files == [("a_1.num", "taken")]


def test_a_file_is_left_alone_until_it_does_not_change(tmp_path: Path) -> None:
    path = tmp_path / "slow.num"
    times = []

    def more() -> None:
        append(path, "5\nEND\n")()
        times.append(Scripted.now)

    write(path, [1], end=True)
    context = Scripted(more, more, more, more)
    source = opened(tmp_path, context, count=1)
    assert Scripted.now >= times[-1] + 1.0
    assert len(times) == 4
    assert Taken(source).values == [1, 5, 5, 5, 5]


def test_a_file_without_its_end_is_waited_for_while_others_go_on(tmp_path: Path) -> None:
    slow = tmp_path / "a.num"
    write(slow, [1], end=False)
    write(tmp_path / "b.num", [2])
    context = Scripted(*[lambda: None] * 20, append(slow, "3\nEND\n"))
    assert Taken(opened(tmp_path, context, count=2)).values == [2, 1, 3]


def test_a_file_whose_end_never_comes_is_refused_at_the_end(tmp_path: Path) -> None:
    write(tmp_path / "a.num", [1], end=False)
    write(tmp_path / "b.num", [2])
    taken = Taken(opened(tmp_path, quiet=10.0))
    assert taken.files == [("b.num", "taken"), ("a.num", "refused")]
    assert taken.reasons["a.num"] == "its end did not come"


# -- files that grow ------------------------------------------------------------------------------


def test_a_file_is_read_as_it_grows_and_a_half_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(path, [1, 2], end=False)
    seen: list[list[float]] = []
    taken: Any = None

    def note() -> None:
        seen.append(list(source_values))

    source_values: list[float] = []
    context = Scripted(
        note, append(path, "3\n4"), *[lambda: None] * 2, note, append(path, "5\n"), lambda: None, note
    )  # fmt: skip
    source = opened(tmp_path, context, quiet=30.0)
    for item in source.batches({"": 0, "files": 0}):
        if isinstance(item, daq.Batch) and item.stream == "":
            source_values += item.raw["value"].tolist()
        else:
            taken = item
    assert seen == [[1, 2], [1, 2, 3], [1, 2, 3, 45]]
    assert taken.raw["status"][0] == b"taken"
    assert taken.raw["size"][0] == path.stat().st_size


def test_a_file_that_grows_is_left_for_the_next_one_that_fits(tmp_path: Path) -> None:
    one, two = tmp_path / "1.log", tmp_path / "2.log"
    write(one, [1], end=False)
    context = Scripted(
        *[lambda: None] * 10,
        lambda: (tmp_path / "notes.log").write_text("bad\n"),
        *[lambda: None] * 10,
        append(one, "2\n"),
        lambda: write(two, [3], end=False),
        append(one, "2.5\n"),
        *[lambda: None] * 10,
        append(two, "4\n"),
    )
    taken = Taken(opened(tmp_path, context, count=2, finished=20.0))
    assert taken.values == [1, 2, 2.5, 3, 4]
    assert taken.files == [("notes.log", "refused"), ("1.log", "taken"), ("2.log", "taken")]
    assert [record.raw["first"].tolist() for record in taken.records] == [[[0]], [[0]], [[3]]]


def test_a_half_line_at_the_end_cuts_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("K\n1\n2\n3")
    taken = Taken(opened(tmp_path, quiet=5.0))
    assert taken.values == [1, 2]
    assert taken.files == [("a.log", "cut")]
    assert "the last line is cut" in taken.reasons["a.log"]


def test_ctrl_c_while_a_file_grows_is_no_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("K\n1\n2\n3")
    context = Scripted()
    context.steps = [lambda: None, lambda: None, context.stop]
    taken = Taken(opened(tmp_path, context))
    assert taken.values == [1, 2]
    assert taken.files == [("a.log", "stopped")]


# -- what does not fit ----------------------------------------------------------------------------


def test_a_file_that_does_not_fit_is_named_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "1.num", [1])
    write(tmp_path / "2.num", [2], units="mW")
    write(tmp_path / "3.num", [3], units="furlongs")
    write(tmp_path / "4.num", [4])
    (tmp_path / "5.num").write_text("K\n5\n6\n7\nwhat is this END\n")
    taken = Taken(opened(tmp_path, count=3))
    assert taken.values == [1, 4, 5, 6, 7]
    assert [status for _, status in taken.files] == "taken refused refused taken cut".split()
    assert taken.reasons["2.num"] == "2.num: does not fit the first file: units of value: mW, not K"
    assert "its first line is no unit" in taken.reasons["3.num"]
    assert [record.raw["count"][0, 0] for record in taken.records] == [1, 0, 0, 1, 3]
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 3


@pytest.mark.parametrize(("times", "status"), [(3, "taken"), (1000, "refused")])
def test_a_file_that_is_locked_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, status: str
) -> None:
    class Locked(READERS["whole"]):  # type: ignore[misc]
        locked = times

        def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
            if path.name == "locked.num" and Locked.locked:
                Locked.locked -= 1
                raise PermissionError(13, "Permission denied", str(path))
            return super().open(path, config)

    monkeypatch.setitem(READERS, "whole", Locked)
    write(tmp_path / "a.num", [1])
    write(tmp_path / "locked.num", [2])
    taken = Taken(opened(tmp_path, quiet=20.0))
    assert taken.files == [("a.num", "taken"), ("locked.num", status)]


def test_the_first_file_that_can_be_read_decides(tmp_path: Path) -> None:
    write(tmp_path / "1.num", [1], units="furlongs")
    write(tmp_path / "2.num", [2], units="mW")
    source = opened(tmp_path, count=1)
    assert source.streams[""].fields["value"].units == "mW"  # type: ignore[attr-defined]
    assert Taken(source).files == [("1.num", "refused"), ("2.num", "taken")]


def test_counters_are_counted_on_and_other_attributes_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a.num", ["1 0", "2 1", "3 1"])
    write(tmp_path / "b.num", ["4 0", "5 0"])
    write(tmp_path / "c.num", ["6 0", "7 2"])
    taken = Taken(opened(tmp_path, count=3))
    assert taken.blocks == [0, 1, 1, 2, 2, 3, 5]
    attributes = [json.loads(record.raw["attributes"][0]) for record in taken.records]
    assert attributes == [{}, {"name": "b"}, {"name": "c"}]


# -- the end --------------------------------------------------------------------------------------


def test_a_stop_file_ends_when_the_others_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "a.num", [1])

    def last() -> None:
        write(tmp_path / "b.num", [2])
        (tmp_path / "STOP").write_text("")

    taken = Taken(opened(tmp_path, Scripted(*[lambda: None] * 9, last), stop_name="STOP"))
    assert taken.values == [1, 2]


def test_nothing_that_can_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file \*\.num that can be read came within 5 s$"):
        opened(tmp_path, pattern="*.num", quiet=5.0)
    write(tmp_path / "a.num", [1], units="furlongs")
    with pytest.raises(ValueError, match=r"came within 5 s; refused: .*a.num: its first line is"):
        opened(tmp_path, quiet=5.0)


def test_ctrl_c_before_the_first_file_gives_nothing(tmp_path: Path) -> None:
    context = Scripted()
    context.steps = [context.stop]
    assert opened(tmp_path, context).streams == {}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factr": 2.0}, r"factr: no such key; did you mean 'factor'\?"),
        ({"format": "hole"}, r"no reader 'hole'; did you mean 'whole'\?"),
        ({"format": "whole", "factr": 2.0}, "factr: no such key"),
        ({"stop_name": "a/b"}, "stop_name: 'a/b' is not the name of a file"),
        ({"path": "/no/such/folder"}, "no such folder; make it"),
    ],
)
def test_a_bad_configuration_is_said_at_once(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    write(tmp_path / "a.num", [1])
    with pytest.raises(ValueError, match=message):
        opened(values.pop("path", tmp_path), **values)


def test_keys_of_the_readers_reach_them(tmp_path: Path) -> None:
    write(tmp_path / "a.num", [1, 2])
    assert Taken(opened(tmp_path, count=1, factor=2.0)).values == [2, 4]


def test_a_folder_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    folder, away = tmp_path / "data", tmp_path / "away"
    folder.mkdir()
    path = folder / "a.log"
    write(path, [1], end=False)
    context = Scripted(
        lambda: None,
        lambda: folder.rename(away),
        *[lambda: None] * 5,
        append(away / "a.log", "2\n"),
        lambda: away.rename(folder),
    )
    taken = Taken(opened(folder, context, quiet=10.0))
    assert taken.values == [1, 2]
    assert taken.files == [("a.log", "taken")]


# -- killed and restarted -------------------------------------------------------------------------


def life(folder: Path, memory: Path, start: dict[str, int], most: int, **values: Any) -> Taken:
    source = opened(folder, Scripted(memory=memory), **values)
    if not source.streams:  # type: ignore[attr-defined]
        raise AssertionError("no streams")
    return Taken(source, start, most)


@pytest.mark.parametrize("killed_at", range(1, 13))
@pytest.mark.parametrize(("batch", "late"), [(2, True), (2, False), (64, False)])
def test_a_restart_goes_on_without_repeating(
    tmp_path: Path, killed_at: int, batch: int, late: bool
) -> None:
    folder, memory = tmp_path / "data", tmp_path / "memory"
    folder.mkdir()
    write(folder / "2.log", [f"{n} {n // 3}" for n in range(5)], end=False)
    write(folder / "3.num", [7], units="mW")
    write(folder / "4.num", [f"{n} {n % 5 // 3}" for n in range(5, 9)])
    write(folder / "5.num", [f"{n} {n - 9}" for n in range(9, 12)])
    keys = {"count": 3 + late, "batch": batch}
    before = life(folder, memory, {}, killed_at, **keys)
    assert len(before.values) >= killed_at
    if late:
        write(folder / "1.num", [99])  # It goes after those that were begun before it came.
    memory.write_bytes(memory.read_bytes() + b'{"end": {"na')
    after = life(folder, memory, before.next, 10**6, **keys)
    values = before.values + after.values
    assert [value for value in values if value != 99] == list(range(12))
    files = sorted(before.files + after.files)
    if late:
        assert values.index(99) in (5, 9, 12)
        assert files.pop(0) == ("1.num", "taken")
    else:
        assert before.blocks + after.blocks == [0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 5, 6]
    assert files == [
        ("2.log", "taken"), ("3.num", "refused"), ("4.num", "taken"), ("5.num", "taken"),
    ]  # fmt: skip
    assert not after.lost


def test_records_that_were_under_way_are_read_again_and_no_more(tmp_path: Path) -> None:
    folder, memory = tmp_path / "data", tmp_path / "memory"
    folder.mkdir()
    write(folder / "1.log", [1, 2, 3], end=False)
    write(folder / "2.num", [4, 5])
    life(folder, memory, {}, 5, count=2)
    append(folder / "1.log", "3.5\n")()  # After the file was over.
    after = life(folder, memory, {"": 1, "files": 0}, 10**6, count=2)
    assert after.values == [2, 3, 4, 5]
    assert [name for name, _ in after.files] == ["1.log", "2.num"]


def test_a_file_that_went_after_it_was_taken_is_declared_as_lost(tmp_path: Path) -> None:
    folder, memory = tmp_path / "data", tmp_path / "memory"
    folder.mkdir()
    write(folder / "1.num", [1, 2, 3])
    write(folder / "2.num", [4, 5])
    life(folder, memory, {}, 4, count=2, batch=1)
    (folder / "1.num").unlink()
    after = life(folder, memory, {"": 2, "files": 0}, 10**6, count=2)
    assert [(lost.first, lost.count) for lost in after.lost] == [(2, 1)]
    assert after.values == [4, 5]


def test_keeps_the_promises_of_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for number in range(3):
        write(tmp_path / f"{number}.num", range(10))
    keys = {"path": str(tmp_path), "settle": 0.0, "look": 0.01, "batch": 4, "count": 3}
    found = check_source(Known, keys, records=30)
    assert len(found["folder"]) == 30
    assert len(found["folder.files"]) == 3


# -- a whole run ----------------------------------------------------------------------------------

RUN = """
[sources.dsc]
type = "folder"
path = "{folder}"
settle = 0.05
look = 0.01
stop_name = "STOP"
"""


def test_files_dropped_into_a_run_whose_source_is_killed(start_run: Any, tmp_path: Path) -> None:
    plugins, folder = tmp_path / "plugins", tmp_path / "data"
    plugins.mkdir()
    folder.mkdir()
    (plugins / "numbers_plugin.py").write_text(PLUGIN)
    run = start_run(RUN.format(folder=folder), "--plugins-dir", str(plugins))
    run.until(lambda: run.status()["streams"], "the bus")
    write(folder / "bad.num", [1], units="furlongs")
    write(folder / "9.num", [0, 1, 2])
    run.until_records("dsc", 3)
    path = folder / "1.log"
    write(path, [3, 4], end=False)
    run.until_records("dsc", 5)
    assert run.kill("daq.runtime.source_process") == 1
    append(path, "5\n6")()
    run.until_records("dsc", 6)
    append(path, "0\n")()
    run.until_records("dsc", 7)
    write(folder / "0.num", [61, 62])
    (folder / "STOP").write_text("")
    assert run.finish() == 0, run.said()
    reader = RunReader(run.run_folder)
    values = reader.read("dsc", 0, reader.count("dsc"))
    assert values.raw["value"].tolist() == [0, 1, 2, 3, 4, 5, 60, 61, 62]
    assert values.valid.all()
    files = reader.read("dsc.files", 0, reader.count("dsc.files")).raw
    told = list(zip(files["name"].tolist(), files["status"].tolist(), strict=True))
    assert sorted(told[:2]) == [(b"9.num", b"taken"), (b"bad.num", b"refused")]
    assert told[2:] == [(b"1.log", b"taken"), (b"0.num", b"taken")]
    messages = reader.read("run.log", 0, reader.count("run.log")).raw["message"]
    assert np.any(np.char.find(messages, b"bad.num: its first line is no unit") >= 0)
    reader.close()


def test_ctrl_c_before_any_file_ends_the_run_at_once(start_run: Any, tmp_path: Path) -> None:
    plugins, folder = tmp_path / "plugins", tmp_path / "data"
    plugins.mkdir()
    folder.mkdir()
    (plugins / "numbers_plugin.py").write_text(PLUGIN)
    run = start_run(RUN.format(folder=folder), "--plugins-dir", str(plugins))
    run.until(lambda: "dsc" in run.status()["peers"], "the source")
    run.interrupt()
    assert run.finish(15.0) == 0, run.said()
