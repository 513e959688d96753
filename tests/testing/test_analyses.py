"""Each check of `check_analysis` passes a right analysis and catches the wrong one, in words."""

from __future__ import annotations

import itertools
import re
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings

import daq
from daq.testing import (
    CHECKS,
    batchings,
    check_analysis,
    first_difference,
    make_stream,
    run_analysis,
    run_batched,
)


class Sums(daq.Analysis):
    """The sum of each record, and the total over all of them: what the others spoil."""

    name = "sums"

    class Config(daq.Config):
        scale: float = daq.setting(1.0, "", "factor on each value")

    def open(self, streams, config):
        self.scale = config.scale
        self.total = 0.0
        return [
            daq.Stream("sum", {"value": daq.Field("<f8")}),
            daq.Stream("total", {"value": daq.Field("<f8")}),
        ]

    def process(self, batch):
        sums = np.array([record.sum() for record in batch["value"]]) * self.scale
        good = batch.valid & np.isfinite(sums)
        for value in sums[good]:
            self.total += value
        yield daq.Batch("sum", {"time": batch.time, "value": sums}, valid=batch.valid)

    def close(self):
        return [daq.Batch("total", {"time": np.array([0]), "value": np.array([self.total])})]

    def reconfigure(self, config):
        self.scale = config.scale


FLOATS = make_stream("trace", {"value": ("<f8", (3,))}, records=50, seed=1)
COUNTS = make_stream("camera", {"value": ("<u2", (4, 4))}, records=50, seed=2)


def fails(analysis, inputs, match, config=None, **options):
    with pytest.raises(AssertionError) as caught:
        check_analysis(analysis, inputs, config or {}, **options)
    message = str(caught.value)
    assert re.search(match, message), message
    assert analysis.__name__ in message
    return message


@pytest.mark.parametrize("inputs", [FLOATS, COUNTS], ids=["floats", "counts"])
def test_right_analysis_passes(inputs):
    result = check_analysis(Sums, inputs, {}, reconfigure_to={"scale": 3.0})
    expected = [record.sum() for record in inputs["value"]]
    assert result["sum"]["value"].tolist() == expected
    assert len(result["total"]) == 1


def test_input_with_gaps_of_its_own_passes():
    check_analysis(Sums, COUNTS.with_missing((0, 2), (20, 5), (49, 1)), {})


def test_cut_dependent():
    class PerBatch(Sums):
        def process(self, batch):
            for result in super().process(batch):
                result.raw["value"] = result.raw["value"] - result.raw["value"].mean()
                yield result

    message = fails(PerBatch, FLOATS, "how the records were cut into batches")
    assert "stream 'sum', field 'value', record 0" in message
    assert "record by record" in message


def test_rounding_depends_on_cut_and_block_cures_it():
    class Vectorised(Sums):
        def process(self, batch):
            self.total += float(np.nansum(batch["value"][batch.valid], dtype=np.float32))
            return ()

    class Blocked(Vectorised):
        block = 8

    fails(Vectorised, FLOATS, "set `block`")
    check_analysis(Blocked, FLOATS, {})


def test_keeps_reference():
    class Keeps(Sums):
        def open(self, streams, config):
            self.kept = []
            return super().open(streams, config)

        def process(self, batch):
            self.kept.append(batch["value"])
            return ()

        def close(self):
            total = sum(float(record.sum()) for array in self.kept for record in array)
            return [daq.Batch("total", {"time": np.array([0]), "value": np.array([total])})]

    message = fails(Keeps, FLOATS, "keeps a reference to its input")
    assert "copy" in message


def test_output_that_goes_on_changing_is_safe():
    """The driver takes what is given at once: views of state do no harm."""

    class State(Sums):
        def process(self, batch):
            for time, value, valid in zip(batch.time, batch["value"], batch.valid, strict=True):
                if not hasattr(self, "state"):
                    self.state = np.zeros(1)
                if valid and np.isfinite(value).all():
                    self.state += value.sum()
                yield daq.Batch("sum", {"time": np.array([time]), "value": self.state})

    check_analysis(State, FLOATS, {})


def _furnace():
    return make_stream("furnace", {"value": ("<f8", (1,))}, records=10, seed=3, rate=200.0)


def test_order_between_inputs():
    class LastThatCame(Sums):
        def open(self, streams, config):
            self.temperature = 0.0
            return super().open(streams, config)

        def process(self, batch):
            if batch.stream == "furnace":
                self.temperature = float(batch["value"][-1, 0])
                return
            value = np.full(len(batch), self.temperature)
            yield daq.Batch("sum", {"time": batch.time, "value": value})

    fails(LastThatCame, [_furnace(), FLOATS], "order between inputs.*daq.Join")


def test_join_makes_it_independent_of_order():
    class Joined(Sums):
        def open(self, streams, config):
            self.join = daq.Join(
                streams, "trace", {"temperature": ("furnace", "value")}, tolerance=1.0
            )
            self.total = 0.0
            return [daq.Stream("pair", {"sum": daq.Field("<f8"), "kelvin": daq.Field("<f8", (1,))})]

        def process(self, batch):
            small = {}
            if batch.stream == "trace":
                small = {"sum": np.array([record.sum() for record in batch["value"]])}
            return self.given(self.join.push(batch, small))

        def given(self, pairs):
            return [
                daq.Batch(
                    "pair",
                    {"time": p.time, "sum": p.kept["sum"], "kelvin": p["temperature"]},
                    valid=p.valid,
                )
                for p in pairs
            ]

        def close(self):
            return self.given(self.join.close())

    result = check_analysis(Joined, [FLOATS, _furnace()], {})
    # 1000 records a second, 200 readings a second: each reading holds for five records
    expected = np.repeat(_furnace()["value"][:, 0], 5)
    assert result["pair"]["kelvin"][:, 0].tolist() == expected.tolist()


def test_state_of_the_class():
    class Shared(Sums):
        seen: ClassVar[list[float]] = []

        def process(self, batch):
            self.seen.extend(batch["value"].sum(1))
            return ()

        def close(self):
            total = float(len(self.seen))
            return [daq.Batch("total", {"time": np.array([0]), "value": np.array([total])})]

    fails(Shared, FLOATS, "state that outlives the instance")


def test_state_of_the_module_that_open_resets():
    seen: list[float] = []

    class Shared(Sums):
        def open(self, streams, config):
            seen.clear()
            return super().open(streams, config)

        def process(self, batch):
            seen.extend(float(record.sum()) for record in batch["value"])
            return ()

        def close(self):
            total = float(len(seen))
            return [daq.Batch("total", {"time": np.array([0]), "value": np.array([total])})]

    fails(Shared, FLOATS, "state belongs into self")


def test_random_numbers():
    clock = itertools.count()

    class Clocked(Sums):
        def close(self):
            value = np.array([float(next(clock))])
            return [daq.Batch("total", {"time": np.array([0]), "value": value})]

    fails(Clocked, FLOATS, "two runs on the same records differ")


def test_writes_to_its_input():
    class Writes(Sums):
        def process(self, batch):
            batch["value"][:] = 0
            return ()

    fails(Writes, FLOATS, "writes to its input: arrays of a batch are read-only")


def test_writes_to_its_input_by_force():
    class Forces(Sums):
        def process(self, batch):
            array = batch["value"]
            array.flags.writeable = True
            array[0] += 1.0
            return super().process(batch)

    fails(Forces, FLOATS, "has changed the field 'value' of its input 'trace'")


def test_dies_at_nan():
    class Dies(Sums):
        def process(self, batch):
            if np.isnan(batch["value"][batch.valid]).any():
                raise ZeroDivisionError("no NaN please")
            return super().process(batch)

    message = fails(Dies, FLOATS, "NaN in the input ends the analysis")
    assert "ZeroDivisionError: no NaN please" in message
    check_analysis(Dies, FLOATS, {}, without={"nan"})


def test_spoilt_by_nan():
    class Spoilt(Sums):
        def process(self, batch):
            for record in batch["value"][batch.valid]:
                self.total += record.sum()
            return ()

    message = fails(Spoilt, FLOATS, "spoils everything after it")
    assert "record 12 of 'trace' is NaN" in message


def test_dies_at_gap():
    class Dies(Sums):
        def process(self, batch):
            if not batch.valid.all():
                raise KeyError("lost")
            return super().process(batch)

    message = fails(Dies, COUNTS, "records that the instrument lost")
    assert "KeyError" in message
    assert "lost of 'camera': 12+5" in message


def test_counts_lost_records():
    class Counts(Sums):
        def process(self, batch):
            for record in batch["value"]:
                self.total += float(record.sum())
            return ()

    fails(Counts, COUNTS, "leave them out[^(]*.lost of 'camera'.*filled with other values than 0")


def test_gap_spoils_what_follows():
    class Spoilt(Sums):
        def process(self, batch):
            for record in batch["value"]:
                self.total += record.sum()
            return ()

    fails(Spoilt, FLOATS, "records that the instrument lost(.|\n)*not finite any more")


def test_begins_at_zero_only():
    class Zero(Sums):
        def open(self, streams, config):
            self.sums = np.zeros(len(FLOATS))
            self.next = 0
            return super().open(streams, config)

        def process(self, batch):
            if batch.first != self.next:
                raise IndexError(batch.first)
            self.next += len(batch)
            return super().process(batch)

    fails(Zero, FLOATS, "cannot begin at a record other than 0")


def test_reconfigured_too_late():
    class Late(Sums):
        """Takes up the new scale only with its second batch."""

        def open(self, streams, config):
            self.new = None
            return super().open(streams, config)

        def reconfigure(self, config):
            self.new = config.scale

        def process(self, batch):
            yield from super().process(batch)
            if self.new is not None:
                self.scale = self.new

    fails(Late, FLOATS, "does not take effect exactly", reconfigure_to={"scale": 2.0})


def test_reconfigured_for_deferred_records_too():
    class Deferred(Sums):
        """Keeps every record until close, and scales it then."""

        def open(self, streams, config):
            self.values = []
            return super().open(streams, config)

        def process(self, batch):
            self.values += [r.sum() for r in batch["value"][batch.valid] if np.isfinite(r).all()]
            while len(self.values) >= 16:
                self.total += self.values.pop(0) * self.scale
            return ()

        def close(self):
            for value in self.values:
                self.total += value * self.scale
            return super().close()

    # The scale of a record in waiting is that of another record: but not by batching.
    check_analysis(Deferred, FLOATS, {}, reconfigure_to={"scale": 2.0})


def test_reconfigured_between_inputs():
    """What waits for another input must keep the parameters with which it came."""

    class Waits(Sums):
        def open(self, streams, config):
            self.join = daq.Join(streams, "trace", {"t": ("furnace", "value")}, tolerance=1.0)
            self.scale = config.scale
            return [daq.Stream("pair", {"value": daq.Field("<f8")})]

        def process(self, batch):
            small = {}
            if batch.stream == "trace":
                small = {"sum": np.array([r.sum() for r in batch["value"]])}
            return self.given(self.join.push(batch, small))

        def given(self, pairs):
            return [
                daq.Batch("pair", {"time": p.time, "value": p.kept["sum"] * self.scale})
                for p in pairs
            ]

        def close(self):
            return self.given(self.join.close())

    fails(
        Waits, [FLOATS, _furnace()], "does not take effect exactly", reconfigure_to={"scale": 2.0}
    )


def test_reconfigure_to_that_checks_nothing():
    fails(Sums, FLOATS, "nothing is checked", reconfigure_to={"scale": 1.0})


def test_reconfigure_that_is_not_offered():
    class Fixed(Sums):
        reconfigure = daq.Analysis.reconfigure

    fails(Fixed, FLOATS, "cannot be reconfigured", reconfigure_to={"scale": 2.0})


def test_gives_nothing():
    class Silent(Sums):
        def process(self, batch):
            return ()

        def close(self):
            return ()

    fails(Silent, FLOATS, "no records at all from 50 of 'trace'")


def test_bad_memory():
    class Greedy(Sums):
        @classmethod
        def memory(cls, streams, config):
            return 1.5

    fails(Greedy, FLOATS, "not a number of bytes")


@pytest.mark.parametrize("returned", [None, daq.Batch("sum", {"time": np.array([0])})])
def test_process_that_returns_no_list(returned):
    class Forgets(Sums):
        def process(self, batch):
            return returned

    with pytest.raises(TypeError, match="return a list of batches"):
        check_analysis(Forgets, FLOATS, {})


class Image(daq.Analysis):
    """The sum of all pixels over all records, which may be split along both axes of the image."""

    name = "image"
    split_axes = ("y", "x")

    def open(self, streams, config):
        (stream,) = streams.values()
        self.field = max(stream.fields, key=lambda name: stream.fields[name].record_bytes)
        self.total = 0
        return [daq.Stream("total", {"value": daq.Field("<i8")})]

    def process(self, batch):
        self.total += int(np.asarray(batch[self.field][batch.valid], np.int64).sum())
        return ()

    def merge(self, other):
        self.total += other.total

    def close(self):
        return [daq.Batch("total", {"time": np.array([0]), "value": np.array([self.total])})]


def _image(**options):
    axes = {"frame": [{"name": "y", "offset": 0, "step": 1}, {"name": "x", "values": "columns"}]}
    return make_stream(
        "camera", {"frame": ("<u2", (4, 6))}, records=20, axes=axes,
        constants={"columns": np.arange(6.0), "dark": np.arange(24.0).reshape(4, 6)}, **options,
    )  # fmt: skip


def test_split_and_merged_equals_whole():
    check_analysis(Image, _image(), {})


def test_merge_that_loses():
    class Loses(Image):
        def merge(self, other):
            self.total = max(self.total, other.total)

    message = fails(Loses, _image(), "parts merged differ from the whole")
    assert "split into 2 along 'y'" in message


def test_merge_that_is_not_there():
    class Lacks(Image):
        merge = daq.Analysis.merge

    fails(Lacks, _image(), "cannot be split")


def test_split_axis_that_no_input_has():
    class Elsewhere(Image):
        split_axes = ("energy",)

    fails(Elsewhere, _image(), "no input has a field with an axis 'energy'")


def test_split_output_that_has_the_split_axis():
    class Rows(Image):
        split_axes = ("y",)

        def open(self, streams, config):
            super().open(streams, config)
            self.rows = np.zeros(streams["camera"].fields["frame"].shape[0])
            return [daq.Stream("rows", {"value": daq.Field("<f8", self.rows.shape)})]

        def merge(self, other):
            pass

        def close(self):
            return [daq.Batch("rows", {"time": np.array([0]), "value": self.rows[None]})]

    fails(Rows, _image(), r"was opened with .*\[2\].*on the whole with .*\[4\]")


def test_split_rounds_within_tolerance():
    class Mean(Image):
        split_axes = ("y",)

        def open(self, streams, config):
            super().open(streams, config)
            return [daq.Stream("total", {"value": daq.Field("<f4")})]

        def process(self, batch):
            for record in batch[self.field][batch.valid]:
                self.total += float(np.float32(record.sum()) / np.float32(7))
            return ()

        def close(self):
            value = np.array([self.total], np.float32)
            return [daq.Batch("total", {"time": np.array([0]), "value": value})]

    check_analysis(Mean, _image(seed=3), {}, tolerance=1e-5)


def test_unknown_check_is_refused():
    with pytest.raises(ValueError, match="no check 'nam'"):
        check_analysis(Sums, FLOATS, {}, without={"nam"})
    assert len(set(CHECKS)) == len(CHECKS)


def test_bad_configuration_is_one_line():
    with pytest.raises(daq.ConfigError, match=r"analyses\.sums\.scal: no such key; did you mean"):
        check_analysis(Sums, FLOATS, {"scal": 1.0})


@settings(max_examples=30, deadline=None)
@given(batching=batchings({"trace": FLOATS}))
def test_batchings_cover_every_record_once(batching):
    ends = [stop for _, _, stop in batching.pieces]
    starts = [start for _, start, _ in batching.pieces]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == len(FLOATS)
    reference = run_analysis(Sums, {"trace": FLOATS.stream}, FLOATS.batches(), {})
    assert first_difference(reference, run_batched(Sums, FLOATS, {}, batching)) is None


@settings(max_examples=20, deadline=None)
@given(batching=batchings({"trace": FLOATS, "camera": COUNTS}))
def test_batchings_keep_each_stream_in_order(batching):
    for name in ("trace", "camera"):
        edges = [(start, stop) for stream, start, stop in batching.pieces if stream == name]
        assert [start for start, _ in edges] == [0, *(stop for _, stop in edges[:-1])]
        assert edges[-1][1] == 50
