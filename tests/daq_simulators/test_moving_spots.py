"""The moving spots are what their truth says, from any record on."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import check_source
from daq_simulators.moving_spots import MovingSpots


def opened(**values: object) -> tuple[MovingSpots, daq.Stream]:
    source = MovingSpots()
    config = validated(MovingSpots.Config, {"rate": 0, **values}, "sources.camera")
    (stream,) = source.open(config)
    return source, stream


def frames(source: MovingSpots, start: int = 0) -> np.ndarray:
    return np.concatenate([batch.raw["frame"] for batch in source.batches({"": start})])


CASES = [
    {"records": 150, "spots": 3},
    {"shape": [16, 20], "scan": [5, 7], "records": 90, "spots": 16, "peak": 50, "batch": 33},
    {"shape": [64, 17], "records": 40, "spots": 1, "seed": 8, "batch": 1},
]


@pytest.mark.parametrize("values", CASES)
@pytest.mark.parametrize("seed", range(5))
def test_truth_is_exact(values: dict[str, object], seed: int) -> None:
    source, stream = opened(**{"seed": seed, **values})
    truth = source.truth()
    seen = frames(source)
    assert seen.dtype == np.uint16
    assert len(seen) == stream.expect == values["records"]
    seen = seen.astype(np.int64)
    total = seen.sum(axis=(1, 2))
    np.testing.assert_array_equal(total, truth["total"])
    np.testing.assert_array_equal(truth["spot_sum"].sum(axis=1), total)
    y, x = np.arange(seen.shape[1]), np.arange(seen.shape[2])
    centre = np.stack([seen.sum(axis=2) @ y, seen.sum(axis=1) @ x], axis=1) / total[:, None]
    np.testing.assert_allclose(centre, truth["centre_of_mass"], rtol=1e-13)


def test_a_spot_alone_stands_where_it_is_said() -> None:
    source, _ = opened(spots=1, records=200, seed=4)
    truth = source.truth()
    seen = frames(source)
    where = truth["spot_position"][:, 0]
    brightest = [np.unravel_index(frame.argmax(), frame.shape) for frame in seen]
    np.testing.assert_array_equal(brightest, where)
    assert len(np.unique(where, axis=0)) > 10, "it moves"
    assert len(np.unique(truth["total"])) > 3, "and changes its brightness"


@pytest.mark.parametrize("start", [0, 1, 63, 64, 299, 300])
def test_goes_on_anywhere_with_the_same_records(start: int) -> None:
    source, _ = opened(records=300, scan=[10, 10], batch=64)
    again, _ = opened(records=300, scan=[10, 10], batch=7)
    whole = list(source.batches({}))
    rest = list(again.batches({"": start}))
    for field in ("frame", "time"):
        reference = np.concatenate([batch.raw[field] for batch in whole])[start:]
        found = [batch.raw[field] for batch in rest]
        if start == 300:
            assert not found
        else:
            np.testing.assert_array_equal(np.concatenate(found), reference)
            assert rest[0].first == start


def test_time_stamps_are_simulated_time() -> None:
    source, _ = opened(records=5, rate=0)
    (batch,) = source.batches({})
    assert batch.time[0] == np.datetime64("2026-01-01", "ns").astype(np.int64)
    assert set(np.diff(batch.time)) == {1_000_000}


def test_the_next_scan_differs_a_little() -> None:
    source, _ = opened(records=200, scan=[10, 10])
    total = source.truth()["spot_position"]
    assert not np.array_equal(total[:100], total[100:])


class Waiting(daq.SourceContext):
    """Does not wait, but notes for how long it would, and stops in time."""

    def __init__(self, stop_at: int) -> None:
        self.stop = threading.Event()
        super().__init__(self.stop)
        self.until: list[float] = []
        self.stop_at = stop_at

    def wait_until(self, monotonic: float) -> bool:
        self.until.append(monotonic)
        if len(self.until) == self.stop_at:
            self.stop.set()
        return self.stop.is_set()


def test_keeps_its_pace_and_stops() -> None:
    source, _ = opened(records=1000, rate=50, batch=10)
    source.context = Waiting(stop_at=4)
    batches = list(source.batches({"": 500}))
    assert [batch.first for batch in batches] == [500, 510, 520]
    np.testing.assert_allclose(np.diff(source.context.until), 10 / 50, atol=1e-9)
    assert set(np.diff(np.concatenate([batch.time for batch in batches]))) == {20_000_000}


def test_fills_the_memory_it_is_lent() -> None:
    source, _ = opened(records=20, batch=10)
    pool: list[dict[str, np.ndarray]] = []

    def allocate(stream: str, count: int) -> dict[str, np.ndarray]:
        assert stream == ""
        pool.append(
            {
                "frame": np.full((count, 128, 128), 9, np.uint16),
                "time": np.full(count, 9, np.int64),
            }
        )
        return pool[-1]

    source.context = daq.SourceContext(allocate=allocate)
    batches = list(source.batches({}))
    assert all(
        np.shares_memory(batch.raw["frame"], lent["frame"])
        for batch, lent in zip(batches, pool, strict=True)
    )
    assert batches[0].raw["frame"].sum() == source.truth()["total"][:10].sum()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shape": [8, 128]}, "16 x 16"),
        ({"peak": 60000}, "65535"),
        ({"recods": 5}, "did you mean 'records'"),
        ({"records": 0}, "greater than or equal to 1"),
    ],
)
def test_refuses_what_cannot_be(values: dict[str, object], said: str) -> None:
    with pytest.raises(daq.ConfigError, match=said):
        opened(**values)


def test_keeps_the_promises_of_a_source() -> None:
    config = {"records": 150, "scan": [10, 10], "rate": 0, "batch": 16}
    check_source(MovingSpots, config, records=120)


def test_is_registered() -> None:
    import daq_simulators

    assert MovingSpots in daq_simulators.daq_sources()
