"""How calorimetry is drawn: traces with lines and areas, kinetics with fits, energies."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import daq
from daq_thermal.flags import NO_CRYSTALLISATION
from daq_thermal.flags import words as in_words
from daq_thermal.glass_transition import CURVES

Floats = npt.NDArray[np.float64]

MANY = 4096


class _Plotted(daq.View):
    """A view of one plot, for streams that have all of ``fields``."""

    fields: ClassVar[frozenset[str]] = frozenset()
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether the stream has the fields that are drawn."""
        return cls.fields <= set(stream.fields)

    def _plot_in(self, bottom: tuple[str, ...], left: tuple[str, ...], **options: Any) -> Any:
        self._figure = self.figure()
        self._colours = self._figure.colours.curves
        self._plot = self._figure.plot(bottom, left, **options)
        self._fills: dict[str, Any] = {}
        return self._figure

    def _fill(self, name: str, x: Floats, low: Floats, high: Floats, colour: str) -> None:
        """Colour the area between two curves; where one is NaN there is none."""
        import pyqtgraph as pg

        if (old := self._fills.pop(name, None)) is not None:
            self._plot.plot.removeItem(old)
        there = np.isfinite(low) & np.isfinite(high)
        if np.count_nonzero(there) < 2:
            return
        edges = [pg.PlotDataItem(x[there], y[there]) for y in (low, high)]
        shade = pg.mkColor(colour)
        shade.setAlpha(70)
        self._fills[name] = pg.FillBetweenItem(*edges, brush=pg.mkBrush(shade))
        self._plot.plot.addItem(self._fills[name])


class Trace(_Plotted):
    """A heating with the lines, tangents and areas that its temperatures rest on."""

    name = "trace"
    rank = 10
    records = 16
    """So that a heating is still told of when a cooling has come after it."""
    fields = frozenset(CURVES)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._T = np.asarray(stream.constants["temperature"], np.float64)
        self._curves: dict[str, Floats] = {}
        self._found: dict[str, float] = {}
        return self._plot_in(("temperature (K)", "T (K)"), ("heat flow (W/g), endothermic up", "heat flow (W/g)", "W/g"))  # fmt: skip

    @classmethod
    def beside(cls, stream: daq.Stream) -> tuple[str, ...]:
        """Return the stream of numbers that goes with the curves."""
        return (stream.name.removesuffix("trace") + "transition",)

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest trace, or say its newest numbers."""
        if "onset" in batch.raw:
            self._say(batch)
            return
        flow, glass, liquid, tangent, fall, base = (batch[name][-1] for name in CURVES)
        self._curves = {name: np.array(batch[name][-1]) for name in CURVES}
        self._mark()
        colours = self._colours
        self._fill("heat", self._T, flow, base, colours[5])
        above = np.where((flow > liquid) & np.isnan(base), flow, np.nan)
        self._fill("overshoot", self._T, liquid, above, colours[2])
        self._plot.curve("heat_flow", self._T, flow, colours[0], width=2)
        self._plot.curve("glass", self._T, glass, colours[1], dashed=True)
        self._plot.curve("liquid", self._T, liquid, colours[2], dashed=True)
        self._plot.curve("tangent", self._T, tangent, colours[3])
        self._plot.curve("fall", self._T, fall, colours[3])
        self._plot.curve("base", self._T, base, colours[5], dashed=True)
        self._figure.key(
            ((colours[0], "heat flow"), (colours[1], "glass"), (colours[2], "liquid"),
             (colours[3], "tangents"), (colours[5], "crystallisation")),
            ((colours[0], "heat flow"), (colours[1], "glass"), (colours[2], "liquid")),
        )  # fmt: skip
        shown = np.isfinite(flow)
        if shown.any():
            x = self._T[shown]
            # the transition is small beside an exotherm: show it whole, the exotherm in part
            step = np.nanmax(liquid) - np.nanmin(glass) if np.isfinite(liquid).any() else np.nan
            low = np.nanmin(flow)
            if np.isfinite(step) and step > 0:
                low = max(low, np.nanmin(glass) - 4 * step)
            self._plot.range((x[0], x[-1]), (float(low), float(np.nanmax(flow))))

    def _mark(self) -> None:
        """Mark what was found where a person would: on the line, on the curve."""
        if not (self._curves and self._found):
            return
        on = {
            "onset": "glass_line",
            "half_step": "heat_flow",
            "crystallisation_onset": "liquid_line",
        }
        T = np.array([self._found[name] for name in on])
        y = []
        for at, name in zip(T, on.values(), strict=True):
            curve = self._curves[name]
            known = np.isfinite(curve)
            y.append(np.interp(at, self._T[known], curve[known]) if known.any() else np.nan)
        self._plot.points("found", T, np.array(y), None, self._figure.colours.muted, size=8)

    def _say(self, batch: daq.Batch) -> None:
        heated = np.flatnonzero(batch.valid & (batch["heating_rate"] > 0))
        if not len(heated):
            return
        i = int(heated[-1])
        self._found = {
            name: float(batch[name][i]) for name in ("onset", "half_step", "crystallisation_onset")
        }
        self._mark()
        which = f"sample {batch['sample'][i]}, heating {batch['heating'][i] + 1}"
        parts = [
            f"{words} {said(batch[name][i], batch[f'{name}_errors'][i])} {units}"
            for name, words, units in (
                ("onset", "T_g onset", "K"), ("half_step", "half step", "K"),
                ("fictive_temperature", "T_f", "K"), ("crystallisation_onset", "T_x", "K"),
                ("crystallisation_heat", "heat", "J/g"),
            )
            if np.isfinite(batch[name][i])
        ]  # fmt: skip
        amiss = in_words(int(batch["flags"][i]) & ~NO_CRYSTALLISATION)
        if not batch["final"][i]:
            amiss = [f"{text} yet" for text in amiss[:1] if not parts]
        elif parts:
            parts += amiss
        texts = [" \u00b7 ".join([which, *parts[:n]]) for n in range(len(parts), 0, -1)]
        self._figure.say(*(texts or [": ".join([which, *amiss[:1]])]), which)


class Excess(_Plotted):
    """A sample over its standard: the area below is what it gives off, above what it takes up."""

    name = "excess enthalpy"
    rank = 12
    fields = frozenset({"heat_flow", "standard", "split"})

    @classmethod
    def beside(cls, stream: daq.Stream) -> tuple[str, ...]:
        """Return the stream of numbers that goes with the curves."""
        return (stream.name.removesuffix("traces") + "excess",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._T = np.asarray(stream.constants["temperature"], np.float64)
        return self._plot_in(("temperature (K)", "T (K)"), ("heat flow (W/g), endothermic up", "heat flow (W/g)", "W/g"))  # fmt: skip

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest pair of traces, or say its numbers."""
        if "excess" in batch.raw:
            parts = [
                f"{words} {said(batch[n][-1], batch[f'{n}_errors'][-1])} J/g"
                for n, words in (("excess", "excess"), ("below", "below"), ("recovery", "recovery"))
            ]
            history = annealed(
                float(batch["annealing_temperature"][-1]), float(batch["annealing_time"][-1])
            )
            texts = [" \u00b7 ".join([history, *parts[:n]]) for n in (3, 2, 1, 0)]
            self._figure.say(*texts)
            return
        flow, standard = batch["heat_flow"][-1], batch["standard"][-1]
        colours = self._colours
        below = batch["split"][-1] > self._T
        for name, where, colour in (("below", below, 1), ("above", ~below, 2)):
            self._fill(
                name, self._T, np.where(where, flow, np.nan), np.where(where, standard, np.nan),
                colours[colour],
            )  # fmt: skip
        self._plot.curve("standard", self._T, standard, self._figure.colours.muted, dashed=True)
        self._plot.curve("sample", self._T, flow, colours[0], width=2)
        self._figure.key(
            ((colours[0], "sample"), (self._figure.colours.muted, "standard"),
             (colours[1], "below T_g"), (colours[2], "above")),
            ((colours[0], "sample"), (self._figure.colours.muted, "standard")),
        )  # fmt: skip
        shown = np.isfinite(flow)
        if shown.any():
            self._plot.range((self._T[shown][0], self._T[shown][-1]), None)


class Decay(_Plotted):
    """Enthalpy left against annealing time, with the KWW fit of each temperature."""

    name = "enthalpy relaxation"
    rank = 14
    fields = frozenset({"annealing_time", "fraction", "fraction_errors", "curve"})
    records = 64

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._times = np.asarray(stream.constants["time_axis"], np.float64)
        return self._plot_in(
            ("annealing time (s)", "t (s)"), ("enthalpy left, \u0394H/\u0394H(0)", "left"),
            logarithmic="x",
        )  # fmt: skip

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest fit of each temperature."""
        newest: dict[float, int] = {}
        for at in np.flatnonzero(batch.valid).tolist():
            if np.isfinite(T := float(batch["annealing_temperature"][at])):
                newest[T] = at
        key = []
        for number, (T, i) in enumerate(sorted(newest.items())):
            colour = self._colours[number % len(self._colours)]
            self._plot.curve(f"fit {T}", self._times, batch["curve"][i], colour)
            self._plot.points(
                f"points {T}", batch["annealing_time"][i], batch["fraction"][i],
                np.nan_to_num(batch["fraction_errors"][i]), colour,
            )  # fmt: skip
            key.append((colour, f"{T:g} K"))
        self._figure.key(key)
        times = batch["annealing_time"][np.isfinite(batch["annealing_time"])]
        if times.size:
            self._plot.range((float(times.min()) / 3, float(times.max()) * 3), (0.0, 1.05))


class Exponents(_Plotted):
    """The stretching exponent of each annealing temperature."""

    name = "stretching exponent"
    rank = 40
    fields = frozenset({"annealing_temperature", "b", "b_errors", "reduced_chi2"})
    records = 64

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        return self._plot_in(("annealing temperature (K)", "T (K)"), ("exponent b", "b"))

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest exponents."""
        newest = {float(batch["annealing_temperature"][i]): i for i in np.flatnonzero(batch.valid)}
        at = list(newest.values())
        b, errors = batch["b"][at], np.nan_to_num(batch["b_errors"][at])
        self._plot.points("b", batch["annealing_temperature"][at], b, errors, size=6)
        if at and np.isfinite(scale := float(batch["reduced_chi2"][at[-1]])):
            self._figure.say(f"newest fit: reduced \u03c7\u00b2 {scale:.2g}")


class Temperatures(_Plotted):
    """The temperatures of each heating, one after another."""

    name = "temperatures of heatings"
    rank = 42
    records = MANY
    fields = frozenset({"onset", "half_step", "crystallisation_onset", "final", "heating_rate"})

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        return self._plot_in(("ramp",), ("temperature (K)", "T (K)"))

    def update(self, batch: daq.Batch) -> None:
        """Draw what was found in heatings that have ended."""
        final = batch.valid & batch["final"]
        key = []
        for i, (name, words) in enumerate(
            (("onset", "onset"), ("half_step", "half step"), ("fictive_temperature", "T_f"),
             ("crystallisation_onset", "T_x"))
        ):  # fmt: skip
            errors = np.nan_to_num(batch[f"{name}_errors"][final])
            self._plot.points(name, batch["ramp"][final], batch[name][final], errors, self._colours[i])  # fmt: skip
            key.append((self._colours[i], words))
        self._figure.key(key)


class Enthalpies(_Plotted):
    """The enthalpies of the samples, one after another."""

    name = "enthalpies of samples"
    rank = 44
    records = MANY
    fields = frozenset({"excess", "below", "recovery", "final", "standard_ramp"})

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        return self._plot_in(("sample",), ("enthalpy (J/g)", "J/g"))

    def update(self, batch: daq.Batch) -> None:
        """Draw what samples gave whose heating has ended."""
        final = batch.valid & batch["final"]
        for i, name in enumerate(("excess", "below", "recovery")):
            errors = np.nan_to_num(batch[f"{name}_errors"][final])
            self._plot.points(
                name, batch["sample"][final], batch[name][final], errors, self._colours[i]
            )
        names = ("excess", "below T_g", "recovery")
        self._figure.key(list(zip(self._colours, names, strict=False)))


class Units(_Plotted):
    """The number of correlated units, as the transition of a modulated scan becomes whole."""

    name = "correlated units"
    rank = 46
    records = MANY
    aside = True
    fields = frozenset({"correlated_units", "correlated_units_errors", "spread"})

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        return self._plot_in(("look",), ("N\u03b1",))

    def update(self, batch: daq.Batch) -> None:
        """Draw every look at the transition."""
        errors = np.nan_to_num(batch["correlated_units_errors"])
        self._plot.points("units", np.arange(len(batch)), batch["correlated_units"], errors)


class Energies(_Plotted):
    """Heating rates against 1000/T: their slopes are activation energies."""

    name = "energies from heating rates"
    rank = 16
    records = 64
    fields = frozenset({"quantity", "inverse_temperature", "ln_rate", "line", "energy"})

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        return self._plot_in(
            ("1000 / temperature (1/K)", "1000/T (1/K)"),
            ("ln(q/T\u00b2), or ln q for T_g, from the first", "ln(q/T\u00b2)"),
        )

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest line of each quantity."""
        newest = {bytes(batch["quantity"][i]): i for i in np.flatnonzero(batch.valid)}
        key, texts = [], []
        for number, (quantity, i) in enumerate(sorted(newest.items())):
            colour = self._colours[number % len(self._colours)]
            words = quantity.decode().replace("_", " ")
            x, y, line = (batch[n][i] for n in ("inverse_temperature", "ln_rate", "line"))
            # ordinates of unlike meaning share the axis: each from its first point
            self._plot.points(words, x, y - y[0], None, colour, size=6)
            self._plot.curve(f"{words} line", x, line - y[0], colour)
            key.append((colour, words))
            texts.append(f"{words} {said(batch['energy'][i], batch['energy_errors'][i])} kJ/mol")
        self._figure.key(key)
        self._figure.say(*(" \u00b7 ".join(texts[:n]) for n in range(len(texts), 0, -1)))


class HeatCapacity(_Plotted):
    """The complex heat capacity of a modulated scan."""

    name = "heat capacity"
    rank = 11
    records = MANY
    fields = frozenset({"c_real", "c_loss", "temperature", "amplitude"})

    @classmethod
    def beside(cls, stream: daq.Stream) -> tuple[str, ...]:
        """Return the stream of the transition."""
        return (stream.name.removesuffix("heat_capacity") + "transition",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        figure = self._plot_in((), ("in phase, J/(g K)", "c\u2032"), share=2)
        self._loss = self._figure.plot(
            ("temperature (K)", "T (K)"), ("loss, J/(g K)", "c\u2033"), above=self._plot
        )
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the windows so far, or say what the transition gives."""
        if "spread" in batch.raw:
            self._say(batch)
            return
        T, good = batch["temperature"], batch.valid
        self._plot.points("c", T[good], batch["c_real"][good], None, self._colours[0], size=3)
        self._loss.points("loss", T[good], batch["c_loss"][good], None, self._colours[1], size=3)

    def _say(self, batch: daq.Batch) -> None:
        if not np.isfinite(batch["temperature"][-1]):
            self._figure.say("no transition yet")
            return
        T, spread, units = (
            said(batch[n][-1], batch[f"{n}_errors"][-1])
            for n in ("temperature", "spread", "correlated_units")
        )
        text = f"T {T} K \u00b7 \u03b4T {spread} K \u00b7 N\u03b1 {units}"
        self._figure.say(f"{text} \u00b7 Nc {batch['dynamic_units'][-1]:.0f}", text)


class Spectrum(_Plotted):
    """The activation-energy spectra of the samples, the newest in front."""

    name = "activation-energy spectrum"
    rank = 18
    records = 256
    fields = frozenset({"density_of_energies", "defects", "sample"})

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._energy = np.asarray(stream.constants["energy"], np.float64)
        return self._plot_in(("energy (eV)", "E (eV)"), ("n\u2080 (1/eV)", "n\u2080"))

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest spectrum of each sample: those before the newest in grey."""
        newest = {int(batch["sample"][i]): int(i) for i in np.flatnonzero(batch.valid)}
        if not newest:
            return
        order = sorted(newest.values())
        for sample, i in newest.items():
            last = i == order[-1]
            colour = self._colours[0] if last else self._figure.colours.muted
            # what rests on a single cell is noise: five at a time
            self._plot.curve(
                f"sample {sample}", self._energy, smoothed(batch["density_of_energies"][i]), colour,
                width=2 if last else 1,
            )  # fmt: skip
        i = order[-1]
        known = np.isfinite(batch["density_of_energies"][order]).any(axis=0)
        if known.any():
            self._plot.range((self._energy[known][0], self._energy[known][-1]), None)
        self._figure.key(
            ((self._colours[0], "newest"), (self._figure.colours.muted, "samples before"))
        )
        self._figure.say(
            f"sample {batch['sample'][i]} \u00b7 gone below T_g: \u0394c {batch['defects'][i]:.2g}"
        )


class Ageing(_Plotted):
    """A property against ageing time, with the law of flow units at each temperature."""

    name = "flow units"
    rank = 15
    records = 256
    fields = frozenset({"age", "value", "curve", "final_value", "beta"})

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        units = stream.fields["value"].units
        return self._plot_in(
            ("ageing time (s)", "t (s)"), (f"property ({units})" if units else "property",),
            logarithmic="x",
        )  # fmt: skip

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest fit of each temperature."""
        newest = {float(batch["temperature"][i]): int(i) for i in np.flatnonzero(batch.valid)}
        key, texts, times = [], [], []
        for number, (T, i) in enumerate(sorted(newest.items())):
            colour = self._colours[number % len(self._colours)]
            age = np.where(batch["age"][i] > 0, batch["age"][i], np.nan)
            self._plot.points(f"points {T}", age, batch["value"][i], None, colour, size=6)
            self._plot.curve(f"fit {T}", age, batch["curve"][i], colour)
            key.append((colour, f"{T:g} K" if T else "all"))
            texts.append(
                f"M\u221e {said(batch['final_value'][i], batch['final_value_errors'][i])}"
                f" \u00b7 \u03b2 {said(batch['beta'][i], batch['beta_errors'][i])}"
                + ("" if batch["flag"][i] == 0 else " \u00b7 not determined")
            )
            times.append(age[np.isfinite(age)])
        self._figure.key(key)
        self._figure.say(*(" | ".join(texts[:n]) for n in range(len(texts), 0, -1)))
        every = np.concatenate(times) if times else np.empty(0)
        if len(every):
            self._plot.range((float(every.min()) / 2, float(every.max()) * 2), None)


class Defects(_Plotted):
    """Concentration of defects and internal energy, from the shear modulus."""

    name = "defects"
    rank = 19
    records = MANY
    fields = frozenset({"temperature", "concentration", "internal_energy", "density_change"})

    @classmethod
    def beside(cls, stream: daq.Stream) -> tuple[str, ...]:
        """Return the stream of the heat flow."""
        return (stream.name.removesuffix("state") + "heat_flow",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        figure = self._plot_in((), ("defects (%)", "c (%)"), share=2)
        self._heat = self._figure.plot(
            ("temperature (K)", "T (K)"), ("heat flow (W/g), endothermic up", "W/g"),
            above=self._plot,
        )  # fmt: skip
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw what came so far."""
        good = batch.valid
        T = batch["temperature"][good]
        if "heat_flow" in batch.raw:
            self._heat.curve("heat", T, batch["heat_flow"][good], self._colours[1], width=2)
            return
        self._plot.curve("c", T, 100 * batch["concentration"][good], self._colours[0], width=2)
        if len(T):
            self._figure.say(
                f"{T[-1]:.0f} K \u00b7 c {100 * batch['concentration'][good][-1]:.3g} %"
                f" \u00b7 \u0394U {batch['internal_energy'][good][-1]:.3g} J/g over the crystal"
            )


VIEWS: list[type[daq.View]] = [
    Trace,
    HeatCapacity,
    Excess,
    Decay,
    Ageing,
    Energies,
    Spectrum,
    Defects,
    Exponents,
    Temperatures,
    Enthalpies,
    Units,
]
"""All of them. The Arrhenius plot of `enthalpy_relaxation` is drawn as any other."""


def said(value: float, error: float) -> str:
    """Return a number with its error, as many digits as the error tells: ``694.9 ± 0.1``."""
    if not np.isfinite(value):
        return "\u2013"
    if not (np.isfinite(error) and error > 0):
        return f"{value:.4g}"
    digits = int(np.clip(-np.floor(np.log10(error)), 0, 6))
    return f"{value:.{digits}f} \u00b1 {error:.{digits}f}"


def smoothed(values: Floats, cells: int = 5) -> Floats:
    """Return means of ``cells`` neighbours, of those that are known; NaN stays NaN."""
    known = np.isfinite(values)
    ones = np.ones(cells)
    total = np.convolve(np.where(known, values, 0.0), ones, "same")
    count = np.convolve(known.astype(np.float64), ones, "same")
    return np.where(known, total / np.maximum(count, 1), np.nan)


def annealed(T: float, seconds: float) -> str:
    """Return what was done with a sample: ``553 K, 30 min``."""
    if seconds == 0:
        return "as quenched"
    if not (np.isfinite(T) and np.isfinite(seconds)):
        return "history not known"
    return f"{T:g} K, {seconds / 60:g} min"
