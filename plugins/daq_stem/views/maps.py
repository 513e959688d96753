"""Maps of the specimen: relaxation times (``ecm.maps``) and local order (``fem.maps``)."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_stem.views.positions import (
    DETERMINED,
    MASKED_COLOUR,
    bands_of,
    classes,
    joined,
    number,
    painted,
    percent,
    scan_and_temperature,
)


class RelaxationTimes(daq.View):
    """The tau map of one band on a logarithmic scale.

    Lower bounds, upper bounds (what relaxes within a scan), failed fits and masked positions have
    colours of their own, named with their share of the glass: a bound is not drawn as if it were a
    value.
    """

    name = "relaxation times"
    rank = 10
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are maps of tau [band, y, x] with flags."""
        fields = stream.fields
        return {"tau", "tau_lower", "flag"} <= set(fields) and len(fields["tau"].shape) == 3

    def widget(self, stream: daq.Stream) -> Any:
        """Return map and colour bar, and a choice of the band where there are several."""
        self._band, self._batch = 0, None
        self._bands = bands_of(stream, stream.fields["tau"].shape[0])
        self._figure = self.figure()
        self._figure.choice(self._bands, self._choose)
        self._area = self._figure.picture()
        self._area.frame_of(stream, "tau")
        self._area.set_map("viridis")
        self._area.label_bar("relaxation time \u03c4 (s)", "\u03c4 (s)")
        self._area.scale_bar_of(stream, "tau")
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest maps."""
        self._batch = batch
        self._draw(batch)

    def _choose(self, band: int) -> None:
        self._band = band
        if self._batch is not None:
            self._draw(self._batch)

    def _draw(self, batch: daq.Batch) -> None:
        tau = batch["tau"][-1, self._band]
        flag = batch["flag"][-1, self._band]
        kinds = classes(flag, tau)
        determined = (flag == DETERMINED) & np.isfinite(tau)
        self._area.show(np.where(determined, tau, np.nan), logarithmic=True)
        self._area.overlay("flags", painted(tau.shape, list(kinds.values())))
        glass = max(1, tau.size - int(kinds["masked"][1].sum()))
        parts = scan_and_temperature(batch)
        share = f"{percent(determined.sum() / glass)} determined"
        band = self._bands[self._band] if len(self._bands) == 1 else ""
        self._figure.say(
            joined([*parts, share, band]), joined([*parts, share]), joined([*parts[-1:], share])
        )
        there = [(name, *kind) for name, kind in kinds.items() if kind[1].any()]
        self._figure.key(
            [
                (colour, name if name == "masked" else f"{name} {percent(where.sum() / glass)}")
                for name, colour, where in there
            ],
            [(colour, name) for name, colour, _ in there],
            [(colour, name.removesuffix(" bound")) for name, colour, _ in there],
        )


class LocalOrder(daq.View):
    """The map of V, the normalised variance, with the counting term taken off."""

    name = "local order V"
    rank = 11
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are maps of V [y, x]."""
        fields = stream.fields
        return {"V", "V_raw", "intensity"} <= set(fields) and len(fields["V"].shape) == 2

    def widget(self, stream: daq.Stream) -> Any:
        """Return map and colour bar."""
        self._figure = self.figure()
        self._area = self._figure.picture()
        self._area.frame_of(stream, "V")
        self._area.set_map("plasma")
        self._area.label_bar("normalised variance V", "V")
        self._area.scale_bar_of(stream, "V")
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest map."""
        V = batch["V"][-1]
        masked = ~np.isfinite(V)
        self._area.show(V)
        self._area.overlay("masked", painted(V.shape, [(MASKED_COLOUR, masked)]))
        parts = scan_and_temperature(batch)
        mean = "all masked" if masked.all() else f"mean V {number(float(V[~masked].mean()))}"
        patterns = ""
        if "count" in batch.raw and not masked.all():
            patterns = f"{int(np.median(batch['count'][-1][~masked]))} patterns each"
        self._figure.say(
            joined([*parts, mean, patterns]), joined([*parts, mean]), joined([*parts[-1:], mean])
        )
        self._figure.key([(MASKED_COLOUR, "masked")] if masked.any() else [])


class OrderOverQ(daq.View):
    """V of each ring over Q, with the counting term taken off and with it."""

    name = "V over Q"
    rank = 36
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are profiles of V [q]."""
        fields = stream.fields
        return {"V", "V_raw", "intensity"} <= set(fields) and (
            len(fields["V"].shape) == 1 and "q" in stream.constants
        )

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._q = stream.constants["q"]
        self._colours = figure.colours.curves
        self._plot = figure.plot(("Q (1/nm)",), ("normalised variance V", "V"))
        colours = self._colours[0], self._colours[1]
        figure.key(
            list(zip(colours, ("V", "V with the counting noise"), strict=True)),
            list(zip(colours, ("V", "V raw"), strict=True)),
        )
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest profiles."""
        for place, field in enumerate(("V", "V_raw")):
            colour = self._colours[place]
            self._plot.curve(f"line {field}", self._q, batch[field][-1], colour, width=1)
            self._plot.points(field, self._q, batch[field][-1], None, colour)
        self._figure.say(joined(scan_and_temperature(batch)))
