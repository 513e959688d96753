"""The driver of an analysis: numbering, gaps, blocks, commands, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq.runtime.direct import AnalysisDriver, run_analysis

CAMERA = daq.Stream("camera", {"frame": daq.Field("<u2", (2, 2))})
STAGE = daq.Stream("stage", {"x": daq.Field("<f8")})


def frames(first, count, numbered=True):
    indices = np.arange(first, first + count)
    arrays = {"time": indices, "frame": np.repeat(indices, 4).reshape(-1, 2, 2).astype("<u2")}
    return daq.Batch("camera", arrays, first if numbered else None)


class Log(daq.Analysis):
    """Gives for each record its index, whether it is valid, the factor, and the call it came in."""

    name = "log"

    class Config(daq.Config):
        factor: int = 1

    def open(self, streams, config):
        self.opened = dict(streams)
        self.factor, self.calls = config.factor, 0
        names = ("index", "good", "factor", "call", "mean")
        return [daq.Stream("rows", {name: daq.Field("<f8") for name in names})]

    def process(self, batch):
        self.calls += 1
        field = "frame" if batch.stream == "camera" else "x"
        ones = np.ones(len(batch))
        rows = {
            "time": batch.time,
            "index": batch.indices,
            "good": batch.valid,
            "factor": self.factor * ones,
            "call": self.calls * ones,
            "mean": batch[field].reshape(len(batch), -1).mean(1),
        }
        yield daq.Batch("rows", rows)

    def reconfigure(self, config):
        self.factor = config.factor


class Block(Log):
    block = 4


def calls(results):
    """Indices of the records of each call of `process`."""
    return [batch["index"].astype(int).tolist() for batch in results]


def opened(analysis=Log, streams=(CAMERA,), **options):
    driver = AnalysisDriver(analysis, "mine", {})
    driver.open(streams, **options)
    return driver


def test_names_and_numbers():
    driver = AnalysisDriver(Log, "mine", {"factor": 2})
    (stream,) = driver.open({"camera": CAMERA})
    assert stream.name == "mine.rows"
    results = driver.feed(frames(0, 3)) + driver.feed(frames(3, 2))
    assert [(b.stream, b.first, b.count) for b in results] == [
        ("mine.rows", 0, 3), ("mine.rows", 3, 2),
    ]  # fmt: skip
    assert driver.expected == driver.processed == {"camera": 5}
    assert driver.given == {"mine.rows": 5}
    assert driver.close() == []
    assert driver.close() == []


def test_input_without_numbers_is_numbered_on():
    driver = opened()
    results = driver.feed(frames(0, 3, numbered=False)) + driver.feed(frames(3, 2, numbered=False))
    assert calls(results) == [[0, 1, 2], [3, 4]]


def test_input_that_does_not_follow_is_refused():
    driver = opened()
    driver.feed(frames(0, 3))
    for item in (frames(4, 1), frames(2, 1), daq.Missing("camera", 2, "lost", 5)):
        with pytest.raises(ValueError, match=rf"camera: records {item.first}\+\d came where 3"):
            driver.feed(item)
    assert driver.feed(frames(3, 1))[0].first == 3


def test_start_and_numbering():
    driver = opened(start={"camera": 7})
    driver.renumber({"mine.rows": 5, "other.rows": 9})
    assert driver.feed(frames(7, 1))[0].first == 5
    driver = opened(start={"camera": None})
    (result,) = driver.feed(frames(9, 2))
    assert calls([result]) == [[9, 10]]
    assert result.first == 0
    with pytest.raises(ValueError, match="11 was next"):
        driver.feed(frames(12, 1))


def test_missing_records_arrive_as_not_valid():
    results = []
    driver = opened(streams=(CAMERA, STAGE))
    for item in (frames(0, 2), daq.Missing("camera", 600, "full"), frames(602, 1)):
        results += driver.feed(item)
    results += driver.feed(daq.Missing("stage", 1, "off", 0))
    indices = [index for call in calls(results) for index in call]
    assert indices == [*range(603), 0]
    assert np.flatnonzero(np.concatenate([b["good"] for b in results])).tolist() == [0, 1, 602]
    assert results[1].time[0] == daq.NO_TIME
    assert np.isnan(results[-1]["mean"][0])
    assert max(b.count for b in results) <= daq.streams.MISSING_BATCH


def test_results_that_are_not_valid_hold_nothing():
    class Marked(Log):
        def process(self, batch):
            for found in super().process(batch):
                yield daq.Batch("rows", found.raw, valid=batch.valid)

    results = []
    driver = opened(Marked)
    for item in (frames(0, 2), daq.Missing("camera", 1, "full"), frames(3, 1)):
        results += driver.feed(item)
    assert np.concatenate([b.valid for b in results]).tolist() == [True, True, False, True]
    assert np.isnan(np.concatenate([b["index"] for b in results])).tolist() == [0, 0, 1, 0]
    assert results[1].time[0] == daq.NO_TIME


def test_corrections_of_the_stream_are_applied():
    constants = {"dark": np.ones((2, 2)), "mask": np.array([[0, 0], [0, 1]], bool)}
    camera = daq.Stream("camera", CAMERA.fields, constants=constants)
    results = opened(streams=(camera,)).feed(frames(0, 3))
    assert results[0]["mean"].tolist() == [-0.75, 0.0, 0.75]


def test_nothing_of_the_input_can_be_written():
    seen = []

    class Tries(Log):
        def open(self, streams, config):
            seen.extend(streams["camera"].constants.values())
            return super().open(streams, config)

        def process(self, batch):
            seen.extend([*batch.raw.values(), batch.valid])
            return ()

    camera = daq.Stream("camera", CAMERA.fields, constants={"dark": np.zeros((2, 2))})
    driver = opened(Tries, (camera,))
    driver.feed(frames(0, 3))
    driver.feed(daq.Missing("camera", 3, "lost"))
    assert len(seen) == 7
    for array in seen:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_results_survive_their_input_and_the_analysis():
    class Views(Log):
        def open(self, streams, config):
            self.state = np.zeros((1, 2))
            return [
                daq.Stream("view", {"frame": daq.Field("<u2", (2, 2))}),
                daq.Stream("state", {"value": daq.Field("<f8", (2,))}),
            ]

        def process(self, batch):
            yield daq.Batch("view", {"time": batch.time, "frame": batch["frame"]})
            for _ in range(2):
                self.state += 1
                yield daq.Batch("state", {"time": batch.time[:1], "value": self.state})

    driver = opened(Views)
    batch = frames(0, 2)
    results = driver.feed(batch) + driver.feed(frames(2, 1))
    for array in batch.raw.values():
        array[:] = 99
    assert results[0]["frame"].ravel().tolist() == [0] * 4 + [1] * 4
    assert results[0].time.tolist() == [0, 1]
    assert [b["value"][0, 0] for b in results if b.stream == "mine.state"] == [1, 2, 3, 4]


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=10), index=st.integers(0, 40))
def test_blocks_and_commands_cut_at_fixed_records(sizes, index):
    driver = opened(Block)
    driver.reconfigure({"factor": 2}, "camera", index)
    results, at = [], 0
    for size in sizes:
        results += driver.feed(frames(at, size))
        at += size
        assert driver.processed["camera"] <= driver.expected["camera"] == at
    results += driver.end("camera")
    results += driver.close()
    edges = sorted({0, *range(4, at, 4), at, *([index] if 0 < index < at else [])})
    expected = [list(range(a, b)) for a, b in itertools.pairwise(edges)]
    assert calls(results) == expected
    factors = np.concatenate([b["factor"] for b in results])
    assert factors.tolist() == [1.0 if i < index else 2.0 for i in range(at)]


def test_several_commands_and_the_last_at_one_record_wins():
    driver = opened()
    for factor, index in ((2, 1), (3, 1), (4, 3)):
        assert driver.reconfigure({"factor": factor}, "camera", index).factor == factor
    assert driver.config.factor == 1
    assert driver.latest_config.factor == 4
    results = driver.feed(frames(0, 5))
    assert calls(results) == [[0], [1, 2], [3, 4]]
    assert [b["factor"][0] for b in results] == [1, 3, 4]
    assert driver.config.factor == driver.latest_config.factor == 4


def test_commands_that_cannot_be_obeyed():
    driver = opened(streams=(CAMERA, STAGE))
    driver.feed(frames(0, 5))
    with pytest.raises(ValueError, match="at record 5 of camera: too late for 4"):
        driver.reconfigure({"factor": 2}, "camera", 4)
    driver.reconfigure({"factor": 2}, "camera", 8)
    with pytest.raises(ValueError, match="later command waits for 8"):
        driver.reconfigure({"factor": 2}, "camera", 7)
    with pytest.raises(ValueError, match="no input 'camra'; did you mean 'camera'"):
        driver.reconfigure({"factor": 2}, "camra", 9)
    with pytest.raises(daq.ConfigError, match="factr"):
        driver.reconfigure({"factr": 2}, "camera", 9)
    driver.end("stage")
    with pytest.raises(ValueError, match="stage has ended"):
        driver.reconfigure({"factor": 2}, "stage", 9)

    class Fixed(Log):
        reconfigure = daq.Analysis.reconfigure

    with pytest.raises(ValueError, match="cannot be reconfigured while it runs; restart it"):
        opened(Fixed).reconfigure({}, "camera", 0)


def test_records_in_an_unfinished_block_can_still_be_reconfigured():
    driver = opened(Block)
    assert calls(driver.feed(frames(0, 7))) == [[0, 1, 2, 3]]
    driver.reconfigure({"factor": 2}, "camera", 5)
    assert calls(driver.feed(frames(7, 1))) == [[4], [5, 6, 7]]


def test_feeding_what_has_ended():
    driver = opened(streams=(CAMERA, STAGE))
    driver.end("camera")
    with pytest.raises(ValueError, match="camera has ended"):
        driver.feed(frames(0, 1))
    driver.close()
    with pytest.raises(RuntimeError, match="mine is closed"):
        driver.feed(frames(0, 1))
    with pytest.raises(ValueError, match="no input 'oven'"):
        opened().feed(daq.Missing("oven", 1, "?"))


def test_what_is_being_processed_can_be_seen():
    """So that a record that kills its analysis can be named."""

    class Dies(Log):
        def process(self, batch):
            if 3 in batch.indices:
                raise ZeroDivisionError
            return super().process(batch)

    driver = opened(Dies)
    driver.feed(frames(0, 2))
    assert driver.processing is None
    with pytest.raises(ZeroDivisionError):
        driver.feed(frames(2, 4))
    assert driver.processing == ("camera", 2, 4)
    assert driver.processed == {"camera": 2}


def _gives(batch=None, streams=None):
    class Gives(Log):
        def open(self, inputs, config):
            return super().open(inputs, config) if streams is None else streams

        def process(self, _):
            return batch

    driver = opened(Gives)
    return driver.feed(frames(0, 1))


ROW = {name: np.zeros(1) for name in ("index", "good", "factor", "call", "mean")}
NOW = np.zeros(1, np.int64)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (None, TypeError, "process returned None; return a list"),
        (daq.Batch("rows", {"time": NOW, **ROW}), TypeError, "process returned a batch"),
        ([{"time": NOW}], TypeError, "process gave dict, not a daq.Batch"),
        ([daq.Batch("row", {"time": NOW, **ROW})], ValueError, "not opened; did you mean 'rows'"),
        ([daq.Batch("rows", {"time": NOW})], ValueError, "lacks the field 'index'"),
        ([daq.Batch("rows", {"time": NOW, **ROW, "x": NOW})], ValueError, "'x' was not opened"),
        ([daq.Batch("rows", {"time": NOW, **ROW}, 3)], ValueError, "the next record is 0"),
        (
            [daq.Batch("rows", {"time": NOW, **ROW, "mean": np.zeros((1, 2))})],
            ValueError, r"mean has shape \[2\] per record, opened as \[\]",
        ),
        (
            [daq.Batch("rows", {"time": NOW, **ROW, "mean": np.zeros(1, complex)})],
            ValueError, "mean has dtype <c16, opened as <f8",
        ),
        (
            [daq.Batch("rows", {"time": NOW, **ROW}, valid=np.ones(2, bool))],
            ValueError, "not one entry for each of 1 records",
        ),
    ],
)  # fmt: skip
def test_wrong_results_are_named(given, error, match):
    with pytest.raises(error, match=match):
        _gives(given)


@pytest.mark.parametrize(
    ("streams", "error", "match"),
    [
        (None, None, None),
        ([STAGE, STAGE], ValueError, "returned the stream 'stage' twice"),
        (STAGE, TypeError, "open returns a list of streams"),
        ([daq.Stream("", {"x": daq.Field("<f8")})], ValueError, "has no name"),
        ([daq.Stream("a.b.c", {"x": daq.Field("<f8")})], ValueError, "stream name"),
    ],
)
def test_wrong_streams_are_named(streams, error, match):
    if streams is None:
        assert _gives([]) == []
        return
    with pytest.raises(error, match=match):
        _gives([], streams)


def test_narrower_numbers_are_widened():
    row = {**ROW, "mean": np.array([0.5], "<f4"), "index": np.array([7], "<i4")}
    (result,) = _gives([daq.Batch("rows", {"time": NOW, **row})])
    assert result["mean"].dtype == "<f8"
    assert result["mean"].tolist() == [0.5]


def test_wrong_driver_use():
    with pytest.raises(ValueError, match="at least one input"):
        AnalysisDriver(Log, "mine", {}).open({})
    driver = opened()
    with pytest.raises(RuntimeError, match="open already"):
        driver.open([CAMERA])
    with pytest.raises(TypeError, match="takes its own Config"):
        AnalysisDriver(Log, "mine", 3)

    class Zero(Log):
        block = 0

    with pytest.raises(ValueError, match=r"Zero\.block is 0"):
        AnalysisDriver(Zero, "mine", {})


def test_run_analysis():
    batches = [frames(0, 3), daq.Missing("camera", 2, "lost"), frames(5, 1)]
    result = run_analysis(
        Log, {"camera": CAMERA}, batches, {}, reconfigure={"camera": [(1, {"factor": 5})]}
    )
    rows = result["rows"]
    assert rows.stream.name == "log.rows"
    assert len(rows) == 6
    assert rows["factor"].tolist() == [1, 5, 5, 5, 5, 5]
    assert rows["good"].tolist() == [1, 1, 1, 0, 0, 1]
    assert rows["index"].tolist() == list(range(6))
    with pytest.raises(KeyError, match="did you mean 'index'"):
        rows["indx"]


def test_stream_without_records_has_empty_fields():
    rows = run_analysis(Log, {"camera": CAMERA}, [], Log.Config())["rows"]
    assert len(rows) == 0
    assert rows["index"].shape == (0,)
    assert rows.valid.shape == (0,)


def test_a_change_that_is_refused_later_changes_nothing(caplog):
    class Stubborn(daq.Analysis):
        name = "stubborn"

        class Config(daq.Config):
            factor: float = 1.0

        def open(self, streams, config):
            self.factor = config.factor
            return [daq.Stream("out", {"value": daq.Field("<f8")})]

        def process(self, batch):
            value = np.full(len(batch), self.factor)
            return [daq.Batch("out", {"time": batch.time, "value": value})]

        def reconfigure(self, config):
            if config.factor < 0:
                raise ValueError("a negative factor")
            self.factor = config.factor

    changes = {"camera": [(3, {"factor": -1.0}), (6, {"factor": 5.0})]}
    out = run_analysis(Stubborn, {"camera": CAMERA}, [frames(0, 10)], {}, reconfigure=changes)
    assert out["out"]["value"].tolist() == [1.0] * 6 + [5.0] * 4
    assert "refused at record 3 of camera: a negative factor" in caplog.text
    with pytest.raises(ValueError, match="a negative factor"):
        run_analysis(
            Stubborn, {"camera": CAMERA}, [frames(0, 10)], {},
            reconfigure={"camera": [(0, {"factor": -1.0})]},
        )  # fmt: skip
