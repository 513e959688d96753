"""What the tip sees of a surface: drift, the lag of the feedback, and a tip that wears.

The surfaces are those that the new tip shows. A worn one averages them: over a Gaussian of variance
(R^2 - R0^2)/4 along each axis, where R is the radius of the tip and R0 that of the new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq_simulators.afm_scan import Plan, Sweep
from daq_simulators.afm_surface import Complexes, Lattice, RandomSurfaces

Floats = npt.NDArray[np.float64]

GENTLE: Final = 0.85
"""Amplitude ratio at which `Tip.wear` holds."""
HARDER: Final = 0.1
"""By which the ratio must fall for wear to be e times as fast."""


class Tip:
    """The tip and its way over the specimen.

    Parameters
    ----------
    config
        Of the scan.
    plan
        Its sweeps.
    radius
        Of the new tip, nm.
    wear
        nm per hour of scanning at an amplitude ratio of 0.85; e times that for each 0.1 below.
    ratio
        Amplitude ratio by the nominal number of the scan.
    """

    def __init__(
        self, config: Any, plan: Plan, radius: float, wear: float, ratio: Callable[[int], float]
    ) -> None:
        self._config, self._plan, self._new = config, plan, radius
        self._began: dict[int, float] = {}
        for sweep in plan.sweeps:
            self._began.setdefault(sweep.place, sweep.seconds)
        rates = [wear * math.exp((GENTLE - ratio(s.nominal)) / HARDER) / 3600 for s in plan.sweeps]
        grown = [
            rate * sweep.lines * config.line_time
            for rate, sweep in zip(rates, plan.sweeps, strict=True)
        ]
        self._rates = rates
        self._radius = radius + np.concatenate([[0.0], np.cumsum(grown)])

    def radius(self, sweep: Sweep) -> Floats:
        """Return the radius at each row [row], nm."""
        begun = self._plan.seconds(sweep) - sweep.seconds
        return np.asarray(self._radius[sweep.number] + self._rates[sweep.number] * begun)

    def blur(self, radius: npt.ArrayLike) -> Floats:
        """Return the standard deviation of what a tip averages over, nm."""
        return np.asarray(np.sqrt(np.maximum(np.square(radius) - self._new**2, 0)) / 2)

    def lattice(self, upwards: bool) -> Lattice:
        """Return where the pixels of an image lie on the specimen, which drifts meanwhile.

        Drift within a line is neglected.
        """
        config = self._config
        down, across = (v / 60 * config.line_time * (1 if upwards else -1) for v in config.drift)
        return Lattice(config.scan, (config.step[0] - down, -across), (0.0, config.step[1]))

    def origin(self, sweep: Sweep) -> tuple[float, float]:
        """Return where the first pixel of row 0 lies on the place, (y, x) nm."""
        elapsed = float(self._plan.seconds(sweep)[0]) - self._began[sweep.place]
        down, across = (-v / 60 * elapsed for v in self._config.drift)
        return down, across

    def extent(self, place: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return what is seen of a place in all its sweeps: ((y0, y1), (x0, x1)) nm."""
        config = self._config
        seen = []
        for sweep in self._plan.sweeps:
            if sweep.place == place:
                lattice, origin = self.lattice(sweep.upwards), self.origin(sweep)
                last = [
                    o + (config.scan[0] - 1) * s for o, s in zip(origin, lattice.slow, strict=True)
                ]
                seen += [origin, (last[0], last[1])]
        (y, x), width = np.array(seen).T, (config.scan[1] - 1) * config.step[1]
        return (float(y.min()), float(y.max())), (float(x.min()), float(x.max()) + width)

    def see(
        self,
        surfaces: RandomSurfaces,
        kind: int,
        waves: Complexes,
        sweep: Sweep,
        *,
        backwards: bool = False,
    ) -> Floats:
        """Return a surface as trace or retrace of a sweep show it, [row, column], variance 1."""
        down, across = self.origin(sweep)
        across += self._config.lag / 2 * (1 if backwards else -1)
        blurs = self.blur(self.radius(sweep))
        least, most = float(blurs.min()), float(blurs.max())
        sharp = surfaces.image(kind, waves, (down, across), least)
        if most - least < 1e-9:
            return sharp
        # between the blurs of its beginning and its end the change is small: linear in the variance
        part = (blurs**2 - least**2) / (most**2 - least**2)
        dull = surfaces.image(kind, waves, (down, across), most)
        return np.asarray(sharp + part[:, None] * (dull - sharp))
