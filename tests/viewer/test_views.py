"""What the viewer does for views of plugins: their records, streams beside, their rank."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq.viewer import choice
from daq.viewer.content import NewestRecords
from daq.viewer.scene import Scene

STREAM = daq.Stream(
    "s", {"v": daq.Field("<f8"), "n": daq.Field("<i8"), "map": daq.Field("<f8", (3, 2))}
)


def records(first: int, count: int, fields=("v", "n", "map"), valid=None) -> daq.Batch:
    index = np.arange(first, first + count)
    arrays = {
        "time": 1000 + index,
        "v": index * 1.5,
        "n": index * 2,
        "map": np.broadcast_to(index[:, None, None] * 1.0, (count, 3, 2)),
    }
    kept = {name: arrays[name] for name in ("time", *fields)}
    return daq.Batch("s", kept, first, valid)


def add(newest: NewestRecords, batch: daq.Batch) -> bool:
    return newest.add(batch, batch.indices)


def check(batch: daq.Batch) -> None:
    """Every record holds what belongs to its index."""
    at = batch.indices
    good = batch.valid
    assert (batch.time[good] == 1000 + at[good]).all()
    assert (batch["v"][good] == at[good] * 1.5).all()
    assert (batch["n"][good] == at[good] * 2).all()
    assert (batch.time[~good] == daq.NO_TIME).all()
    assert np.isnan(batch["v"][~good]).all()


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=12),
    st.integers(1, 15),
)
def test_the_newest_records_whatever_the_batches(pieces, limit):
    newest = NewestRecords(STREAM, limit)
    seen: set[int] = set()
    for first, count in pieces:
        add(newest, records(first, count))
        seen |= set(range(first, first + count))
        batch = newest.batch
        assert batch.count <= limit
        assert int(batch.indices[-1]) == max(seen)
        assert batch.valid[-1]
        check(batch)
    # Nothing that came in order and fits is left out.
    if all(a[0] + a[1] == b[0] for a, b in itertools.pairwise(pieces)):
        assert batch.valid.all() and batch.count == min(limit, len(seen))


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 12))
def test_lost_records_are_never_the_newest(valid, limit):
    newest = NewestRecords(STREAM, limit)
    good = np.array(valid)
    for at, one in enumerate(good):
        add(newest, records(at, 1, valid=np.array([one])))
    if not good.any():
        assert newest.batch is None
        return
    assert newest.batch.indices[-1] == np.flatnonzero(good)[-1]
    assert (newest.batch.valid == good[newest.batch.indices]).all()
    check(newest.batch)


@pytest.mark.parametrize("limit", [1, 4, None])
def test_small_fields_first_large_ones_after(limit):
    """As the file of a run is read: all small fields, then the large ones of the newest record."""
    newest = NewestRecords(STREAM, limit)
    assert add(newest, records(0, 8, ("v", "n")))
    assert add(newest, records(7, 1, ("map",)))
    last = newest.batch.slice(newest.batch.count - 1, newest.batch.count)
    assert last.indices.tolist() == [7]
    assert (last["v"][0], last["n"][0]) == (10.5, 14)
    assert (last["map"][0] == 7).all()


def test_the_newest_batch_as_it_came():
    newest = NewestRecords(STREAM, None)
    assert add(newest, records(5, 3, valid=np.array([True, False, True])))
    assert newest.batch.indices.tolist() == [5, 6, 7]
    assert newest.batch.valid.tolist() == [True, False, True]
    assert not add(newest, records(0, 4))
    assert add(newest, records(8, 1))
    assert newest.batch.indices.tolist() == [8]


def test_what_is_kept_is_bounded_in_bytes():
    large = daq.Stream("s", {"map": daq.Field("<f8", (1 << 20,))})
    newest = NewestRecords(large, 1000)
    for at in range(11):
        batch = daq.Batch("s", {"time": np.array([at]), "map": np.zeros((1, 1 << 20))}, at)
        add(newest, batch)
    assert newest.batch.raw["map"].nbytes <= 64 << 20
    assert newest.batch.count == 7


class Draws(daq.View):
    wanted = "a"

    @classmethod
    def can_draw(cls, stream):
        return stream.name == cls.wanted


class First(Draws):
    rank = 1
    wanted = "c"


class Last(Draws):
    rank = 150
    wanted = "a"


class Aside(Draws):
    aside = True
    wanted = "b"


class Wide(Draws):
    wide = 3
    rank = 1
    wanted = "c"


def test_a_wide_panel_counts_as_several():
    streams = [daq.Stream(n, {"v": daq.Field("<f8")}, attributes={"process": {}}) for n in "abcd"]
    panels = [(s, choice.panels_for(s, [Wide])) for s in streams]
    shown, hidden = choice.arrange(panels, limit=5)
    assert [(spec.stream, spec.wide) for spec in shown] == [("c", 3), ("a", 1), ("b", 1)]
    assert [spec.stream for spec in hidden] == ["d"]
    assert [spec.stream for spec in choice.arrange(panels, limit=2)[0]] == ["c"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(1, 12))
def test_records_that_follow_one_another_are_appended(counts, limit):
    newest, given_before, first = NewestRecords(STREAM, limit), [], 0
    for count in counts:
        add(newest, records(first, count))
        first += count
        given_before.append((newest.batch, newest.batch.indices))
        assert newest.batch.count == min(limit, first)
    for batch, indices in given_before:  # what was given stays
        assert (batch.indices == indices).all()
        check(batch)


def test_views_say_where_they_stand():
    result = {"process": {}}
    streams = [
        daq.Stream(name, {"v": daq.Field("<f8")}, attributes=result)
        for name in ("a", "b", "c", "d")
    ]
    streams.append(daq.Stream("camera", {"v": daq.Field("<f8")}))
    panels = [(s, choice.panels_for(s, [First, Last, Aside])) for s in streams]
    shown, hidden = choice.arrange(panels)
    assert [spec.stream for spec in shown] == ["c", "d", "a", "camera"]
    assert [spec.stream for spec in hidden] == ["b"]
    shown, _ = choice.arrange(panels, limit=2)
    assert [spec.stream for spec in shown] == ["c", "d"]


class Both(Draws):
    records = 3
    wanted = "a"

    @classmethod
    def beside(cls, stream):
        return ["b", "not there", "a"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_view_gets_the_stream_beside_its_own(order, make_batch):
    scene = Scene([Both])
    for name in order:
        scene.opened(daq.Stream(name, {"v": daq.Field("<f8")}))
    for name in order:
        for first in range(4):
            scene.absorb(make_batch(name, first, {"v": np.full(1, float(first))}))
    spec = next(s for s in scene.arrange()[0] if s.stream == "a")
    content = scene.content(spec)
    batches = content.since(0)
    assert [b.stream for b in batches] == ["b", "a"]
    assert all(b["v"].tolist() == [1, 2, 3] for b in batches)
    seen = content.version
    scene.absorb(make_batch("b", 4, {"v": np.full(1, 4.0)}))
    assert [b.stream for b in content.since(seen)] == ["b"]
    # Its own panel goes on, by shape.
    assert "b" in {s.stream for s in scene.arrange()[0]}


def test_a_stream_beside_that_opens_anew_begins_anew(make_batch):
    scene = Scene([Both])
    for name in "ab":
        scene.opened(daq.Stream(name, {"v": daq.Field("<f8")}))
    scene.absorb(make_batch("b", 0, {"v": np.zeros(3)}))
    scene.opened(daq.Stream("b", {"w": daq.Field("<f8")}))
    content = scene.content(next(s for s in scene.arrange()[0] if s.stream == "a"))
    assert content.since(0) == []
    scene.absorb(make_batch("b", 0, {"w": np.ones(1)}))
    assert content.since(0)[0]["w"].tolist() == [1]


def test_a_view_that_fails_to_say_what_it_wants_is_passed_over(caplog):
    class Broken(Draws):
        @classmethod
        def beside(cls, stream):
            raise RuntimeError("no")

    stream = daq.Stream("a", {"v": daq.Field("<f8")})
    assert choice.panels_for(stream, [Broken])[0].kind == "trace"
    assert "Broken" in caplog.text


class OfTheCamera(Draws):
    records = 1
    wanted = "camera"

    @classmethod
    def beside(cls, stream):
        return ["sums"]


def test_a_view_of_a_recorded_run_gets_whole_records_and_what_stands_beside(tmp_path, make_batch):
    """The file is read stream by stream, small fields first, large ones of the newest record after."""
    from daq.viewer.feed import RunFeed

    class Run:
        run = daq.Run("uid", "title")
        streams = {
            "sums": daq.Stream("sums", {"v": daq.Field("<f8")}),
            "camera": daq.Stream(
                "camera", {"frame": daq.Field("<u2", (128, 128)), "dose": daq.Field("<f8")}
            ),
        }  # fmt: skip

        def refresh(self):
            pass

        def count(self, name):
            return 5

        def closed(self, name):
            return (5, "complete", "")

        def missing(self, name):
            return []

        def read(self, name, first, count, stride=1, fields=()):
            index = np.arange(first, first + count, stride)
            shapes = {f: self.streams[name].fields[f].shape for f in fields if f != "time"}
            arrays = {
                field: np.broadcast_to(index.reshape(-1, *[1] * len(shape)), (len(index), *shape))
                for field, shape in shapes.items()
            }
            return make_batch(name, first, arrays)

        def close(self):
            pass

    scene = Scene([OfTheCamera])
    feed = RunFeed(tmp_path, open_reader=lambda path: Run())
    feed.start(scene)
    assert feed.settle(10)
    feed.close()
    content = scene.content(next(s for s in scene.arrange()[0] if s.stream == "camera"))
    beside, own = content.since(0)
    assert beside["v"].tolist() == [4]
    assert own.indices.tolist() == [4]
    assert own["dose"].tolist() == [4]
    assert (own["frame"] == 4).all()


def test_what_has_no_result_is_not_lost():
    """A scan between two temperatures has no map: nobody lost a record."""
    scene = Scene()
    for name, attributes in (("camera", {}), ("maps", {"process": {}})):
        scene.opened(daq.Stream(name, {"v": daq.Field("<f8")}, attributes=attributes))
    scene.known("maps", 10, source_gone=False, missing=3)
    assert scene.loss() == "lossless"
    assert "3 without result" in scene.report("maps").line
    scene.known("camera", 10, source_gone=False, missing=2)
    assert scene.loss() == "2 records LOST"
    assert "LOST 2" in scene.report("camera").line
