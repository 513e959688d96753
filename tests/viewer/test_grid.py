"""Panels fill the window."""

from __future__ import annotations

import pytest

from daq.viewer.grid import cells, rows_and_columns


@pytest.mark.parametrize("panels", range(1, 13))
def test_every_row_is_full(panels):
    places = cells([1] * panels, 1600, 1000)
    assert len(places) == panels
    widths = {}
    for row, column, span in places:
        assert column == widths.get(row, 0)
        widths[row] = column + span
    assert len(set(widths.values())) == 1
    assert sorted(widths) == list(range(len(widths)))


def test_shapes():
    assert rows_and_columns(1, 1600, 1000) == (1, 1)
    assert rows_and_columns(2, 1600, 1000) == (1, 2)
    assert rows_and_columns(4, 1600, 1000) == (2, 2)
    assert rows_and_columns(12, 1600, 1000) == (3, 4)
    assert rows_and_columns(3, 500, 1500) == (3, 1)
    assert cells([], 100, 100) == []


@pytest.mark.parametrize("panels", range(1, 11))
@pytest.mark.parametrize("size", [(1600, 1000), (480, 900), (3000, 500)])
def test_a_wide_panel_is_as_wide_as_several(panels, size):
    places = cells([3, *[1] * (panels - 1)], *size)
    ends = {row: column + span for row, column, span in places}
    assert len(set(ends.values())) == 1
    (row, column, span), *others = places
    assert (row, column) == (0, 0)
    beside = [s for r, _, s in others if r == 0]
    assert span == ends[0] - sum(beside)
    if beside:
        assert span == 3 * beside[0]


def test_a_wide_panel_takes_a_row_of_its_own_where_it_has_no_room():
    assert rows_and_columns(8, 1600, 1000) == (3, 3)
    assert cells([1, 1, 3, 1, 1, 1], 1600, 1000) == [
        (0, 0, 3), (0, 3, 3), (1, 0, 6), (2, 0, 2), (2, 2, 2), (2, 4, 2),
    ]  # fmt: skip
