"""What views of plots share: which streams they draw, figure and colours, bands of errors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import daq


class Plotted(daq.View):
    """A view for streams that have all of ``fields``, in their own shape.

    ``fields`` maps names to how many dimensions a record of each has.
    """

    fields: ClassVar[dict[str, int]] = {}
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether the stream has the fields that are drawn."""
        return all(
            name in stream.fields and len(stream.fields[name].shape) == dimensions
            for name, dimensions in cls.fields.items()
        )

    def begin(self) -> Any:
        """Make the figure, and know its colours."""
        self.drawn = self.figure()
        self.theme = self.drawn.colours
        self.colours = self.theme.curves
        return self.drawn

    def points(
        self, plot: Any, name: str, x: Any, y: Any, errors: Any = None, colour: str = "",
        size: float = 5.0,
    ) -> None:  # fmt: skip
        """Draw points where there are any; an item without points would draw the axes to zero.

        Errors that are not known are drawn as none.
        """
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        good = np.isfinite(x) & np.isfinite(y)
        if not good.any():
            plot.drop(name)
            return
        if isinstance(errors, tuple):
            errors = tuple(np.nan_to_num(np.asarray(one))[good] for one in errors)
        elif errors is not None:
            errors = np.nan_to_num(np.asarray(errors))[good]
        plot.points(name, x[good], y[good], errors, colour, size=size)

    def band(self, plot: Any, name: str, x: Any, y: Any, errors: Any, colour: str) -> None:
        """Draw where a curve may lie: thin lines one error above and below it."""
        for sign, side in ((-1, "below"), (1, "above")):
            plot.curve(f"{name} {side}", x, np.asarray(y) + sign * np.asarray(errors), colour,
                       width=0.6)  # fmt: skip
