"""Virtual detectors: sums over discs and rings, centre of mass, radial profile, running image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.geometry.detector import Detector, detector_for, image_field

OWN_FIELDS = frozenset({"total", "centre_of_mass_y", "centre_of_mass_x", "time", "valid"})


class Virtual(daq.Analysis):
    """What a diffraction pattern looks like to detectors that are drawn, not built.

    Takes one stream with an image field [y, x]. Gives three:

    ``sums``
        One record per pattern: ``total``, one field for each disc and ring, and
        ``centre_of_mass_y`` and ``centre_of_mass_x`` = sum(position * I) / sum(I) in pixels; all
        float64, sums of integers exact. The scan of the input is passed on. NaN for a record
        that was lost, and for the centre of mass of an empty pattern.
    ``image``
        One record every ``image_every`` patterns: ``mean``, float64 [y, x], the mean of all
        patterns so far, and ``count``, how many they are. Bad pixels are NaN.
    ``profile``
        One record every ``image_every`` patterns: ``intensity``, float64 [bin], the mean over
        the good pixels of a ring and over *these* patterns, and ``count``. The
        constant ``radius`` holds the middle of each ring. A ring without a pixel is NaN; pixels
        farther from the centre than half the diagonal of the frame are in no ring.

    The last block may be shorter. Boundaries lie at multiples of ``image_every`` in the index, so
    nothing depends on how records were batched. Patterns with a good pixel that is not finite
    are left out of image and profile. Radii are those of the middles of pixels; a disc holds
    r < radius, a ring inner <= r < outer, so rings that touch share no pixel. Bad pixels (the
    stream's ``mask``) count nowhere; ``dark`` and ``gain`` are applied.
    """

    name = "virtual"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "virtual"`` may say."""

        field: str | None = daq.setting(None, "", "image field; by default the largest")
        discs: dict[str, pydantic.PositiveFloat] = daq.setting(
            {}, "as units", "name = radius, around the centre"
        )
        annuli: dict[str, tuple[pydantic.NonNegativeFloat, pydantic.PositiveFloat]] = daq.setting(
            {}, "as units", "name = [inner radius, outer radius]"
        )
        units: Literal["px", "1/nm"] = daq.setting("px", "", "units of every radius here")
        centre: tuple[float, float] | None = daq.setting(
            None, "px", "[y, x]; by default the stream's attribute centre, its axes, the middle"
        )
        pixel_size: float | None = daq.setting(
            None, "1/nm", 'for units = "1/nm"; by default from the axes of the stream', gt=0
        )
        centre_of_mass_radius: float | None = daq.setting(
            None, "as units", "the centre of mass counts r < this; by default the whole frame", gt=0
        )
        profile_bins: int | None = daq.setting(
            None,
            "",
            "rings out to half the diagonal of a frame; by default one per pixel",
            ge=1,
            le=65536,
        )
        image_every: int = daq.setting(
            256, "", "patterns per record of image and profile", ge=1, le=65536
        )

        @pydantic.model_validator(mode="after")
        def _sensible(self) -> Virtual.Config:
            for name, (inner, outer) in self.annuli.items():
                if inner >= outer:
                    raise ValueError(f"annuli.{name}: the inner radius must be the smaller one")
            if both := sorted(set(self.discs) & set(self.annuli)):
                raise ValueError(f"{both[0]!r} is a disc and an annulus; give them different names")
            if taken := sorted(OWN_FIELDS & (set(self.discs) | set(self.annuli))):
                raise ValueError(f"no disc or annulus may be called {taken[0]!r}")
            return self

        @property
        def rings(self) -> dict[str, tuple[float, float]]:
            """Inner and outer radius of every disc and annulus, by name."""
            return {**{name: (0.0, radius) for name, radius in self.discs.items()}, **self.annuli}

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the image field and the geometry; ValueError where they do not fit."""
        if len(streams) != 1:
            raise ValueError(f"virtual takes one input, not {len(streams)}")
        (self._stream,) = streams.values()
        self._field = image_field(self._stream, config.field)
        field = self._stream.fields[self._field]
        if field.numpy_dtype.kind not in "uibf":
            raise ValueError(f"{self._stream.name}: {self._field} is {field.dtype}, not real")
        if max(field.shape) > 65536:
            raise ValueError(f"{self._stream.name}: frames over 65536 pixels wide or high")
        self._good, self._corrected = self._corrections()
        self._dtype = np.dtype(np.float32) if self._corrected else field.numpy_dtype
        self._every = config.image_every
        self._set_geometry(config)
        # bins depend on the frame alone, so that the centre may move while it runs
        reach = math.hypot(*field.shape) / 2
        self._bins = config.profile_bins or math.ceil(reach)
        self._width = reach / self._bins if config.profile_bins else 1.0
        self._set_bins()

        from daq_stem.virtual.reduction import image_dtype, reduce_frames

        self._reduce = reduce_frames
        self._block = np.zeros(field.shape, image_dtype(self._dtype))
        self._sum = np.zeros(
            field.shape, np.int64 if self._block.dtype.kind in "ui" else np.float64
        )
        self._block_count = self._total_count = self._seen = 0
        self._block_time = daq.NO_TIME
        # compiles, or loads what was compiled, before the first pattern is there
        reduce_frames(np.zeros((1, *field.shape), self._dtype), np.ones(1, bool),
                      self._regions, self._block.copy())  # fmt: skip
        return self._outputs(config, field)

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Reduce the patterns; give their sums, and image and profile where a block ends."""
        start = 0
        while start < len(batch):
            assert batch.first is not None
            left = self._every - (batch.first + start) % self._every
            part = batch.slice(start, min(start + left, len(batch)))
            yield self._sums(part)
            start += len(part)
            if len(part) == left:
                yield from self._end_of_block()

    def close(self) -> Iterable[daq.Batch]:
        """Give image and profile of the last, shorter block."""
        if self._seen:
            yield from self._end_of_block()

    def reconfigure(self, config: Any) -> None:
        """Move the centre or change radii, from the next pattern on.

        The rest fixes what the streams look like and cannot change: names, ``field``, ``units``,
        ``pixel_size``, ``image_every``, ``profile_bins``. The profile of a block is taken with the geometry at
        the end of the block.
        """
        old = self._config
        for key in ("field", "units", "pixel_size", "image_every", "profile_bins"):
            if getattr(config, key) != getattr(old, key):
                raise ValueError(f"virtual: {key} cannot change while it runs; start it anew")
        if list(config.rings) != list(old.rings):
            raise ValueError("virtual: names of discs and annuli cannot change while it runs")
        self._set_geometry(config)
        self._set_bins()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 60 bytes per pixel of a pattern (images and geometry), and 8 corrected patterns."""
        (stream,) = streams.values()
        height, width = stream.fields[image_field(stream, config.field)].shape
        return height * width * (60 + 8 * 9)

    def _corrections(self) -> tuple[npt.NDArray[np.bool_], bool]:
        """Good pixels [y, x], and whether pixels must be corrected before they are summed."""
        shape = self._stream.fields[self._field].shape
        corrections = daq.corrections_for(self._stream)
        if corrections is None or corrections.field != self._field:
            return np.ones(shape, bool), False
        changing = {"dark", "gain", "descan", "interpolate"}
        return ~corrections.bad, bool(changing & set(self._stream.constants))

    def _set_geometry(self, config: Any) -> None:
        from daq_stem.virtual.reduction import regions

        detector = detector_for(
            self._stream, self._field, config.centre, config.pixel_size, config.units
        )
        weighed = detector.within(0.0, config.centre_of_mass_radius or np.inf)
        rings = {name: detector.within(*ring) for name, ring in config.rings.items()}
        for name, mask in [*rings.items(), ("the centre of mass", weighed)]:
            if not (mask & self._good).any():
                raise ValueError(f"{name}: its region holds no good pixel; {_geometry(detector)}")
        self._regions = regions(self._good, weighed, list(rings.values()))
        self._config, self._detector = config, detector

    def _set_bins(self) -> None:
        number = (self._detector.radius() / self._width).astype(np.int64)
        number[~self._good | (number >= self._bins)] = self._bins
        self._bin = number.reshape(-1)
        self._bin_pixels = np.bincount(self._bin, minlength=self._bins + 1)[: self._bins]

    def _outputs(self, config: Any, field: daq.Field) -> list[daq.Stream]:
        detector, stream = self._detector, self._stream
        sums = {"total": daq.Field("<f8", (), field.units, "sum of the pattern")}
        # radii are not in the names: they may change while it runs, and are in the configuration
        for name in config.rings:
            kind = "disc" if name in config.discs else "annulus"
            sums[name] = daq.Field("<f8", (), field.units, f"{name.replace('_', ' ')} ({kind})")
        for axis in ("y", "x"):
            sums[f"centre_of_mass_{axis}"] = daq.Field("<f8", (), "px", f"centre of mass, {axis}")
        count = daq.Field("<i8", (), "", "patterns in the mean")
        expect = None if stream.expect is None else -(-stream.expect // self._every)
        radii = (np.arange(self._bins) + 0.5) * self._width * detector.pixel_size
        frame_axes = stream.axes.get(self._field) or [
            {"name": name, "units": "px", "offset": 0, "step": 1} for name in ("y", "x")
        ]
        # axes whose coordinates are a constant of the input would point to nothing here
        constants = {
            axis["values"]: stream.constants[axis["values"]]
            for axis in frame_axes
            if axis.get("values") in stream.constants
        }
        return [
            daq.Stream("sums", sums, scan=stream.scan, expect=stream.expect),
            daq.Stream(
                "image",
                {
                    "mean": daq.Field("<f8", field.shape, field.units, "mean pattern"),
                    "count": count,
                },
                axes={"mean": list(frame_axes)},
                expect=expect,
                constants=constants,
            ),
            daq.Stream(
                "profile",
                {
                    "intensity": daq.Field("<f8", (self._bins,), field.units, "radial mean"),
                    "count": count,
                },
                axes={
                    "intensity": [{"name": "radius", "units": detector.units, "values": "radius"}]
                },
                expect=expect,
                constants={"radius": radii},
            ),
        ]

    def _sums(self, batch: daq.Batch) -> daq.Batch:
        """Reduce records of one block; return their record of ``sums``."""
        parts = [self._reduce(*pair, self._regions, self._block) for pair in self._frames(batch)]
        sums = np.concatenate([part[0] for part in parts]).astype(np.float64)
        centre = np.concatenate([part[1] for part in parts])
        used = np.concatenate([part[2] for part in parts])
        sums[~batch.valid] = np.nan
        centre[~batch.valid] = np.nan
        self._seen += len(batch)
        self._block_count += int(used.sum())
        if used.any():
            self._block_time = int(batch.time[np.flatnonzero(used)[-1]])
        arrays: dict[str, npt.NDArray[Any]] = {
            "time": batch.time.copy(),
            "total": sums[:, self._regions.good],
        }
        for column, name in enumerate(self._config.rings, start=1):
            arrays[name] = sums[:, column]
        arrays["centre_of_mass_y"], arrays["centre_of_mass_x"] = centre.T
        return daq.Batch("sums", arrays, valid=batch.valid.copy())

    def _frames(self, batch: daq.Batch) -> Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]]:
        """Patterns and which of them are valid; corrected a few at a time, where they must be."""
        if not self._corrected:
            yield batch.raw[self._field], batch.valid
            return
        for start in range(0, len(batch), 8):
            few = batch.slice(start, min(start + 8, len(batch)))
            yield few[self._field], few.valid

    def _end_of_block(self) -> Iterable[daq.Batch]:
        """Give the records of the block that ends here, and begin the next."""
        self._sum += self._block
        self._total_count += self._block_count
        time = np.array([self._block_time], np.int64)
        with np.errstate(invalid="ignore"):
            mean = self._sum / np.float64(self._total_count)
            radial = np.bincount(
                self._bin, weights=self._block.reshape(-1), minlength=self._bins + 1
            )[: self._bins] / (self._bin_pixels * np.float64(self._block_count))
        mean[~self._good] = np.nan
        yield daq.Batch(
            "image", {"time": time, "mean": mean[None], "count": np.array([self._total_count])}
        )
        yield daq.Batch(
            "profile",
            {"time": time, "intensity": radial[None], "count": np.array([self._block_count])},
        )
        self._block[...] = 0
        self._block_count = self._seen = 0
        self._block_time = daq.NO_TIME


def _geometry(detector: Detector) -> str:
    height, width = detector.shape
    y, x = detector.centre
    scale = "" if detector.units == "px" else f", {detector.pixel_size:g} {detector.units} a pixel"
    return f"the frame is {height} x {width} pixels, the centre [{y:g}, {x:g}]{scale}"
