"""Maps that grow as a scan runs."""

from __future__ import annotations

import numpy as np

from daq.viewer.canvas import MapCanvas, RowCanvas


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


def rows_of(first: int, rows: list[int], scan: int | list[int]) -> tuple:
    """Index, row, scan and values of whole rows; a value is ten times the index plus the column."""
    index = np.arange(first, first + len(rows))
    values = (10.0 * index[:, None] + np.arange(2)).astype(np.float32)
    scans = np.broadcast_to(scan, len(rows)).astype(np.int64)
    return index, np.array(rows), scans, values


def test_rows_lie_where_they_say_whatever_their_order():
    canvas = RowCanvas((4, 2))
    canvas.place(*rows_of(0, [3, 2], 7))
    assert canvas.values[:, 0].tolist()[2:] == [10, 0]
    assert np.isnan(canvas.values[:2]).all()
    assert (canvas.scan, canvas.row, canvas.done) == (7, 2, 0.5)


def test_a_new_scan_begins_with_an_empty_picture():
    canvas = RowCanvas((3, 2))
    canvas.place(*rows_of(0, [0, 1, 2, 0], [0, 0, 0, 1]))
    assert canvas.values[0].tolist() == [30, 31]
    assert np.isnan(canvas.values[1:]).all()


def test_a_row_scanned_again_lies_over_the_older_and_history_below():
    canvas = RowCanvas((3, 2))
    canvas.place(*rows_of(10, [0, 1, 0], 1))
    assert canvas.values[:2, 0].tolist() == [120, 110]
    canvas.place(*rows_of(6, [0, 1, 2], 1))  # read later, from the file
    assert canvas.values[:, 0].tolist() == [120, 110, 80]
    canvas.place(*rows_of(3, [0, 1, 2], 0))
    assert canvas.values[:, 0].tolist() == [120, 110, 80]
    assert canvas.row == 0


def test_rows_outside_of_the_picture_are_left_out():
    canvas = RowCanvas((2, 2))
    canvas.place(*rows_of(0, [-1, 2, 1], 0))
    assert np.isnan(canvas.values[0]).all()
    assert canvas.values[1, 0] == 20
    canvas.place(*rows_of(3, [5], 1))
    assert canvas.scan == 0


def test_memory_of_rows_is_bounded():
    canvas = RowCanvas((40_000, 50_000), max_pixels=1 << 16)
    assert canvas.values.size <= 1 << 16
    values = np.ones((2, 50_000), np.float32)
    canvas.place(np.array([0, 1]), np.array([canvas.stride, 1]), np.zeros(2, np.int64), values)
    assert (canvas.values[1] == 1).all()
    assert np.isnan(canvas.values[0]).all()
