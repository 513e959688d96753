"""The two-dimensional spectrum of each image, and whether it prefers directions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_afm.image_lines import Image, ImageLines, only_stream, record
from daq_afm.spectrum_order import FOLDS, angular_order, lobes, modes, power_spectrum

LEAST_MEASURED: Final = 0.9
"""Part of the pixels that an order needs."""


class AngularSpectrum(daq.Analysis):
    """Two lobes, four lobes (quadrupolar), or none: the angular order of the spectrum.

    Takes scan lines, by default those of `dissipation`. Gives one record for each image that has ended:

    ``spectrum``
        ``power`` [ky, kx], float32, in squared units of the channel times nm^2, 0 in the middle; the best plane
        taken off, Hann window along both axes; ``radial`` [ring], its mean over the directions.
    ``order``
        ``twofold`` and ``fourfold`` (`daq_afm.spectrum_order`, |a_2| and |a_4|), each with
        ``_errors``, ``_axis`` deg (of a lobe, from x towards y; what is drawn out along y has its lobes along x), ``_axis_errors``, ``_p``, the
        chance of as much in an isotropic map, ``_expected``, what such maps have on average, and
        ``_by_ring`` [ring]; ``elongated`` and ``quadrupolar``: 1 where p <= ``level``; ``measured``, part of
        the pixels. Below 0.9 there is no order (NaN).

    Modes that vary along y alone are left out of the order: offsets from line to line lie there.
    """

    name = "angular_spectrum"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "angular_spectrum"`` may say."""

        channel: str = daq.setting("dissipated_energy", "", "which channel, any units")
        low: float | None = daq.setting(
            None, "1/nm", "longest waves that count; by default 3 in the shorter side", gt=0
        )
        high: float | None = daq.setting(
            None, "1/nm", "shortest waves; by default 0.7 of the Nyquist frequency", gt=0
        )
        line_noise: bool = daq.setting(True, "", "leave out modes that vary along y alone")
        scores: bool = daq.setting(
            True, "", "normal scores of the values for the order: few high spots do not dominate"
        )
        maps: int = daq.setting(199, "", "isotropic maps to compare with", ge=0, le=10000)
        level: float = daq.setting(0.05, "", "of significance", gt=0, lt=1)
        seed: int = daq.setting(1, "", "of the isotropic maps", ge=0)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the channel and the waves; ValueError where they do not fit."""
        stream = only_stream(streams, self.name)
        if config.channel not in stream.fields or not stream.fields[config.channel].shape:
            arrays = [n for n, f in stream.fields.items() if f.shape]
            raise ValueError(
                f"{stream.name} has no channel {config.channel!r}; it has {', '.join(arrays)}"
            )
        self._config = config
        self._lines = lines = ImageLines(stream, {config.channel: 1.0})
        shape = (lines.rows, lines.columns)
        self._modes = modes(shape, lines.step, config.low, config.high, config.line_noise)
        units = stream.fields[config.channel].units
        power = f"{units}^2 nm^2".strip() if units else "nm^2"
        rings = (len(self._modes.q),)
        common = lines.condition_fields()
        self._spectrum_fields = {
            "power": daq.Field("<f4", shape, power, "power spectrum"),
            "radial": daq.Field("<f8", rings, power, "mean over directions"),
            **common,
        }
        plain = daq.Field("<f8")
        self._order_fields: dict[str, daq.Field] = {}
        for name, fold in zip(("twofold", "fourfold"), FOLDS, strict=True):
            self._order_fields |= {
                name: daq.Field("<f8", (), "", f"order, l = {fold}"),
                f"{name}_errors": plain,
                f"{name}_axis": daq.Field("<f8", (), "deg", "direction of a lobe"),
                f"{name}_axis_errors": daq.Field("<f8", (), "deg"),
                f"{name}_p": plain,
                f"{name}_expected": plain,
                f"{name}_by_ring": daq.Field("<f8", rings, "", f"order, l = {fold}"),
            }
        self._order_fields |= {
            "elongated": daq.Field("|u1"), "quadrupolar": daq.Field("|u1"), "measured": plain,
            **common,
        }  # fmt: skip
        ring_axis = [{"name": "q", "units": "1/nm", "values": "q"}]
        steps = [1 / (n * d) for n, d in zip(shape, lines.step, strict=True)]
        axes = [
            {"name": name, "units": "1/nm", "offset": -(n // 2) * d, "step": d}
            for name, n, d in zip(("ky", "kx"), shape, steps, strict=True)
        ]
        attributes = {
            "channel": config.channel, "window": "Hann along both axes, plane taken off",
            "low": float(self._modes.q[0]), "high": float(self._modes.q[-1]),
            "isotropic_maps": config.maps,
        }  # fmt: skip
        constants = {"q": self._modes.q}
        by_ring = {f"{name}_by_ring": ring_axis for name in ("twofold", "fourfold")}
        return [
            daq.Stream(
                "spectrum", self._spectrum_fields, {"power": axes, "radial": ring_axis},
                attributes=attributes, constants=constants,
            ),
            daq.Stream(
                "order", self._order_fields, by_ring, attributes=attributes, constants=constants
            ),
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Look at each image that ends."""
        for item in self._lines.take(batch):
            if isinstance(item, Image):
                yield from self._image(item)

    def close(self) -> Iterable[daq.Batch]:
        """Look at an image that was left half done."""
        for image in self._lines.rest():
            yield from self._image(image)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return forty numbers a pixel of one image."""
        (stream,) = streams.values()
        return 320 * math.prod(stream.scan_shape or (0,))

    def _image(self, image: Image) -> Iterable[daq.Batch]:
        values, common = image.values[self._config.channel], self._lines.condition_values(image)
        power = power_spectrum(values, self._modes)
        rings = self._modes.ring[self._modes.used]
        sums = np.bincount(rings, power[self._modes.used], len(self._modes.q))
        number = np.bincount(rings, minlength=len(self._modes.q))
        yield record(
            "spectrum", image.time, self._spectrum_fields, power=_centred(power, values.shape[1]),
            radial=sums / np.where(number > 0, number, np.nan), **common,
        )  # fmt: skip
        measured = float(np.mean(np.isfinite(values)))
        given: dict[str, Any] = {"elongated": False, "quadrupolar": False}
        config = self._config
        if measured >= LEAST_MEASURED:
            found = angular_order(
                values, self._modes, config.maps, config.seed + image.scan, config.scores
            )
            given["elongated"], given["quadrupolar"] = lobes(found, config.level)
            for n, name in enumerate(("twofold", "fourfold")):
                given[name], given[f"{name}_axis"] = found.order[n], found.axis[n]
                given[f"{name}_p"], given[f"{name}_expected"] = found.p[n], found.expected[n]
                given[f"{name}_errors"] = found.errors[n]
                given[f"{name}_axis_errors"] = found.axis_errors[n]
                given[f"{name}_by_ring"] = found.by_ring[n]
        for name, field in self._order_fields.items():
            if name not in given and name not in common and name not in ("measured", "time"):
                given[name] = np.full(field.shape, np.nan)
        yield record("order", image.time, self._order_fields, **given, measured=measured, **common)


def _centred(power: Any, columns: int) -> Any:
    """Return a spectrum of kx >= 0 with both signs of kx, and 0 in the middle."""
    full = np.empty((len(power), columns), power.dtype)
    half = power.shape[1]
    full[:, :half] = power
    # P(-q) = P(q)
    mirrored = np.roll(power[::-1], 1, axis=0)
    full[:, half:] = mirrored[:, 1 : columns - half + 1][:, ::-1]
    return np.fft.fftshift(full)
