"""Strain from the first ring: how far it has moved, and by how much it is an ellipse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.geometry.azimuthal_sectors import SECTORS, fit_harmonics
from daq_stem.geometry.detector import image_field
from daq_stem.geometry.region_sums import RegionSums, sectors_for
from daq_stem.scans import Scans
from daq_stem.scattering.ring_peak import peak_positions

Floats = npt.NDArray[np.float64]

NAMES = ("strain", "strain_cos2", "strain_sin2")


class RingStrain(daq.Analysis):
    """Strain at atomic scale from the first sharp ring, per part of the scan.

    In each of `SECTORS` azimuthal sectors (with the one opposite) the middle of the ring is fitted
    (`peak_positions`); Q_1(phi) = Q_1 (1 - e_c cos 2 phi - e_s sin 2 phi) to those. Distances
    grow as Q shrinks:

        strain = (Q_ref - Q_1) / Q_1          mean over directions in the plane
        strain_cos2 = e_c, strain_sin2 = e_s  half the difference of the strains along x and y, and
                                              along both diagonals; phi from +x towards +y (down)

    Q_ref is ``reference_q``, or the same part in the first record in which it has a ring
    (then its strain there is 0, and its error is in those of the others). With ``reference_q`` the l = 2 part is that of
    the camera too: take out its ellipse with ``calibration``, measured on a sample without strain.
    Against a first record the camera drops out. Errors follow from the scatter of the
    sectors (9 degrees of freedom) and what neighbours share.

    Of the strain of metallic glasses about 76 % is elastic (Qiao2019, eqs. 3-2 to 3-4, from the pair distribution; see
    `structure_factor`, ``split``); the ring knows only the whole.

    Takes a camera. Gives one stream ``strain``, one record per scan, of that scan or of all so
    far (``total``): ``strain``, ``strain_cos2``, ``strain_sin2`` with ``..._errors`` float64 [row, column] of the parts,
    ``q_peak`` and ``q_peak_errors`` 1/nm (1/d), ``patterns`` int64. NaN where fewer than 9 sectors have a ring.
    """

    name = "ring_strain"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "ring_strain"`` may say."""

        field: str | None = daq.setting(None, "", "image field; by default the largest")
        q_range: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = daq.setting(
            (3.4, 5.4), "1/nm", "where the ring is fitted; Q is 1/d"
        )
        q_step: float | None = daq.setting(
            None, "1/nm", "width of a ring of pixels; by default one pixel", gt=0
        )
        reference_q: float | None = daq.setting(
            None, "1/nm", "of the ring without strain; by default the first record", gt=0
        )
        regions: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = daq.setting(
            (1, 1), "", "[rows, columns] of parts of the scan"
        )
        total: str = daq.setting("scan", "", '"scan" or "series"', pattern="^(scan|series)$")
        calibration: Path | None = daq.setting(None, "", "file that `calibration` has written")
        centre: tuple[float, float] | None = daq.setting(
            None, "px", "[y, x]; by default as calibration or stream say"
        )
        pixel_size: float | None = daq.setting(
            None, "1/nm", "by default as calibration or stream say", gt=0
        )
        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "[rows, columns]; by default as the stream says"
        )

        @pydantic.model_validator(mode="after")
        def _in_order(self) -> RingStrain.Config:
            if self.q_range[0] >= self.q_range[1]:
                raise ValueError("q_range: the smaller radius comes first")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find frames, geometry and scan; ValueError where they do not fit."""
        if len(streams) != 1:
            raise ValueError(f"ring_strain takes one input, the camera, not {len(streams)}")
        (camera,) = streams.values()
        field = image_field(camera, config.field)
        self._config = config
        self._scans = Scans(camera, config.scan)
        self._sectors = sectors_for(camera, field, config)
        if self._sectors.rings < 8:
            raise ValueError(
                f"q_range: holds {self._sectors.rings} rings of pixels, 8 are needed: choose a "
                "wider one"
            )
        bins = daq.PixelBins(camera, field, self._sectors.labels, self._sectors.bins)
        self._sums = RegionSums(self._scans.shape, config.regions, bins)
        parts = math.prod(config.regions)
        self._reference = np.full((parts, 3), np.nan)
        self._reference_errors = np.zeros((parts, 3))
        if config.reference_q is not None:
            self._reference[:] = (config.reference_q, 0.0, 0.0)
        expect = None if camera.expect is None else -(-camera.expect // self._scans.positions)
        return [self._output(camera, expect)]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Sum the sectors; fit where a scan ends."""
        for piece in self._scans.pieces(batch):
            self._sums.add(piece)
            if piece.ends:
                yield self._result()

    def close(self) -> Iterable[daq.Batch]:
        """Fit what there is of an unfinished scan."""
        if self._sums.open_scan:
            yield self._result()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 8 bytes x (parts x 10 + 256 records) x sectors x rings, and 80 a pixel of a pattern."""
        (camera,) = streams.values()
        shape = camera.fields[image_field(camera, config.field)].shape
        rings = max(shape) if config.q_step is None else 4 * max(shape)
        parts = math.prod(config.regions)
        return int(8 * (10 * parts + 256) * SECTORS * rings + 80 * math.prod(shape))

    def _result(self) -> daq.Batch:
        sums = self._sums
        means = self._sectors.means(sums.sums, sums.count)
        found, errors = self._rings(means)
        first = np.isnan(self._reference[:, 0]) & np.isfinite(found[:, 0])
        if self._config.reference_q is None:
            self._reference[first], self._reference_errors[first] = found[first], errors[first]
        arrays: dict[str, npt.NDArray[Any]] = {"time": np.array([sums.time], np.int64)}
        shape = (1, *self._config.regions)
        relative, known = _relative(found, errors)
        base, base_errors = _relative(self._reference, self._reference_errors)
        strain = (self._reference[:, 0] - found[:, 0]) / found[:, 0]
        values = np.stack(
            [strain, relative[:, 1] - base[:, 1], relative[:, 2] - base[:, 2]], axis=1
        )
        spread = np.sqrt(known**2 + base_errors**2)
        spread[:, 0] = np.hypot(errors[:, 0], self._reference_errors[:, 0]) / found[:, 0]
        if self._config.reference_q is None:
            spread[first] = 0.0
        for k, name in enumerate(NAMES):
            arrays[name] = values[:, k].reshape(shape)
            arrays[f"{name}_errors"] = spread[:, k].reshape(shape)
        arrays["q_peak"] = found[:, 0].reshape(shape)
        arrays["q_peak_errors"] = errors[:, 0].reshape(shape)
        arrays["patterns"] = sums.count.reshape(shape).copy()
        valid = np.array([bool(sums.count.any())])
        sums.end_scan(keep=self._config.total == "series")
        return daq.Batch("strain", arrays, valid=valid)

    def _rings(self, means: Floats) -> tuple[Floats, Floats]:
        """Return (Q_1, its cos and sin parts) and errors [part, 3], 1/nm; NaN where unknown."""
        q, pixels = self._sectors.q, self._sectors.pixels
        seen = np.where(pixels > 0, means, np.nan)
        rows = seen.reshape(-1, len(q))
        window = (float(q[0]), float(q[-1]))
        peaks = peak_positions(q, rows, window).reshape(len(means), SECTORS)
        middle = int(np.argmin(np.abs(q - np.mean(window))))
        basis = self._sectors.basis[:, middle]
        found, errors = np.full((len(means), 3), np.nan), np.full((len(means), 3), np.nan)
        # one part after the other: which sectors have a ring is a matter of the part
        for part in np.flatnonzero(np.isfinite(peaks).sum(axis=1) >= 9):
            weight = np.isfinite(peaks[part]).astype(np.int64)[:, None]
            one = peaks[part][None, :, None]
            solved, spread = fit_harmonics(one, weight, basis[:, None, :], np.ones(1), False)
            found[part], errors[part] = solved[0, 0], spread[0, 0]
        return found, errors * self._shared(means)

    def _shared(self, means: Floats) -> float:
        """Return by how much errors grow since neighbouring sectors share speckles: of all rings."""
        some = means[np.isfinite(means).any(axis=(1, 2))]
        if not len(some):
            return 1.0
        plain, more = (
            fit_harmonics(some, self._sectors.pixels, self._sectors.basis, self._sectors.q, share)[
                1
            ]
            for share in (False, True)
        )
        size = float(np.nansum(plain**2))
        return math.sqrt(float(np.nansum(more**2)) / size) if size > 0 else 1.0

    def _output(self, camera: daq.Stream, expect: int | None) -> daq.Stream:
        shape = self._config.regions
        said = ("mean strain in the plane", "strain, part with cos 2 phi", "strain, sin 2 phi")
        fields = {}
        for name, text in zip(NAMES, said, strict=True):
            fields[name] = daq.Field("<f8", shape, "", text)
            fields[f"{name}_errors"] = daq.Field("<f8", shape, "", "1 sigma")
        fields["q_peak"] = daq.Field("<f8", shape, "1/nm", "middle of the ring (1/d)")
        fields["q_peak_errors"] = daq.Field("<f8", shape, "1/nm", "1 sigma")
        fields["patterns"] = daq.Field("<i8", shape, "", "patterns that entered")
        step = (camera.scan or {}).get("step")
        width = [
            (float(step) if isinstance(step, int | float) else 1.0) * n / k
            for n, k in zip(self._scans.shape, shape, strict=True)
        ]
        units = "nm" if isinstance(step, int | float) else ""
        places = [
            {"name": name, "units": units, "offset": 0, "step": w}
            for name, w in zip("yx", width, strict=True)
        ]
        return daq.Stream(
            "strain", fields, {name: places for name in fields}, None,
            {"q_range": list(self._config.q_range)}, expect,
        )  # fmt: skip


def _relative(found: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Return the parts with l = 2 as strains, and their errors: [part, 3], the first one 0."""
    middle = found[:, :1]
    relative = np.concatenate([0 * middle, -found[:, 1:] / middle], axis=1)
    return relative, np.concatenate([0 * middle, errors[:, 1:] / middle], axis=1)
