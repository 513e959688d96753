"""How a number of panels fills a window."""

from __future__ import annotations

import math
from collections.abc import Sequence

BEST_ASPECT = 1.25
"""Width over height that a panel has at best."""


def rows_and_columns(panels: int, width: int, height: int) -> tuple[int, int]:
    """Return the rows and columns whose cells come nearest to `BEST_ASPECT`, the last row among them."""

    def cost(columns: int) -> float:
        rows = -(-panels // columns)
        aspect = (width / columns) / (height / rows)
        last = panels - (rows - 1) * columns
        return abs(math.log(aspect / BEST_ASPECT)) + 0.4 * math.log(columns / last)

    columns = min(range(1, max(1, panels) + 1), key=cost)
    return -(-max(1, panels) // columns), columns


def cells(wide: Sequence[int], width: int, height: int) -> list[tuple[int, int, int]]:
    """Return (row, first column, columns spanned) for each panel, in a fine grid.

    ``wide`` says how many times as wide as others each panel wants to be; it gets what one row has. A
    row that is not full is stretched over the width of the window.
    """
    if not wide:
        return []
    _, columns = rows_and_columns(sum(wide), width, height)
    rows: list[list[int]] = [[]]
    for asked in wide:
        given = min(asked, columns)
        if sum(rows[-1]) + given > columns:
            rows.append([])
        rows[-1].append(given)
    fine = math.lcm(*(sum(row) for row in rows))
    found = []
    for number, row in enumerate(rows):
        unit, column = fine // sum(row), 0
        for given in row:
            found.append((number, column * unit, given * unit))
            column += given
    return found
