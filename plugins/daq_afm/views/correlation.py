"""Structure functions with their fits, correlation lengths of places, and how annealing shrinks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_afm.views.wording import (
    configured,
    duration,
    newest,
    number,
    shorter,
    units_of,
    where,
    with_error,
)

MANY: Final = 4096
NOT_CONVERGED: Final = {3: "the fit did not converge", 4: "too few lines yet"}


class StructureFunction(daq.View):
    """P(r) with its errors, the fit, and the correlation length with its error, or why there is none."""

    name = "P(r)"
    rank = 14
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is the correlation of `surface_correlation`."""
        return {"structure_function", "structure_function_errors", "pairs"} <= set(stream.fields)

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the fits."""
        return (f"{stream.name.rpartition('.')[0]}.fit",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._lag = np.asarray(stream.constants["lag"], np.float64)
        self._channel = str(stream.attributes.get("channel", "height"))
        self._levelling = str(stream.attributes.get("levelling", "not known"))
        units = stream.fields["structure_function"].units.replace("^2", "\u00b2")
        self._units = units_of(stream, "structure_function").removesuffix("^2")
        self._least = configured(stream, "least_size")
        self._colours = figure.colours.curves
        left = f"P(r) ({units})" if units else "P(r)"
        self._plot = figure.plot(
            ("lag r (nm)", "r (nm)"),
            (f"mean squared difference of the {self._channel}, {left}", left),
        )
        told = {"none": "not levelled", "not known, taken as none": "levelling not known"}
        level = told.get(self._levelling, f"levelled: {self._levelling}")
        marks = [(self._colours[1], "fit"), (self._colours[2], "\u03be")]
        figure.key(
            [(self._colours[0], f"{self._channel}, {level}"), *marks],
            [(self._colours[0], level), *marks],
        )
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest structure function, or the newest fit."""
        if (at := newest(batch)) is None:
            return
        if "curve" in batch.raw:
            self._fit(batch, at)
            return
        P, errors = batch["structure_function"][at], batch["structure_function_errors"][at]
        self._plot.points("P", self._lag, P, np.nan_to_num(errors), self._colours[0], size=4)
        known = np.isfinite(P)
        if known.any():
            top = float((P + np.nan_to_num(errors))[known].max())
            self._plot.range((0.0, float(self._lag[-1])), (0.0, 1.05 * top))

    def _fit(self, batch: daq.Batch, at: int) -> None:
        curve = batch["curve"][at]
        self._plot.curve("fit", self._lag, curve, self._colours[1], width=2)
        length = float(batch["correlation_length"][at])
        if np.isfinite(length) and length <= self._lag[-1]:
            height = float(np.interp(length, self._lag, curve))
            self._plot.curve("length", [length] * 2, [0.0, height], self._colours[2], dashed=True)
        else:
            self._plot.drop("length")
        said = fit_in_words(batch, at, self._units, self._least)
        self._figure.say(*shorter([*said, *where(batch, at)]), f"\u03be {number(length)} nm")


def fit_in_words(batch: daq.Batch, at: int, units: str, least: Any) -> list[str]:
    """Return xi, sigma and alpha with errors, the most telling first, or why they are refused."""
    flag = int(batch["flag"][at])
    if flag == 1:
        size = float(batch["size_over_length"][at])
        needed = f" of {least:g} needed" if isinstance(least, int | float) else ""
        return [f"refused: the field holds {number(size, 2)} \u03be{needed}"]
    if flag in NOT_CONVERGED:
        return [f"refused: {NOT_CONVERGED[flag]}"]
    xi, sigma, alpha = (
        with_error(float(batch[name][at]), float(batch[f"{name}_errors"][at]))
        for name in ("correlation_length", "sigma", "hurst_exponent")
    )
    found = [f"\u03be {xi} nm"]
    if flag == 2:
        found = [f"\u03be {xi} nm, a parameter at its bound"]
    return [*found, f"\u03c3 {sigma}{units}", f"\u03b1 {alpha}"]


class FitProgress(daq.View):
    """The correlation length as the images grow, one after another."""

    name = "correlation length while scanning"
    rank = 80
    aside = True
    records = MANY

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are fits of `surface_correlation`."""
        return {"correlation_length", "size_over_length", "curve", "lines"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._figure = self.figure()
        self._plot = self._figure.plot(
            ("look at the data",), ("correlation length \u03be (nm)", "\u03be (nm)")
        )
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw all fits; those at the end of an image larger."""
        good, final = batch.valid, batch.valid & (batch["final"] > 0)
        colours = self._figure.colours.curves
        x = batch.indices
        errors = np.nan_to_num(batch["correlation_length_errors"])
        for name, which, colour, size in (("fits", good, 0, 3), ("final", final, 1, 7)):
            xi = batch["correlation_length"][which]
            self._plot.points(name, x[which], xi, errors[which], colours[colour], size=size)
        self._figure.key(((colours[0], "while scanning"), (colours[1], "whole image")))


class Lengths(daq.View):
    """Correlation lengths: of each annealing time with the spread of places, or of each image."""

    name = "correlation lengths"
    rank = 17
    records = MANY

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are means over places."""
        wanted = {"correlation_length", "correlation_length_sd", "places", "annealing_time"}
        return wanted <= set(stream.fields)

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the fits of the images."""
        return (f"{stream.name.rpartition('.')[0]}.fit",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._figure = self.figure()
        self._colours = self._figure.colours.curves
        self._plot = self._figure.plot(
            ("",), ("correlation length \u03be (nm)", "\u03be (nm)")
        )  # fmt: skip
        self._groups: dict[tuple[float, float], dict[str, float]] = {}
        self._images: dict[int, tuple[float, float]] = {}
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest mean of each annealing, or all images where nothing was annealed."""
        if "curve" in batch.raw:
            used = batch.valid & (batch["final"] > 0) & (batch["flag"] == 0)  # as the mean has it
            for i in np.flatnonzero(used).tolist():
                self._images[int(batch["scan"][i])] = (
                    float(batch["correlation_length"][i]),
                    float(batch["correlation_length_errors"][i]),
                )
        else:
            for i in np.flatnonzero(batch.valid).tolist():
                seconds = float(batch["annealing_time"][i])
                kelvin = known_or(float(batch["annealing_temperature"][i])) if seconds > 0 else 0.0
                self._groups[kelvin, seconds] = {
                    name: float(batch[name][i])
                    for name in ("correlation_length", "correlation_length_sd",
                                 "correlation_length_errors", "places")
                }  # fmt: skip
        if any(seconds > 0 for _, seconds in self._groups):
            self._draw_annealing()
        else:
            self._draw_images()

    def _draw_annealing(self) -> None:
        for name in ("images", "mean"):
            self._plot.drop(name)
        key, texts = [], []
        quenched = self._groups.get((0.0, 0.0))
        annealed = {k: g for k, g in self._groups.items() if k[1] > 0}
        first = min(seconds for _, seconds in annealed)
        if quenched:
            # a logarithm of 0 s is not to be had
            self._points("quenched", [first / 4], [quenched], self._colours[4])
            key.append((self._colours[4], "as quenched"))
        for order, kelvin in enumerate(sorted({k for k, _ in annealed})):
            at = sorted(seconds for k, seconds in annealed if k == kelvin)
            groups = [annealed[kelvin, seconds] for seconds in at]
            colour = self._colours[order % 4]
            self._points(f"{kelvin}", at, groups, colour)
            key.append((colour, kelvins(kelvin)))
            said = with_error(groups[-1]["correlation_length"], spread_of(groups[-1]))
            texts.append(f"{kelvins(kelvin)}, {duration(at[-1])}: \u03be {said} nm")
        self._plot.label(("annealing time (s), as quenched leftmost", "annealing time (s)"))
        self._figure.key(key, key[-2:])
        places = max(int(group["places"]) for group in self._groups.values())
        self._figure.say(*shorter([*texts[-1:], f"bars: spread over {places} places"]))
        self._ticks(sorted({seconds for _, seconds in annealed}), quenched is not None)

    def _points(self, name: str, x: Sequence[float], groups: Sequence[Mapping[str, float]], colour: str) -> None:  # fmt: skip
        y = np.array([group["correlation_length"] for group in groups])
        bars = np.array([spread_of(group) for group in groups])
        self._plot.points(name, np.log10(x), y, np.nan_to_num(bars), colour, size=7)

    def _ticks(self, times: Sequence[float], quenched: bool) -> None:
        shown = [(float(np.log10(t)), duration(t)) for t in times]
        if quenched:
            shown.insert(0, (float(np.log10(times[0] / 4)), "0"))
        self._plot.label(("annealing time",))
        self._plot.plot.getAxis("bottom").setTicks([shown, []])

    def _draw_images(self) -> None:
        if not self._images:
            return
        scans = sorted(self._images)
        xi, errors = np.array([self._images[scan] for scan in scans]).T
        self._plot.points("images", scans, xi, np.nan_to_num(errors), self._colours[0], size=7)
        self._plot.label(("scan number",))
        self._plot.plot.getAxis("bottom").setTicks([[(s, str(s)) for s in scans[:: -(-len(scans) // 8)]], []])  # fmt: skip
        if group := self._groups.get((0.0, 0.0)):
            mean, places = group["correlation_length"], int(group["places"])
            self._plot.level("mean", mean)
            sd = group["correlation_length_sd"]
            of = "of the only place" if places == 1 else f"mean of {places} places"
            apart = f"they differ by {number(sd, 2)} nm" if np.isfinite(sd) else ""
            self._figure.say(*shorter([f"\u03be {of} {number(mean)} nm", apart]))


def spread_of(group: Mapping[str, float]) -> float:
    """Return the spread of places, or the error of the only one."""
    sd = group["correlation_length_sd"]
    return sd if np.isfinite(sd) else group["correlation_length_errors"]


class Shrinkage(daq.View):
    """(xi/xi_0)^3 against annealing time with the KWW fit of each temperature (Zhu2016)."""

    name = "shrinkage"
    rank = 15
    records = MANY

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is the decay of xi^3."""
        return {"volume", "volume_errors", "annealing_time", "curve"} <= set(stream.fields)

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the fits."""
        return (f"{stream.name.rpartition('.')[0]}.kww",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._figure = self.figure()
        self._colours = self._figure.colours.curves
        self._times = np.asarray(stream.constants["time_axis"], np.float64)
        self._plot = self._figure.plot(
            ("annealing time (s)",),
            ("domains left, F = (\u03be/\u03be\u2080)\u00b3", "F = (\u03be/\u03be\u2080)\u00b3"),
            logarithmic="x",
        )
        self._order: list[float] = []
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest points and curve of each temperature, or say the newest fits."""
        latest = {
            known_or(float(batch["annealing_temperature"][i])): int(i)
            for i in np.flatnonzero(batch.valid)
        }
        self._order += [T for T in sorted(latest) if T not in self._order]
        if "ln_tau" in batch.raw:
            self._say(batch, latest)
            return
        times = []
        for T, i in latest.items():
            colour = self._colours[self._order.index(T) % len(self._colours)]
            at = batch["annealing_time"][i]
            self._plot.points(
                f"points {T}", at, batch["volume"][i], np.nan_to_num(batch["volume_errors"][i]),
                colour, size=7,
            )  # fmt: skip
            self._plot.curve(f"fit {T}", self._times, batch["curve"][i], colour)
            times.append(at[np.isfinite(at)])
        self._figure.key(
            [(self._colours[n % len(self._colours)], kelvins(T)) for n, T in enumerate(self._order)]
        )
        every = np.concatenate(times)
        if every.size:
            self._plot.range((float(every.min()) / 4, float(every.max()) * 4), (0.0, 1.05))

    def _say(self, batch: daq.Batch, latest: Mapping[float, int]) -> None:
        texts = []
        for T, i in sorted(latest.items()):
            if batch["flag"][i] == 4 or not np.isfinite(batch["ln_tau"][i]):
                times = int(batch["times"][i])
                texts.append(f"{kelvins(T)}: too few annealing times for a fit yet ({times})")
                continue
            tau = with_error(float(batch["ln_tau"][i]), float(batch["ln_tau_errors"][i]))
            b = with_error(float(batch["b"][i]), float(batch["b_errors"][i]))
            texts.append(f"{kelvins(T)}: ln(\u03c4/s) {tau}, b {b}")
            if batch["flag"][i]:
                texts[-1] += ", not determined"
        self._figure.say(*shorter(texts))


class Shrinking(daq.View):
    """The stretching exponent and relaxation time of each annealing temperature."""

    name = "KWW fits"
    rank = 81
    aside = True
    records = MANY

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are fits to xi^3."""
        return {"quenched", "ln_tau", "b", "stage"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self._figure = self.figure()
        self._tau = self._figure.plot((), ("ln(\u03c4/s)",))
        self._b = self._figure.plot(
            ("annealing temperature (K)", "T (K)"), ("exponent b", "b"), above=self._tau
        )
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest fit of each temperature."""
        latest = {int(batch["stage"][i]): int(i) for i in np.flatnonzero(batch.valid)}
        at = list(latest.values())
        for plot, name in ((self._tau, "ln_tau"), (self._b, "b")):
            errors = np.nan_to_num(batch[f"{name}_errors"][at])
            plot.points(name, batch["annealing_temperature"][at], batch[name][at], errors, size=7)


def known_or(kelvin: float, unknown: float = -1.0) -> float:
    """Return a temperature; ``unknown``, which is like itself, for NaN."""
    return kelvin if np.isfinite(kelvin) else unknown


def kelvins(temperature: float) -> str:
    """Return an annealing temperature as it is said."""
    return f"{temperature:g} K" if temperature > 0 else "annealed"


VIEWS: Sequence[type[daq.View]] = (
    StructureFunction,
    Shrinkage,
    Lengths,
    FitProgress,
    Shrinking,
)
