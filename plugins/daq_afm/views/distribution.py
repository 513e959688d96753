"""Histograms with their Gaussians: of a channel, of the energy that is lost, of the frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_afm.views.wording import newest, number, percent, shorter, units_of, where, with_error

Floats = npt.NDArray[np.float64]

MANY: Final = 4096


class PhaseHistogram(daq.View):
    """The histogram of a channel with its Gaussian, and the range of colours that follows from it."""

    name = "histogram"
    rank = 24
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are histograms with colour ranges."""
        return {"value", "counts", "curve", "centre", "width", "low", "high"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        channel = str(stream.attributes.get("channel", "value")).replace("_", " ")
        self._units = units_of(stream, "value")
        self._colours = figure.colours.curves
        label = f"{channel} ({self._units.strip()})" if self._units else channel
        self._plot = figure.plot((label,), ("pixels",))
        figure.key(
            [
                (self._colours[0], channel), (self._colours[1], "Gaussian"),
                (figure.colours.muted, "range of the colours"),
            ],
            [(self._colours[0], channel), (self._colours[1], "Gaussian")],
        )  # fmt: skip
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest histogram."""
        if (at := newest(batch)) is None:
            return
        value, counts = batch["value"][at], batch["counts"][at]
        self._plot.curve("counts", *steps(value, counts), self._colours[0])
        self._plot.curve("Gaussian", value, batch["curve"][at], self._colours[1], width=2)
        top = float(counts.max()) * 1.05 or 1.0
        for name in ("low", "high"):
            x = float(batch[name][at])
            self._plot.curve(name, [x, x], [0.0, top], self._figure.colours.muted, dashed=True)
        half = (value[1] - value[0]) / 2
        self._plot.range((float(value[0] - half), float(value[-1] + half)), (0.0, top))
        if np.isfinite(batch["width"][at]):
            centre, width = (number(float(batch[n][at])) for n in ("centre", "width"))
            said = f"centre {centre}, width {width}{self._units}"
        else:
            said = f"no Gaussian \u00b7 sd {number(float(batch['sd'][at]))}{self._units}"
        self._figure.say(*shorter([said, *where(batch, at)]))


class Distribution(daq.View):
    """The values of an image as they are distributed, with the Gaussian of the histogram."""

    records = 1
    quantity: ClassVar[str] = ""
    short: ClassVar[str] = ""

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are distributions of such values."""
        wanted = {"bins", "histogram", "gaussian_mean", "gaussian_sd", "range_5_95"}
        return wanted <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._units = units_of(stream, "mean")
        self._scale = 1.0
        if self._units == " Hz":
            self._units, self._scale = " kHz", 1e-3
        self._colours = figure.colours.curves
        label = f"{self.quantity} ({self._units.strip()})" if self._units else self.quantity
        self._plot = figure.plot((label, f"{self.short} ({self._units.strip()})"), ("pixels",))
        figure.key([(self._colours[0], "pixels"), (self._colours[1], "Gaussian")])
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest distribution."""
        if (at := newest(batch)) is None:
            return
        self._draw(batch, at)
        self._figure.say(*shorter([*self.words(batch, at), *where(batch, at)]))

    def words(self, batch: daq.Batch, at: int) -> list[str]:
        """Return what is said above, the most telling first."""
        raise NotImplementedError

    def _draw(self, batch: daq.Batch, at: int) -> None:
        bins, counts = batch["bins"][at] * self._scale, batch["histogram"][at]
        if not np.isfinite(bins).all():
            for name in ("counts", "Gaussian"):
                self._plot.drop(name)
            return
        width = bins[1] - bins[0]
        mean = float(batch["gaussian_mean"][at]) * self._scale
        sd = float(batch["gaussian_sd"][at]) * self._scale
        self._plot.curve("counts", *steps(bins, counts), self._colours[0])
        if sd > 0:
            x = np.linspace(bins[0], bins[-1], 257)
            bell = np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
            self._plot.curve("Gaussian", x, counts.sum() * width * bell, self._colours[1], width=2)
        else:
            self._plot.drop("Gaussian")
        top = float(counts.max()) * 1.08 or 1.0
        self._plot.range((float(bins[0] - width / 2), float(bins[-1] + width / 2)), (0.0, top))


class DissipatedEnergy(Distribution):
    """How much energy the tip loses: the distribution over an image, and the mean over places."""

    name = "energies"
    rank = 18
    quantity = "energy lost per cycle"
    short = "E"

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are distributions of the energy."""
        return super().can_draw(stream) and "amplitude_ratio" in stream.fields

    def words(self, batch: daq.Batch, at: int) -> list[str]:
        """Return mean, spread and A/A_0."""
        mean, sd = float(batch["mean"][at]), float(batch["sd"][at])
        found = [f"E {number(mean)} eV, sd {number(sd)} ({percent(sd / mean)})"]
        if np.isfinite(ratio := float(batch["amplitude_ratio"][at])):
            found.append(f"A/A\u2080 {ratio:.3f}")
        places = int(batch["places"][at])
        if places > 1:
            over, error = (
                float(batch[n][at]) for n in ("mean_over_places", "mean_over_places_errors")
            )
            found.append(f"{places} places {with_error(over, error)} eV")
        outside = int(batch["outside"][at])
        if outside:
            found.append(f"{percent(outside / max(1, int(batch['pixels'][at])))} negative")
        return found


class FrequencyDistribution(Distribution):
    """The distribution of the contact resonance, and the profile along a line."""

    name = "spread"
    rank = 11
    quantity = "contact resonance"
    short = "f"

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are distributions of a frequency, with a profile."""
        return super().can_draw(stream) and "profile" in stream.fields

    def widget(self, stream: daq.Stream) -> Any:
        """Return histogram and profile."""
        figure = super().widget(stream)
        position = np.asarray(stream.constants["profile_position"], np.float64)
        large = position.max() >= 5000 if position.size else False
        self._position = position * (1e-3 if large else 1.0)
        units = "\u00b5m" if large else "nm"
        self._along = figure.plot((f"position ({units})",), ("f (kHz)",))
        return figure

    def _draw(self, batch: daq.Batch, at: int) -> None:
        super()._draw(batch, at)
        profile = batch["profile"][at] * self._scale
        self._along.curve("profile", self._position, profile, self._colours[2])

    def words(self, batch: daq.Batch, at: int) -> list[str]:
        """Return spread, modulus and damping."""
        span, sd = float(batch["range_5_95"][at]) / 1e3, float(batch["sd"][at]) / 1e3
        found = [f"5\u201395 %: {number(span)} kHz", f"sd {number(sd)} kHz"]
        if "modulus" in batch.raw and np.isfinite(batch["modulus"][at]):
            modulus, own = float(batch["modulus"][at]), float(batch["modulus_sd"][at])
            found.append(f"M {number(modulus)} GPa, sd {number(own, 2)}")
        if "quality_factor" in batch.raw and np.isfinite(batch["quality_factor"][at]):
            found.append(f"Q {number(float(batch['quality_factor'][at]))}")
        if failed := int(batch["failed"][at]):
            found.append(f"{failed} pixels without a value")
        return found


class HeightPhase(daq.View):
    """Is one channel a picture of the other? Their correlation over the looks, with its error."""

    name = "correlation"
    rank = 28
    records = MANY

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are correlations of two channels."""
        return {"pearson", "spearman", "spearman_errors"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._channels = " and ".join(str(n) for n in stream.attributes.get("channels", ()))
        self._colours = figure.colours.curves
        self._plot = figure.plot(
            ("scans (parts of the rows between)", "scans"),
            (f"correlation of {self._channels}", "correlation"),
        )
        self._rows = int((stream.scan_shape or (0,))[0])
        self._plot.level("zero", 0.0)
        figure.key([(self._colours[0], "Spearman"), (self._colours[1], "Pearson")])
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw all looks, those at the end of an image larger."""
        if (at := newest(batch)) is None:
            return
        x = self._place(batch)
        for n, name in enumerate(("spearman", "pearson")):
            value, errors = batch[name], np.nan_to_num(batch[f"{name}_errors"])
            for final, size in ((False, 3), (True, 7)):
                use = batch.valid & ((batch["final"] > 0) == final)
                shift = 0.02 * (2 * n - 1)
                self._plot.points(
                    f"{name} {final}", x[use] + shift, value[use], errors[use] if final else None,
                    self._colours[n], size=size,
                )  # fmt: skip
        # a few rows correlate by chance: whole images set the range, where there are any
        use = batch.valid & (batch["final"] > 0)
        use = use if use.any() else batch.valid
        known = np.abs([batch[n][use] for n in ("spearman", "pearson")])
        known += np.abs(np.nan_to_num([batch[f"{n}_errors"][use] for n in ("spearman", "pearson")]))
        known = known[np.isfinite(known)]
        reach = max(0.15, 1.2 * float(known.max())) if known.size else 1.0
        self._plot.range(None, (-min(reach, 1.0), min(reach, 1.0)))
        rho = with_error(float(batch["spearman"][at]), float(batch["spearman_errors"][at]))
        p = float(batch["spearman_p_value"][at])
        chance = f"chance of as much {number(p, 2)}" if np.isfinite(p) else ""
        said = f"Spearman {rho}" if rho != "\u2013" else "too few rows yet"
        self._figure.say(*shorter([said, chance, *where(batch, at)]))

    def _place(self, batch: daq.Batch) -> Floats:
        """Return where each look stands: the number of its scan at the end of it, parts before."""
        lines = batch["lines"].astype(np.float64)
        self._rows = max(self._rows, int(lines.max()) if len(lines) else 0)
        return np.asarray(batch["scan"] + lines / max(1, self._rows), np.float64)


def steps(middles: Floats, counts: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the outline of a histogram from the middles of its bins."""
    half = (middles[1] - middles[0]) / 2
    x = np.repeat(np.append(middles - half, middles[-1] + half), 2)
    return x, np.concatenate([[0.0], np.repeat(counts.astype(np.float64), 2), [0.0]])


VIEWS: Sequence[type[daq.View]] = (
    FrequencyDistribution,
    DissipatedEnergy,
    PhaseHistogram,
    HeightPhase,
)
