"""`check_source` passes a right source and catches the wrong one, in words."""

from __future__ import annotations

import re

import numpy as np
import pytest

import daq
import daq.testing.sources
from daq.testing import check_analysis, check_source, record_source
from daq.testing.records import START_TIME


class Lines(daq.Source):
    """Scan lines of a known slope: what the others spoil."""

    name = "lines"

    class Config(daq.Config):
        count: int = daq.setting(40, "", "records to give; 0 for no end")
        slope: float = daq.setting(0.5, "nm", "per pixel", gt=0)
        seed: int = 0

    def open(self, config):
        self.config = config
        self.line = daq.Stream(
            "", {"height": daq.Field("<f8", (8,), "nm")}, expect=config.count or None
        )
        return [self.line, daq.Stream("stage", {"x": daq.Field("<f4", units="nm")})]

    def truth(self):
        return {"slope": np.array([self.config.slope])}

    def height(self, index):
        rng = np.random.default_rng([self.config.seed, index])
        return self.config.slope * np.arange(8) + rng.normal(size=8)

    def batches(self, start):
        index = start[""]
        while (index < self.config.count or not self.config.count) and not self.context.stopping:
            arrays = self.context.empty(self.line, 1)
            arrays["height"][0] = self.height(index)
            arrays["time"][0] = START_TIME + index
            yield daq.Batch("", arrays, index)
            if index >= start["stage"]:
                x = np.array([index], "<f4")
                yield daq.Batch("stage", {"time": np.array([START_TIME]), "x": x}, index)
            index += 1


def fails(source, match, config=None, **options):
    with pytest.raises(AssertionError) as caught:
        check_source(source, config or {}, **options)
    message = str(caught.value)
    assert re.search(match, message), message
    assert source.__name__ in message


@pytest.mark.parametrize("count", [40, 0])
def test_right_source_passes(count):
    found = check_source(Lines, {"count": count}, records=30)
    assert sorted(found) == ["lines", "lines.stage"]
    assert len(found["lines"]) >= 30
    assert found["lines.stage"]["x"][:30].tolist() == list(range(30))


def test_records_of_a_source_feed_an_analysis():
    class Mean(daq.Analysis):
        def open(self, streams, config):
            return [daq.Stream("mean", {"value": daq.Field("<f8")})]

        def process(self, batch):
            value = np.array([line.mean() for line in batch["height"]])
            yield daq.Batch("mean", {"time": batch.time, "value": value}, valid=batch.valid)

    lines = record_source(Lines, {})["lines"]
    result = check_analysis(Mean, lines, {})
    assert result["mean"]["value"].tolist() == [line.mean() for line in lines["height"]]


def test_lost_records_are_kept_as_lost():
    class Loses(Lines):
        def batches(self, start):
            for item in super().batches(start):
                if item.stream == "" and item.first == 7:
                    yield daq.Missing("", 1, "camera buffer full")
                else:
                    yield item

    found = check_source(Loses, {})
    assert found["lines"].missing == ((7, 1),)
    assert len(found["lines"]) == 40
    assert np.isnan(found["lines"]["height"][7]).all()


def test_sending_again_from_the_start_is_a_restart_too():
    class Again(Lines):
        def batches(self, start):
            return super().batches({"": 0, "stage": 0})

    check_source(Again, {})


def test_declaring_what_a_restart_lost_is_one_too():
    class Gone(Lines):
        def batches(self, start):
            skip = 5 if start[""] else 0
            if skip:
                yield daq.Missing("", skip, "restarted")
                yield daq.Missing("stage", skip, "restarted")
            yield from super().batches({name: index + skip for name, index in start.items()})

    check_source(Gone, {})


def test_restart_at_the_wrong_record():
    class Wrong(Lines):
        def batches(self, start):
            for item in super().batches({"": 0, "stage": 0}):
                yield daq.Batch(item.stream, item.raw)  # as if it were the next one

    fails(Wrong, "restarted in mid-run it gives other records", {"count": 0})


def test_jump():
    class Jumps(Lines):
        def batches(self, start):
            return (item for item in super().batches(start) if item.first != 3)

    fails(Jumps, r"jumps from record 3 to 4; declare what was lost: yield Missing\('', 1, 'why'\)")


def test_batch_that_is_not_as_opened():
    class Narrow(Lines):
        def batches(self, start):
            for item in super().batches(start):
                item.raw["height"] = item.raw.get("height", np.zeros((1, 8)))[:, :4]
                yield item

    fails(Narrow, r"not as opened: .*height has shape \[4\] per record, opened as \[8\]")


def test_unknown_stream():
    class Unknown(Lines):
        def batches(self, start):
            yield daq.Batch("other", {"time": np.array([0])})

    fails(Unknown, "a batch of 'other', but opened were")


def test_ignores_the_wish_to_stop():
    class Ignores(Lines):
        def batches(self, start):
            for index in range(start[""], 100_000):
                arrays = {"time": np.array([START_TIME]), "height": self.height(index)[None]}
                yield daq.Batch("", arrays, index)
                yield daq.Batch("stage", {"time": np.array([0]), "x": np.zeros(1, "<f4")})

    fails(Ignores, "still gives batches after it was asked to stop", {"count": 0}, records=10)


def test_hangs(monkeypatch):
    monkeypatch.setattr(daq.testing.sources, "DEADLINE_S", 0.2)

    class Hangs(Lines):
        def batches(self, start):
            self.context.wait(1e6)
            yield from ()

    fails(Hangs, "batches hangs; wait with context.wait")


def test_gives_less_than_announced():
    class Short(Lines):
        def batches(self, start):
            return (item for item in super().batches(start) if item.first < 20)

    fails(Short, r"announced 40 records \(expect\) and gave 20")


def test_keeps_memory_of_the_runtime():
    class Keeps(Lines):
        def batches(self, start):
            previous = None
            for item in super().batches(start):
                if item.stream == "":
                    if previous is not None:
                        item.raw["height"] = item.raw["height"] + previous
                    previous = item.raw["height"] if previous is None else previous
                yield item

    fails(Keeps, "keep no reference")


def test_leaves_memory_unfilled():
    class Leaves(Lines):
        def batches(self, start):
            for index in range(start[""], self.config.count):
                arrays = self.context.empty(self.line, 1)
                arrays["time"][0] = START_TIME
                arrays["height"][0, :4] = self.height(index)[:4]
                yield daq.Batch("", arrays)
                yield daq.Batch("stage", {"time": np.array([0]), "x": np.zeros(1, "<f4")})

    fails(Leaves, "fill all of what context.empty returns")


def test_truth_as_a_constant():
    class Tells(Lines):
        def open(self, config):
            line, stage = super().open(config)
            told = daq.Stream("", line.fields, constants={"slope": np.array([config.slope])})
            return [told, stage]

    fails(Tells, "gives the truth 'slope' away as its constant 'slope'")


def test_truth_as_a_field():
    class Tells(Lines):
        def truth(self):
            return {"position": np.arange(40, dtype="<f4")}

    fails(Tells, "gives the truth 'position' away as its field 'x'")


def test_error_of_the_source_passes_through_and_it_is_closed():
    closed = []

    class Breaks(Lines):
        def batches(self, start):
            raise OSError("detector unplugged")

        def close(self):
            closed.append(True)

    with pytest.raises(OSError, match="unplugged"):
        check_source(Breaks, {})
    assert closed == [True]


def test_source_whose_instrument_ends_it():
    class Gone(Lines):
        def batches(self, start):
            for item in super().batches(start):
                if item.stream == "" and item.first == 7:
                    raise daq.Aborted("the camera is gone")
                yield item

    lines = record_source(Gone, {})["lines"]
    assert lines.aborted == "the camera is gone"
    assert len(lines) == 7
    assert not record_source(Lines, {})["lines"].aborted
    with pytest.raises(AssertionError, match="aborted after 7 records: the camera is gone"):
        check_source(Gone, {})


def test_source_that_gives_nothing():
    class Silent(Lines):
        def open(self, config):
            self.config = config
            return [daq.Stream("", {"height": daq.Field("<f8")})]

        def batches(self, start):
            return iter(())

    fails(Silent, "no records at all")
