"""How a number of panels fills a window."""

from __future__ import annotations

import math

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


def cells(panels: int, width: int, height: int) -> list[tuple[int, int, int]]:
    """Return (row, first column, columns spanned) for each panel, in a fine grid.

    A last row that is not full is stretched over the width of the window.
    """
    if panels <= 0:
        return []
    rows, columns = rows_and_columns(panels, width, height)
    last = panels - (rows - 1) * columns
    fine = math.lcm(columns, last)
    found = []
    for number in range(panels):
        row, column = divmod(number, columns)
        span = fine // (last if row == rows - 1 else columns)
        found.append((row, column * span, span))
    return found
