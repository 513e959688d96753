"""Panels fill the window."""

from __future__ import annotations

import pytest

from daq.viewer.grid import cells, rows_and_columns


@pytest.mark.parametrize("panels", range(1, 13))
def test_every_row_is_full(panels):
    places = cells(panels, 1600, 1000)
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
    assert cells(0, 100, 100) == []
