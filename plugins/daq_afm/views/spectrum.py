"""The two-dimensional spectrum of an image, and whether it prefers directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_afm.views.wording import newest, number, percent, shorter, where, with_error

SHOWN: Final = 1.2
"""How far the picture goes beyond the shortest waves that count."""
LOBE: Final = "#6cf0ff"
RANGE: Final = "#ffffff"


class Spectrum(daq.View):
    """The power spectrum, with the range of waves that count, and the lobes where there are any."""

    name = "spectrum"
    rank = 22
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are spectra."""
        return {"power", "radial"} <= set(stream.fields) and "q" in stream.constants

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the order of the spectra."""
        return (f"{stream.name.rpartition('.')[0]}.order",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture."""
        self._figure = self.figure()
        self._low, self._high = (float(stream.attributes[n]) for n in ("low", "high"))
        self._place: list[slice] = []
        spans = []
        for axis, length in zip(stream.axes["power"], stream.fields["power"].shape, strict=True):
            k = float(axis["offset"]) + float(axis["step"]) * np.arange(length)
            inside = np.flatnonzero(np.abs(k) <= SHOWN * self._high)
            self._place.append(slice(int(inside[0]), int(inside[-1]) + 1))
            half = float(axis["step"]) / 2
            spans.append((f"{axis['name']} (1/nm)", k[inside[0]] - half, k[inside[-1]] + half))
        self._area = self._figure.picture()
        self._area.frame(spans[1], spans[0], upwards=True)
        self._area.set_map("inferno")
        units = stream.fields["power"].units.replace("^2", "\u00b2").replace(" ", "\u00a0")
        self._area.label_bar(f"power ({units})", "power")
        angle = np.linspace(0, 2 * np.pi, 181)
        for name, q in (("low", self._low), ("high", self._high)):
            x, y = q * np.cos(angle), q * np.sin(angle)
            self._area.line(name, x, y, RANGE, width=1.0, dashed=True, edge=False)
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest spectrum, or its order."""
        if (at := newest(batch)) is None:
            return
        if "power" not in batch.raw:
            self._order(batch, at)
            return
        power = batch["power"][at][tuple(self._place)]
        positive = power[power > 0]
        if positive.size:
            levels = tuple(float(v) for v in np.percentile(positive, (5.0, 99.8)))
            self._area.show(np.where(power > 0, power, np.nan), logarithmic=True, levels=levels)

    def _order(self, batch: daq.Batch, at: int) -> None:
        texts = []
        for name, words, fold, told in (
            ("twofold", "l = 2", 2, "elongated"), ("fourfold", "l = 4", 4, "quadrupolar"),
        ):  # fmt: skip
            axis, there = float(batch[f"{name}_axis"][at]), bool(batch[told][at])
            self._lobes(name, axis if there else float("nan"), fold)
            order = with_error(float(batch[name][at]), float(batch[f"{name}_errors"][at]))
            p = float(batch[f"{name}_p"][at])
            if not np.isfinite(batch[name][at]):
                continue
            chance = f"p {number(p, 2)}" if np.isfinite(p) else "no p"
            said = f"{told} along {axis:.0f}\u00b0" if there else ""
            texts.append(f"{words}: {order} ({', '.join(t for t in (chance, said) if t)})")
        if not texts:
            share = float(batch["measured"][at])
            part = percent(share)
            self._figure.say(
                f"no order: {part} of the pixels are measured, 90\u2009% needed",
                f"no order: {part} measured", "no order",
            )  # fmt: skip
            return
        self._figure.say(*shorter([*texts, *where(batch, at)]))

    def _lobes(self, name: str, axis: float, fold: int) -> None:
        if not np.isfinite(axis):
            self._area.line(name, [np.nan], [np.nan], LOBE)
            return
        angles = np.radians(axis + 360.0 / fold * np.arange(fold))
        ends = np.array([self._low, self._high, np.nan])
        x, y = (f(angles)[:, np.newaxis] * ends for f in (np.cos, np.sin))
        self._area.line(name, x.reshape(-1), y.reshape(-1), LOBE, width=1.5)


class AngularOrder(daq.View):
    """The two- and the fourfold order over the wavevector."""

    name = "angular order"
    rank = 86
    aside = True
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are orders of spectra."""
        return {"twofold_by_ring", "fourfold_by_ring"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._q = np.asarray(stream.constants["q"], np.float64)
        self._colours = figure.colours.curves
        self._plot = figure.plot(("q (1/nm)",), ("angular order",))
        figure.key([(self._colours[0], "l = 2"), (self._colours[1], "l = 4")])
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest order."""
        if (at := newest(batch)) is None:
            return
        for n, name in enumerate(("twofold", "fourfold")):
            self._plot.points(name, self._q, batch[f"{name}_by_ring"][at], None, self._colours[n])
        self._figure.say(*shorter(where(batch, at)))


VIEWS: Sequence[type[daq.View]] = (Spectrum, AngularOrder)
