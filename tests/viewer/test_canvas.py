"""Maps that grow as a scan runs."""

from __future__ import annotations

import numpy as np

from daq.viewer.canvas import MapCanvas


def test_records_lie_at_their_index():
    canvas = MapCanvas((3, 4))
    canvas.place(np.arange(5), np.arange(5, dtype=np.float32))
    assert canvas.values[0].tolist() == [0, 1, 2, 3]
    assert canvas.values[1, 0] == 4
    assert np.isnan(canvas.values).sum() == 7
    assert canvas.progress == (1, 5 / 12)


def test_the_newest_scan_lies_over_the_older():
    canvas = MapCanvas((7, 2, 2))  # a leading axis counts scans
    canvas.place(np.arange(6), np.arange(6, dtype=np.float32))
    assert canvas.values.tolist() == [[4, 5], [2, 3]]
    assert canvas.progress == (2, 0.5)


def test_a_batch_of_several_scans_leaves_the_last():
    canvas = MapCanvas((2, 2))
    canvas.place(np.arange(11), np.arange(11, dtype=np.float32))
    assert canvas.values.tolist() == [[8, 9], [10, 7]]


def test_what_comes_late_does_not_hide_what_is_newer():
    canvas = MapCanvas((2, 2))
    canvas.place(np.array([6, 7]), np.array([6, 7], np.float32))
    canvas.place(np.arange(6), np.arange(6, dtype=np.float32))
    assert canvas.values.tolist() == [[4, 5], [6, 7]]


def test_rows_of_a_line_scan():
    canvas = MapCanvas((3,), row_length=2)
    rows = np.array([[0, 1], [2, 3], [4, 5], [6, 7]], np.float32)
    canvas.place(np.arange(4), rows)
    assert canvas.values.tolist() == [[6, 7], [2, 3], [4, 5]]


def test_memory_is_bounded():
    canvas = MapCanvas((100_000, 100_000), max_pixels=1 << 16)
    assert canvas.values.size <= 1 << 16
    assert canvas.stride * canvas.values.shape[0] >= 100_000
    canvas.place(np.array([0, canvas.stride, 1]), np.array([5, 6, 7], np.float32))
    assert canvas.values[0, :2].tolist() == [5, 6]
