"""Stress relaxation and creep with their fits, and exponents against temperature."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

import daq
from daq_mechanical.views.plotted import Plotted
from daq_mechanical.views.wording import (
    newest,
    number,
    pair,
    parts,
    ramp_of_colours,
    sample_of,
    scale_key,
    shorter,
)

RELAXATION_FLAGS: Final = {
    1: "\u03c4 open above", 2: "at a bound", 3: "not converged", 4: "too few points",
    5: "too little of the decay",
}  # fmt: skip
CREEP_FLAGS: Final = {
    1: "not steady yet", 2: "nothing delayed", 3: "not converged", 4: "too few points",
}  # fmt: skip
MOST: Final = 24
"""Steps that are drawn: the newest ones."""


class _Steps(Plotted):
    """The newest fit of each step, a colour for each temperature."""

    records = 1024
    quantity: ClassVar[str] = ""
    left: ClassVar[tuple[str, ...]] = ()
    scale: ClassVar[float] = 1.0
    logarithmic: ClassVar[str] = "x"

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        self._plot = self.drawn.plot(("time (s)", "t (s)"), self.left, logarithmic=self.logarithmic)
        self._steps: dict[tuple[int, int], tuple[float, Any, Any, Any]] = {}
        self._drawn: set[str] = set()
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest fit of each step."""
        latest: dict[tuple[int, int], int] = {}
        for i in np.flatnonzero(batch.valid).tolist():
            latest[int(batch["sample"][i]), int(batch["segment"][i])] = i
        for step, i in latest.items():
            self._steps.pop(step, None)
            self._steps[step] = (
                float(batch["temperature"][i]), np.array(batch["point_elapsed"][i]),
                np.array(batch[f"point_{self.quantity}"][i]), np.array(batch["curve"][i]),
            )  # fmt: skip
        while len(self._steps) > MOST:
            del self._steps[next(iter(self._steps))]
        if not self._steps:
            return
        kelvin = [step[0] for step in self._steps.values()]
        rising = np.unique(kelvin)
        # colours go with the order of temperatures: below T_g they are far apart, above it near
        shades = parts(np.searchsorted(rising, kelvin))
        names = set()
        for (step, (_, t, y, curve)), part in zip(self._steps.items(), shades, strict=True):
            colour = ramp_of_colours(self.theme, float(part))
            names.add(name := f"{step}")
            self.points(self._plot, name, t, self.scale * y, None, colour, size=4)
            self._plot.curve(f"fit {name}", t, self.scale * curve, colour)
        for name in self._drawn - names:
            self._plot.drop(name)
            self._plot.drop(f"fit {name}")
        self._drawn = names
        words = [f"{T:.0f} K" for T in rising.tolist()]
        self.drawn.key(*scale_key(self.theme, range(len(rising)), words))
        if (at := newest(batch)) is not None:
            self.drawn.say(*shorter([
                sample_of(batch, at), f"newest {batch['temperature'][at]:.1f} K",
                *self._said(batch, at),
            ]))  # fmt: skip

    def _said(self, batch: daq.Batch, at: int) -> list[str]:
        raise NotImplementedError


class StressRelaxation(_Steps):
    """Stress at a held strain, with the KWW decay of each temperature."""

    name = "stress relaxation"
    rank = 17
    fields = {"point_elapsed": 1, "point_stress": 1, "decay": 0, "remnant": 0}
    quantity = "stress"
    left = ("stress (MPa)", "\u03c3 (MPa)")
    scale = 1e-6

    def _said(self, batch: daq.Batch, at: int) -> list[str]:
        flag = int(batch["flag"][at])
        if flag == 1:
            return [f"ln \u03c4 above {number(float(batch['ln_tau_lower'][at]))}", RELAXATION_FLAGS[1]]  # fmt: skip
        if flag:
            return [RELAXATION_FLAGS.get(flag, "")]
        return [
            f"b {pair(batch, 'b', at)}", f"ln \u03c4 {pair(batch, 'ln_tau', at)}",
            f"\u0394\u03c3 {pair(batch, 'decay', at, 1e-6)} MPa",
            f"\u03c3_r {pair(batch, 'remnant', at, 1e-6)} MPa",
        ]  # fmt: skip


class Creep(_Steps):
    """Strain at a held stress, with the Burgers or stretched fit of each temperature."""

    name = "creep"
    rank = 19
    fields = {"point_elapsed": 1, "point_strain": 1, "viscosity": 0, "instantaneous": 0}
    quantity = "strain"
    left = ("strain (%)",)
    scale = 100.0
    logarithmic = "xy"

    def _said(self, batch: daq.Batch, at: int) -> list[str]:
        flag = int(batch["flag"][at])
        if flag == 1:
            lower = number(float(batch["viscosity_lower"][at]), 2)
            return [f"\u03b7 above {lower} Pa s" if lower != "\u2013" else "", CREEP_FLAGS[1]]
        if flag in (3, 4):
            return [CREEP_FLAGS[flag]]
        return [
            f"\u03b7 {pair(batch, 'viscosity', at)} Pa s",
            CREEP_FLAGS.get(flag, "stretched" if batch["stretched"][at] else "Burgers"),
        ]


class Exponents(Plotted):
    """b and tau of stress relaxation against temperature."""

    name = "exponents"
    rank = 18
    fields = {"temperature": 1, "b": 1, "ln_tau": 1, "decay_part": 1}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        self._b = self.drawn.plot((), ("b of KWW", "b"))
        self._tau = self.drawn.plot((), ("\u03c4 (s)",), logarithmic="y", above=self._b)
        self._part = self.drawn.plot(
            ("temperature (K)", "T (K)"), ("\u0394\u03c3 / \u03c3(0)", "part"), above=self._b
        )
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw what the newest record holds."""
        if (at := newest(batch)) is None:
            return
        T = batch["temperature"][at]
        self.points(self._b, "b", T, batch["b"][at], batch["b_errors"][at], self.colours[0])  # fmt: skip
        tau, error = np.exp(batch["ln_tau"][at]), batch["ln_tau_errors"][at]
        sides = (-tau * np.expm1(-error), tau * np.expm1(np.minimum(error, 50.0)))
        self.points(self._tau, "tau", T, tau, sides, self.colours[1])
        errors = batch["decay_part_errors"][at]
        self.points(self._part, "part", T, batch["decay_part"][at], errors, self.colours[2])
        known = int(np.count_nonzero(np.isfinite(batch["b"][at])))
        steps = int(batch["steps"][at])
        self.drawn.say(f"{known} of {steps} steps determined", f"{known} of {steps}")


class Tester(Plotted):
    """Temperature, strain and stress against time, as the instrument gives them."""

    name = "strain and stress"
    rank = 92
    records = 4096
    fields = {"temperature": 0, "strain": 0, "stress": 0}

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are readings, not what was fitted to them."""
        return super().can_draw(stream) and "process" not in stream.attributes

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        units = {name: stream.fields[name].units for name in self.fields}
        self._scales = {"temperature": 1.0, "strain": 1.0, "stress": 1.0}
        if units["strain"] in ("", "1"):
            self._scales["strain"], units["strain"] = 100.0, "%"
        if units["stress"] == "Pa":
            self._scales["stress"], units["stress"] = 1e-6, "MPa"
        self._plots = {"temperature": self.drawn.plot((), (f"T ({units['temperature']})",))}
        for name, symbol in (("strain", "\u03b5"), ("stress", "\u03c3")):
            left = (f"{name} ({units[name]})", f"{symbol} ({units[name]})")
            bottom = ("time since the first one shown (h)", "t (h)") if name == "stress" else ()
            self._plots[name] = self.drawn.plot(bottom, left, above=self._plots["temperature"])
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest readings."""
        good = batch.valid & (batch.time != daq.NO_TIME)
        if not good.any():
            return
        hours = (batch.time[good] - batch.time[good][0]) / 3.6e12
        for n, (name, plot) in enumerate(self._plots.items()):
            values = self._scales[name] * np.asarray(batch[name][good], np.float64)
            self.points(plot, name, hours, values, None, self.colours[n], size=3)
        self.drawn.say(f"{len(hours)} readings")


VIEWS: list[type[daq.View]] = [StressRelaxation, Creep, Exponents, Tester]
