"""Geometry of a camera and counts per electron, from a glass, while its patterns come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.calibration.file import Calibration as CalibrationFile
from daq_stem.calibration.repeated_counts import POSITIONS, RepeatedCounts
from daq_stem.calibration.ring_fit import RingFit, find_ring, fit_ring, start_centre
from daq_stem.geometry.detector import image_field
from daq_stem.geometry.ellipse import Ellipse
from daq_stem.mean_pattern import MeanPattern
from daq_stem.scans import Scans

RING = (0.7, 1.3)
"""The annulus that is fitted, in radii of the ring."""

Pair = tuple[pydantic.PositiveFloat, pydantic.PositiveFloat]


class Calibration(daq.Analysis):
    """Centre, ellipse, pixel size and counts per electron, from the first ring of a glass.

    Takes a camera. The mean of all patterns so far is fitted after each scan; bad pixels and the
    shadow of a beam stop (the stream's ``mask``) count nowhere, and half of the ring is enough.

    - Centre and ellipse: the pixels of the ring as one smooth function of the undistorted radius,
      see `fit_ring`; errors from the residuals and their correlation.
    - Pixel size: ``ring_q`` over the radius of the ring, which is the middle of a Gaussian on a
      straight background (`peak_positions`), of the mean intensity against Q. Without ``ring_q``
      nothing is said of it. The halo of one glass is known to some per mille at best: give
      ``ring_q_error``.
    - Counts per electron: from successive patterns of the same positions, see `RepeatedCounts`;
      not known before the second scan.

    An isotropic specimen is taken for granted: a strained one (1 % makes 1 %) looks like an ellipse.

    Gives one stream ``geometry``, one record per scan, not valid where the ring was not found:
    ``centre`` and ``centre_errors`` px [y, x]; ``distortion``, ``distortion_errors`` =
    ln(ratio) (cos, sin)(2 angle); ``ellipse_ratio``, ``ellipse_angle`` (degrees from +x towards
    +y); ``ring_radius`` px and ``pixel_size`` 1/nm with ``..._errors``; ``counts_per_electron``,
    ``counts_per_electron_errors``; ``patterns`` that entered; ``mean`` float32 [y, x].
    With ``save`` the last of them is written to a file when the camera ends, which analyses read
    (see `daq_stem.calibration.file`).
    """

    name = "calibration"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "calibration"`` may say."""

        field: str | None = daq.setting(None, "", "image field; by default the largest")
        ring_q: float | None = daq.setting(
            None, "1/nm", "Q of the ring (1/d), if known: gives the pixel size", gt=0
        )
        ring_q_error: float = daq.setting(0.0, "1/nm", "1 sigma of ring_q", ge=0)
        ring: Pair | None = daq.setting(
            None, "px", "[inner, outer] radius where the ring is; by default it is looked for"
        )
        centre: tuple[float, float] | None = daq.setting(
            None, "px", "[y, x] to begin with; by default what opposite pixels say"
        )
        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "[rows, columns]; by default as the stream says"
        )
        save: Path | None = daq.setting(None, "", "file to be written at the end (TOML)")

        @pydantic.model_validator(mode="after")
        def _in_order(self) -> Calibration.Config:
            if self.ring is not None and self.ring[0] >= self.ring[1]:
                raise ValueError("ring: the inner radius must be the smaller one")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the frames and the scan; ValueError where they do not fit."""
        if len(streams) != 1:
            raise ValueError(f"calibration takes one input, the camera, not {len(streams)}")
        (camera,) = streams.values()
        if config.save is not None and not config.save.absolute().parent.is_dir():
            raise ValueError(f"save: there is no folder {config.save.parent}")
        self._config = config
        self._field = image_field(camera, config.field)
        self._shape = (camera.fields[self._field].shape[0], camera.fields[self._field].shape[1])
        self._scans = Scans(camera, config.scan)
        self._pattern = MeanPattern(camera, self._field)
        self._counts = RepeatedCounts(camera, self._field, self._scans.positions)
        self._fit: RingFit | None = None
        self._last: CalibrationFile | None = None
        self._time, self._open_scan = daq.NO_TIME, False
        expect = None if camera.expect is None else -(-camera.expect // self._scans.positions)
        return [_output(self._shape, camera.fields[self._field].units, expect)]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Add patterns; fit where a scan ends."""
        for piece in self._scans.pieces(batch):
            self._open_scan = True
            if piece.usable.any():
                self._pattern.add(piece.batch, piece.usable)
                self._counts.add(piece.batch, piece.first, piece.scan, piece.usable)
                self._time = int(piece.batch.time[np.flatnonzero(piece.usable)[-1]])
            if piece.ends:
                yield self._result()

    def close(self) -> Iterable[daq.Batch]:
        """Fit what an unfinished scan adds, and write the file."""
        if self._open_scan:
            yield self._result()
        if self._config.save is not None and self._last is not None:
            self._last.save(self._config.save)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 8 bytes x pixels x (64 watched positions + 40)."""
        (camera,) = streams.values()
        pixels = math.prod(camera.fields[image_field(camera, config.field)].shape)
        return 8 * pixels * (POSITIONS + 40)

    def _result(self) -> daq.Batch:
        self._open_scan = False
        mean = self._pattern.mean()
        self._fit = self._fitted(mean) if self._pattern.count else None
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.full((1, *field.shape), field.fill, field.numpy_dtype)
            for name, field in _output(self._shape, "", None).fields.items()
        }
        arrays["time"][0] = self._time
        if self._fit is None:
            return daq.Batch("geometry", arrays, valid=np.zeros(1, bool))
        found = self._file(self._fit)
        self._last = found
        told = found.model_dump()
        for name in ("centre", "centre_errors", "distortion_errors", "ellipse_ratio",
                     "ellipse_angle", "patterns"):  # fmt: skip
            arrays[name][0] = told[name]
        arrays["distortion"][0] = self._fit.distortion
        for name in ("ring_radius", "pixel_size", "counts_per_electron"):
            for value, key in ((told[name], name), (told[f"{name}_error"], f"{name}_errors")):
                arrays[key][0] = np.nan if value is None else value
        arrays["mean"][0] = mean
        return daq.Batch("geometry", arrays)

    def _fitted(self, mean: npt.NDArray[np.float64]) -> RingFit | None:
        """Fit the ring, from where it was after the last scan, or from what is seen at first."""
        good, config = self._pattern.good, self._config
        if self._fit is not None and np.isfinite(self._fit.radius):
            centre, radius = self._fit.centre, self._fit.radius
            ellipse = Ellipse.of_distortion(*self._fit.distortion)
        else:
            middle = ((self._shape[0] - 1) / 2, (self._shape[1] - 1) / 2)
            centre = config.centre or start_centre(mean, good, middle, 0.15 * min(self._shape))
            seen = None if config.ring else find_ring(mean, good, centre)
            if config.ring is None and seen is None:
                return None
            radius = seen or math.sqrt(config.ring[0] * config.ring[1])
            ellipse = Ellipse()
        annulus = config.ring or (RING[0] * radius, RING[1] * radius)
        return fit_ring(mean, good, centre, ellipse, annulus)

    def _file(self, fit: RingFit) -> CalibrationFile:
        config, ellipse = self._config, Ellipse.of_distortion(*fit.distortion)
        told: dict[str, Any] = {}
        if np.isfinite(fit.radius):
            told |= {"ring_radius": fit.radius, "ring_radius_error": fit.radius_error}
            if config.ring_q is not None:
                size = config.ring_q / fit.radius
                error = math.hypot(
                    fit.radius_error / fit.radius, config.ring_q_error / config.ring_q
                )
                told |= {"pixel_size": size, "pixel_size_error": size * error}
        counts, error = self._counts_per_electron(fit, ellipse)
        if counts > 0 and np.isfinite(error):
            told |= {"counts_per_electron": counts, "counts_per_electron_error": error}
        if np.isfinite(fit.distortion_errors).all():
            told["distortion_errors"] = fit.distortion_errors
        if np.isfinite(fit.centre_errors).all():
            told["centre_errors"] = fit.centre_errors
        return CalibrationFile(
            frame=self._shape, centre=fit.centre, ellipse_ratio=ellipse.ratio,
            ellipse_angle=ellipse.angle, patterns=self._pattern.count, **told,
        )  # fmt: skip

    def _counts_per_electron(self, fit: RingFit, ellipse: Ellipse) -> tuple[float, float]:
        if not np.isfinite(fit.radius):
            return np.nan, np.nan
        y = np.arange(self._shape[0])[:, None] - fit.centre[0]
        x = np.arange(self._shape[1])[None, :] - fit.centre[1]
        y, x = np.broadcast_arrays(y, x)
        radius = ellipse.radius(y, x)
        # wide, as counting and change of the specimen are told apart by different intensities
        ring = self._pattern.good & (radius > 0.55 * fit.radius) & (radius < 2 * fit.radius)
        return self._counts.fit(ring, fit.centre)


def _output(shape: tuple[int, int], units: str, expect: int | None) -> daq.Stream:
    axes = [{"name": name, "units": "px", "offset": 0, "step": 1} for name in ("y", "x")]
    pair = {"name": "axis", "units": "", "offset": 0, "step": 1}
    pairs = ("centre", "centre_errors", "distortion", "distortion_errors")
    return daq.Stream(
        "geometry",
        {
            "centre": daq.Field("<f8", (2,), "px", "direct beam, y and x"),
            "centre_errors": daq.Field("<f8", (2,), "px", "1 sigma"),
            "distortion": daq.Field("<f8", (2,), "", "ln(ratio) (cos, sin)(2 angle)"),
            "distortion_errors": daq.Field("<f8", (2,), "", "1 sigma"),
            "ellipse_ratio": daq.Field("<f8", (), "", "long axis over short axis"),
            "ellipse_angle": daq.Field("<f8", (), "degrees", "long axis from x towards y"),
            "ring_radius": daq.Field("<f8", (), "px", "radius of the ring"),
            "ring_radius_errors": daq.Field("<f8", (), "px", "1 sigma"),
            "pixel_size": daq.Field("<f8", (), "1/nm", "size of a pixel"),
            "pixel_size_errors": daq.Field("<f8", (), "1/nm", "1 sigma"),
            "counts_per_electron": daq.Field("<f8", (), "counts", "variance over mean"),
            "counts_per_electron_errors": daq.Field("<f8", (), "counts", "1 sigma"),
            "patterns": daq.Field("<i8", (), "", "patterns that entered"),
            "mean": daq.Field("<f4", shape, units, "mean pattern"),
        },
        axes={"mean": axes, **{name: [pair] for name in pairs}},
        attributes={"ring": list(RING)},
        expect=expect,
    )
