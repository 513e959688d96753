"""Which lines are whole: looks at a buffer that a simulated scan fills, at any moments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_afm.nanonis_lines import LineFinder
from daq_simulators.nanonis_controller import ScanEngine

ROWS, COLUMNS = 6, 4
GRIDS = [(14, 1), (14, 0), (24, 1), (24, 0)]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def engine(clock: Clock, **keys: Any) -> ScanEngine:
    return ScanEngine(ROWS, COLUMNS, line_time=1.0, channels=(14, 24), clock=clock,
                      **({"turnaround": 0.0} | keys))  # fmt: skip


def look(scan: ScanEngine, clock: Clock, step: float = 0.0) -> Any:
    grids = []
    for channel, direction in GRIDS:
        grids.append(scan.buffer(channel, direction))
        clock.now += step
    return np.stack(grids)


SURFACES: dict[int, Any] = {}


def truth(scan: ScanEngine, number: int) -> Any:
    if number not in SURFACES:
        SURFACES[number] = np.stack([scan._surface(number, *grid) for grid in GRIDS])
    return SURFACES[number]


class Watched:
    """A scan, a finder, and every line that was given, compared with the truth."""

    def __init__(self, clock: Clock, scan: ScanEngine, step: float = 0.0) -> None:
        self.clock, self.scan, self.step = clock, scan, step
        self.finder: LineFinder | None = None
        self.given: list[list[int]] = [[]]

    def look(self, existing: bool = False) -> None:
        running, upwards = self.scan.running, self.scan.upwards
        grids = look(self.scan, self.clock, self.step)
        if self.finder is None:
            self.finder = LineFinder()
            seen = self.finder.begin(grids, running=running, existing=existing, upwards=upwards)
        else:
            seen = self.finder.look(grids, upwards=upwards)
        if seen.restarted and self.given[-1]:
            self.given.append([])
        for row in seen.rows:
            of = [
                number for number in range(self.scan.scan + 1)
                if np.array_equal(truth(self.scan, number)[:, row], grids[:, row])
            ]  # fmt: skip
            # whole, of one and the same scan in all channels and directions
            assert len(of) == 1
            assert row not in self.given[-1]
            self.given[-1].append(row)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.01, 3.0), min_size=1, max_size=25),
    st.booleans(), st.booleans(), st.booleans(), st.floats(0.0, 0.05),
)  # fmt: skip
def test_every_line_given_is_whole_and_of_one_scan(
    waits: list[float], upwards: bool, bouncy: bool, clear: bool, step: float
) -> None:
    clock = Clock()
    scan = engine(clock, upwards=upwards, bouncy=bouncy, clear=clear)
    scan.start()
    watched = Watched(clock, scan, step)
    for wait in waits:
        watched.look()
        clock.now += wait


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.01, 0.9), min_size=10, max_size=60), st.booleans(), st.booleans(),
    st.integers(1, 9),
)  # fmt: skip
def test_a_scan_that_ends_is_given_whole_and_in_order(
    waits: list[float], upwards: bool, clear: bool, resumed: int
) -> None:
    """Also where somebody pauses it in the middle of a line."""
    clock = Clock()
    scan = engine(clock, upwards=upwards, clear=clear, continuous=False)
    scan.start()
    clock.now = 100.0  # a first image is in the buffer
    watched = Watched(clock, scan)
    watched.look()
    assert watched.given == [[]]
    scan.start()
    for number, wait in enumerate(waits):
        clock.now += wait
        if number == resumed - 1:
            scan.pause()
        if number == resumed:
            scan.resume()
        watched.look()
    clock.now = 200.0
    watched.look()
    expected = list(range(ROWS))
    (rows,) = [rows for rows in watched.given if rows]
    expected = expected[::-1] if upwards else expected
    assert rows == (expected if clear else expected[:-1])


def test_what_is_there_at_first() -> None:
    clock = Clock()
    scan = engine(clock, continuous=False)
    scan.start()
    clock.now = 3.4
    watched = Watched(clock, scan)
    watched.look()  # it runs, and the buffer was cleared for it
    assert watched.given == [[0, 1, 2]]
    clock.now = 100.0
    for existing, count in ((False, 0), (True, ROWS)):
        watched = Watched(clock, scan)
        watched.look(existing)
        assert len(watched.given[0]) == count
    # where old rows are not cleared, those of another scan may be among them: only changes count
    scan = engine(clock, clear=False)
    scan.start()
    clock.now += 9.5
    watched = Watched(clock, scan)
    watched.look()
    clock.now += 1.5
    watched.look()
    clock.now += 0.5
    watched.look()
    assert watched.given == [[3, 4]]


def test_a_line_stopped_in_its_middle_is_not_given_and_the_next_scan_is_another() -> None:
    clock = Clock()
    scan = engine(clock)
    scan.start()
    watched = Watched(clock, scan)
    watched.look()
    clock.now = 2.7
    watched.look()
    scan.pause()
    watched.look()
    watched.look()
    assert watched.given == [[0, 1]]
    scan.start()
    clock.now = 4.0
    watched.look()
    clock.now = 4.9
    watched.look()
    assert watched.given == [[0, 1], [0, 1]]


def test_a_channel_that_never_changes_and_one_that_is_nan_in_places() -> None:
    finder = LineFinder()
    grids = np.full((2, 3, 4), np.nan, np.float32)
    finder.begin(grids, running=True, existing=False, upwards=False)
    grids[:, 0] = [[1, 2, 3, 4], [5, 5, 5, 5]]
    grids[0, 0, 2] = np.nan  # of the instrument
    assert finder.look(grids, upwards=False).rows == ()
    grids[:, 1] = [[2, 2, 3, 4], [5, 5, 5, 5]]
    assert finder.look(grids, upwards=False).rows == (0, 1)
    grids[0, 2, 0] = 1
    assert finder.look(grids, upwards=False).rows == ()
    # old rows that are overwritten, one channel the same as before
    finder = LineFinder()
    finder.begin(np.ones((2, 3, 4), np.float32), running=True, existing=False, upwards=False)
    grids = np.ones((2, 3, 4), np.float32)
    grids[0, 0] = 2
    assert finder.look(grids, upwards=False).rows == ()
    grids[0, 1, :2] = 2
    assert finder.look(grids, upwards=False).rows == (0,)


def test_a_line_that_ends_between_two_grids_waits_for_the_next_look() -> None:
    finder = LineFinder()
    grids = np.ones((2, 3, 4), np.float32)
    finder.begin(grids, running=True, existing=False, upwards=False)
    grids = grids.copy()
    grids[0, 0, :2] = 2  # the first grid was grabbed in the middle of row 0
    grids[1, 0] = grids[1, 1, 0] = 2  # the second one when row 1 had begun
    assert finder.look(grids, upwards=False).rows == ()
    grids[0, 0] = grids[0, 1, 0] = 2
    assert finder.look(grids, upwards=False).rows == (0,)


def test_a_row_given_in_an_earlier_life_is_not_given_again() -> None:
    grids = np.full((2, 3, 4), np.nan, np.float32)
    grids[:, 0] = 1
    grids[0, 0, 2] = np.nan  # of the instrument: given when row 1 had begun
    grids[:, 1, 0] = 1
    for again in (False, True):
        finder = LineFinder()
        assert finder.begin(grids, running=True, existing=False, upwards=False).rows == ()
        if not again:
            finder.take_as_given(0)
        later = grids.copy()
        later[:, 1] = 2
        assert finder.look(later, upwards=False).rows == ((0, 1) if again else (1,))
    with pytest.raises(AssertionError):
        LineFinder().look(grids, upwards=False)
