"""Azimuthal averages of diffraction patterns, and how they change with the azimuth, scan by scan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

import daq
from daq_stem.geometry.azimuthal_sectors import SECTORS
from daq_stem.geometry.detector import image_field
from daq_stem.geometry.region_sums import RegionSums, sectors_for
from daq_stem.scans import Scans


class Azimuthal(daq.Analysis):
    """I(Q) = mean over the azimuth, and its part with l = 2, of each scan.

    I(Q, phi) = I_0(Q) + c_2(Q) cos 2 phi + s_2(Q) sin 2 phi is fitted to the good pixels of each
    ring, in `SECTORS` sectors, each with the one opposite; so what has one maximum around the ring
    (a centre slightly off) hardly looks like I_2. phi goes from +x towards +y (down). Centre, ellipse and pixel size are those of the file ``calibration``, if
    given. Q is 1/d. A ring with less than half of its sectors is NaN.

    Errors follow from the scatter of the sectors about the fit (9 degrees of freedom) and from how
    much speckle neighbouring sectors share, which is measured. Rings next to each other share
    speckles: so do their errors.

    Takes a camera. Gives one record per scan, of the patterns of that scan (``total = "scan"``) or of
    all up to it ("series"):

    ``profile``
        ``intensity``, ``cos2``, ``sin2`` and ``intensity_errors``, ``cos2_errors``, ``sin2_errors``,
        float64 [q], counts in a pixel; ``sectors``, float64 [sector, q], the means; ``patterns``.
        Constants ``q`` 1/nm, the mean over the pixels of a ring; ``pixels`` int64 [sector, q];
        ``basis`` float64 [sector, q, 2], the means of cos 2 phi and sin 2 phi.
    ``regions``
        Where ``regions`` = [rows, columns] is given: the same for parts of the scan, as many along
        y and x ([60, 120] for each position of such a scan): fields [row, column, q],
        ``patterns`` int64 [row, column], constant ``q``. NaN without patterns. With
        ``region_sectors`` also ``sectors`` [row, column, sector, q] and the constants of ``profile``,
        of which `structure_factor` makes S(Q) of each part.

    Lost or repeated records, and patterns with a good pixel that is not finite, are left out.
    """

    name = "azimuthal"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "azimuthal"`` may say."""

        field: str | None = daq.setting(None, "", "image field; by default the largest")
        q_range: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] | None = daq.setting(
            None, "1/nm", "from where to where; by default from 2 to the border of the frame"
        )
        q_step: float | None = daq.setting(
            None, "1/nm", "width of a ring; by default one pixel", gt=0
        )
        total: str = daq.setting("scan", "", '"scan" or "series"', pattern="^(scan|series)$")
        regions: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "[rows, columns] of parts of the scan, each with averages of its own"
        )
        region_sectors: bool = daq.setting(
            False, "", "give the means of sectors for each part too, as structure_factor needs them"
        )
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
        def _in_order(self) -> Azimuthal.Config:
            if self.q_range is not None and self.q_range[0] >= self.q_range[1]:
                raise ValueError("q_range: the smaller radius comes first")
            if self.region_sectors and self.regions is None:
                raise ValueError("region_sectors needs regions")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find frames, geometry, rings and scan; ValueError where they do not fit."""
        if len(streams) != 1:
            raise ValueError(f"azimuthal takes one input, the camera, not {len(streams)}")
        (camera,) = streams.values()
        self._series = config.total == "series"
        field = image_field(camera, config.field)
        self._scans = Scans(camera, config.scan)
        self._sectors = sectors_for(camera, field, config)
        self._bins = daq.PixelBins(camera, field, self._sectors.labels, self._sectors.bins)
        self._parts, self._has_regions = config.regions or (1, 1), config.regions is not None
        self._region_sectors = config.region_sectors
        self._sums = RegionSums(self._scans.shape, self._parts, self._bins)
        return self._outputs(camera, camera.fields[field].units)

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Sum the rings; give averages where a scan ends."""
        for piece in self._scans.pieces(batch):
            self._sums.add(piece)
            if piece.ends:
                yield from self._results()

    def close(self) -> Iterable[daq.Batch]:
        """Give the averages of an unfinished scan."""
        if self._sums.open_scan:
            yield from self._results()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 8 bytes x (regions + 256 records) x sectors x rings x 3, and 80 a pixel of a pattern."""
        (camera,) = streams.values()
        shape = camera.fields[image_field(camera, config.field)].shape
        rings = max(shape) if config.q_step is None else 4 * max(shape)
        parts = math.prod(config.regions or (1, 1))
        return 24 * (parts + 256) * SECTORS * rings + 80 * math.prod(shape)

    def _results(self) -> Iterable[daq.Batch]:
        sums, count = self._sums.sums, self._sums.count
        patterns = int(count.sum())
        time, valid = np.array([self._sums.time], np.int64), np.array([patterns > 0])
        whole = self._sectors.means(sums.sum(axis=0)[None], np.array([patterns]))
        found = self._sectors.harmonics(whole)
        yield daq.Batch(
            "profile",
            {"time": time, "sectors": whole, "patterns": np.array([patterns]), **found},
            valid=valid,
        )
        if self._has_regions:
            means = self._sectors.means(sums, count)
            shape = (1, *self._parts, -1)
            maps = {
                name: values.reshape(shape)
                for name, values in self._sectors.harmonics(means).items()
            }
            if self._region_sectors:
                maps["sectors"] = means.reshape(1, *self._parts, SECTORS, -1)
            seen = count.reshape(1, *self._parts).copy()
            yield daq.Batch("regions", {"time": time, "patterns": seen, **maps}, valid=valid)
        self._sums.end_scan(keep=self._series)

    def _outputs(self, camera: daq.Stream, units: str) -> list[daq.Stream]:
        rings = self._sectors.rings
        names = {
            "intensity": "azimuthal mean", "cos2": "part with cos 2 phi",
            "sin2": "part with sin 2 phi", "intensity_errors": "1 sigma",
            "cos2_errors": "1 sigma", "sin2_errors": "1 sigma",
        }  # fmt: skip
        q = {"name": "q", "units": "1/nm", "values": "q"}
        sector = {
            "name": "azimuth", "units": "degrees", "offset": 90 / SECTORS, "step": 180 / SECTORS
        }  # fmt: skip
        expect = None if camera.expect is None else -(-camera.expect // self._scans.positions)
        constants = {
            "q": self._sectors.q,
            "pixels": self._sectors.pixels,
            "basis": self._sectors.basis,
        }
        attributes = {"q_convention": "1/d", "total": "series" if self._series else "scan"}
        outputs = [
            daq.Stream(
                "profile",
                {
                    **{name: daq.Field("<f8", (rings,), units, said) for name, said in names.items()},
                    "sectors": daq.Field("<f8", (SECTORS, rings), units, "means of sectors"),
                    "patterns": daq.Field("<i8", (), "", "patterns that entered"),
                },
                axes={**{name: [q] for name in names}, "sectors": [sector, q]},
                attributes=attributes, expect=expect, constants=constants,
            )
        ]  # fmt: skip
        if self._has_regions:
            step = (camera.scan or {}).get("step")
            size = [
                float(step) * n / k if isinstance(step, int | float) else n / k
                for n, k in zip(self._scans.shape, self._parts, strict=True)
            ]
            places = [
                {"name": name, "units": "nm" if isinstance(step, int | float) else "",
                 "offset": 0, "step": width}
                for name, width in zip("yx", size, strict=True)
            ]  # fmt: skip
            shape = (*self._parts, SECTORS, rings)
            sectors = (
                {"sectors": daq.Field("<f8", shape, units, "means of sectors")}
                if self._region_sectors
                else {}
            )
            outputs.append(
                daq.Stream(
                    "regions",
                    {
                        **{
                            name: daq.Field("<f8", (*self._parts, rings), units, said)
                            for name, said in names.items()
                        },
                        **sectors,
                        "patterns": daq.Field("<i8", self._parts, "", "patterns that entered"),
                    },
                    axes={
                        **{name: [*places, q] for name in names}, "patterns": places,
                        **{name: [*places, sector, q] for name in sectors},
                    },
                    attributes=attributes, expect=expect,
                    constants=constants if sectors else {"q": self._sectors.q},
                )
            )  # fmt: skip
        return outputs
