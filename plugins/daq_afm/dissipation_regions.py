"""Loose-packed (or dense) regions: the pixels of the highest values, and their clusters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

import daq
from daq_afm.box_counting import box_dimension, box_sizes
from daq_afm.cluster_sizes import counts_above, fit_sizes
from daq_afm.clusters import Clusters, find_clusters, top_fraction
from daq_afm.image_lines import Floats, Image, ImageLines, Line, image_axes, only_stream, record

RADII: Final = 48
"""Radii at which the number of clusters is given."""

CLUSTER_FIELDS: Final = {
    "area": ("nm^2", "area"), "radius": ("nm", "radius of the disc of the same area"),
    "y": ("nm", "centre"), "x": ("nm", "centre"),
    "aspect_ratio": ("", "of the ellipse of the same moments"),
    "bounding_aspect_ratio": ("", "bounding length by width"),
    "orientation": ("deg", "long axis, from x towards y"),
    "length": ("nm", "bounding, along the long axis"), "width": ("nm", "bounding, across it"),
}  # fmt: skip


class DissipationRegions(daq.Analysis):
    """The regions that hold the top P_c of the pixels of a channel (Qiao2019, 3.3.3 and 3.3.4).

    Takes a stream of scan lines, by default those of `dissipation`. The threshold is a quantile of the
    image so far. Gives:

    ``clusters``
        Each connected region of an image that has ended, one record each, in the order of their
        first pixels: ``area`` nm^2, ``radius`` (equivalent), ``y``, ``x``, ``length``, ``width`` nm,
        ``aspect_ratio`` (moments), ``bounding_aspect_ratio`` (bounding lengths along the axes of the
        moments), ``orientation`` deg in (-90, 90], ``pixels``, ``at_edge``, ``weight`` (how many
        of its size it stands for, see `daq_afm.clusters`).
    ``summary``
        Every ``every`` lines of an image and when it has ended (``ended``): ``lines`` so far,
        ``threshold``, ``fraction``, ``clusters`` (those of at least ``least_pixels``), ``at_edge`` of
        them; weighted over the whole ones ``mean_radius``, ``mean_aspect_ratio``,
        ``mean_bounding_aspect_ratio`` with ``_errors``; ``alignment`` = |<exp(2 i orientation)>|, its
        ``alignment_axis`` deg and ``alignment_p``, the chance of at least as much among random
        orientations; ``count_above`` [radius], N(>= R), weighted; ``size_law`` (0 undecided, 1
        Gaussian, 2 power law, 3 too few), ``power_weight``, ``size_exponent`` a of
        N ~ R^-(a - 1), ``gaussian_radius`` and ``gaussian_radius_sd`` nm; ``dimension`` by box counting, with
        ``box_count`` [box]. Errors of one image: what another image of the same kind would differ by.
    ``regions``
        Each image that has ended: ``cluster`` [row, column], the number of the cluster from 1, 0 elsewhere.
    """

    name = "dissipation_regions"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "dissipation_regions"`` may say."""

        channel: str = daq.setting("dissipated_energy", "", "channel that is cut, any units")
        fraction: float = daq.setting(0.05, "", "P_c, part of the pixels", gt=0, lt=1)
        tail: Literal["high", "low"] = daq.setting(
            "high", "", "high: the largest values; low: the smallest, dense-packed regions"
        )
        diagonal: bool = daq.setting(
            False, "", "pixels that share a corner only belong together (8 neighbours)"
        )
        least_pixels: int = daq.setting(
            4, "", "clusters of fewer are in no mean and no fit: noise makes them", ge=1
        )
        every: int = daq.setting(32, "", "lines from one summary to the next", ge=1)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the channel; ValueError without it."""
        stream = only_stream(streams, self.name)
        if config.channel not in stream.fields or not stream.fields[config.channel].shape:
            arrays = [n for n, f in stream.fields.items() if f.shape]
            raise ValueError(
                f"{stream.name} has no channel {config.channel!r}; it has {', '.join(arrays)}"
            )
        self._config = config
        self._lines = lines = ImageLines(stream, {config.channel: 1.0})
        self._shape, self._step = (lines.rows, lines.columns), lines.step
        dy, dx = lines.step
        pixel = math.sqrt(dy * dx / math.pi)
        self._radii = pixel * np.geomspace(1, math.sqrt(lines.rows * lines.columns), RADII)
        boxes = box_sizes(self._shape, lines.step)
        common = lines.condition_fields()
        units = stream.fields[config.channel].units
        self._cluster_fields = {
            **{n: daq.Field("<f8", (), unit, text) for n, (unit, text) in CLUSTER_FIELDS.items()},
            "pixels": daq.Field("<i4"),
            "at_edge": daq.Field("|u1"),
            "weight": daq.Field("<f8", (), "", "clusters of its size that it stands for"),
            "number": daq.Field("<i4", (), "", "in the map of regions"),
            **common,
        }
        nm, plain, whole = daq.Field("<f8", (), "nm"), daq.Field("<f8"), daq.Field("<i4")
        self._summary_fields = {
            "lines": whole, "ended": daq.Field("|u1"),
            "threshold": daq.Field("<f8", (), units), "fraction": plain,
            "clusters": whole, "at_edge": whole,
            "mean_radius": nm, "mean_radius_errors": nm,
            "mean_aspect_ratio": plain, "mean_aspect_ratio_errors": plain,
            "mean_bounding_aspect_ratio": plain, "mean_bounding_aspect_ratio_errors": plain,
            "alignment": plain, "alignment_axis": daq.Field("<f8", (), "deg"), "alignment_p": plain,
            "count_above": daq.Field("<f8", (RADII,), "", "clusters of at least this radius"),
            "size_law": daq.Field("|u1"), "power_weight": plain,
            "size_exponent": plain, "size_exponent_errors": plain,
            "gaussian_radius": nm, "gaussian_radius_sd": nm,
            "dimension": plain, "dimension_errors": plain,
            **({"box_count": daq.Field("<f8", (len(boxes),), "", "boxes that are hit")}
               if len(boxes) else {}),
            **common,
        }  # fmt: skip
        self._map_fields = {"cluster": daq.Field("<i4", self._shape, "", "cluster"), **common}
        attributes = {
            "channel": config.channel, "wanted_fraction": config.fraction, "tail": config.tail,
            "neighbours": 8 if config.diagonal else 4, "least_pixels": config.least_pixels,
        }  # fmt: skip
        attributes |= {k: stream.attributes[k] for k in ("levelling",) if k in stream.attributes}
        axes = {"count_above": [{"name": "radius", "units": "nm", "values": "radius"}]}
        constants = {"radius": self._radii}
        if len(boxes):
            axes["box_count"] = [{"name": "box", "units": "nm", "values": "box"}]
            constants["box"] = boxes
        return [
            daq.Stream("clusters", self._cluster_fields, attributes=attributes),
            daq.Stream(
                "summary", self._summary_fields, axes, attributes=attributes, constants=constants
            ),
            daq.Stream(
                "regions", self._map_fields, {"cluster": image_axes(lines.step)},
                attributes=attributes,
            ),
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Give a summary now and then, and everything where an image ends."""
        for item in self._lines.take(batch):
            if isinstance(item, Image):
                yield from self._ended(item)
            else:
                yield from self._line(item)

    def close(self) -> Iterable[daq.Batch]:
        """Give what an image shows that was left half done."""
        for image in self._lines.rest():
            yield from self._ended(image)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return twenty numbers a pixel of one image."""
        (stream,) = streams.values()
        return 160 * math.prod(stream.scan_shape or (0,))

    def _line(self, line: Line) -> Iterable[daq.Batch]:
        if (image := self._lines.due(line, self._config.every)) is not None:
            mask, clusters, threshold = self._found(image)
            yield self._summary(image, mask, clusters, threshold, False)

    def _ended(self, image: Image) -> Iterable[daq.Batch]:
        mask, clusters, threshold = self._found(image)
        common = self._lines.condition_values(image)
        n = len(clusters)
        if n:
            arrays: dict[str, npt.NDArray[Any]] = {
                name: getattr(clusters, name) for name in CLUSTER_FIELDS
            }
            arrays |= {
                "pixels": clusters.pixels.astype(np.int32),
                "at_edge": clusters.at_edge.astype(np.uint8),
                "weight": clusters.weights(self._shape),
                "number": np.arange(1, n + 1, dtype=np.int32),
                "time": np.full(n, image.time, np.int64),
            }
            for name, value in common.items():
                arrays[name] = np.full(n, value, self._cluster_fields[name].numpy_dtype)
            yield daq.Batch("clusters", arrays)
        yield self._summary(image, mask, clusters, threshold, True)
        yield record("regions", image.time, self._map_fields, cluster=clusters.labels, **common)

    def _found(self, image: Image) -> tuple[npt.NDArray[np.bool_], Clusters, float]:
        values = image.values[self._config.channel]
        mask, threshold = top_fraction(values, self._config.fraction, self._config.tail == "high")
        clusters = find_clusters(mask, self._step, np.isfinite(values), self._config.diagonal)
        return mask, clusters, threshold

    def _summary(
        self, image: Image, mask: npt.NDArray[np.bool_], clusters: Clusters, threshold: float,
        ended: bool,
    ) -> daq.Batch:  # fmt: skip
        least = self._config.least_pixels
        measured = int(np.count_nonzero(np.isfinite(image.values[self._config.channel])))
        rows = np.flatnonzero(image.present)
        seen = (int(rows[-1] - rows[0]) + 1 if len(rows) else 0, self._shape[1])
        counted = clusters.pixels >= least
        weights = np.where(counted, clusters.weights(seen), 0.0)
        means: dict[str, float] = {}
        for name, values in (
            ("radius", clusters.radius), ("aspect_ratio", clusters.aspect_ratio),
            ("bounding_aspect_ratio", clusters.bounding_aspect_ratio),
        ):  # fmt: skip
            means[f"mean_{name}"], means[f"mean_{name}_errors"] = _weighted_mean(values, weights)
        angles = clusters.orientation[weights > 0]
        turned = complex(np.mean(np.exp(2j * np.radians(angles)))) if len(angles) else math.nan
        fit = fit_sizes(clusters.pixels, weights, self._step[0] * self._step[1], least)
        boxes = box_dimension(mask[rows[0] : rows[-1] + 1], self._step) if len(rows) else None
        given: dict[str, Any] = {}
        if "box_count" in self._summary_fields:
            counts = np.full(self._summary_fields["box_count"].shape, np.nan)
            if boxes is not None:
                counts[: len(boxes.count)] = boxes.count
            given["box_count"] = counts
        return record(
            "summary", image.time, self._summary_fields,
            lines=len(rows), ended=ended, threshold=threshold,
            fraction=np.count_nonzero(mask) / measured if measured else math.nan,
            clusters=np.count_nonzero(counted),
            at_edge=np.count_nonzero(counted & clusters.at_edge), **means,
            alignment=abs(turned), alignment_axis=math.degrees(np.angle(turned)) / 2,
            alignment_p=_rayleigh(abs(turned), len(angles)),
            count_above=counts_above(clusters.radius, weights, self._radii),
            size_law=fit.law, power_weight=fit.power_weight,
            size_exponent=fit.exponent, size_exponent_errors=fit.exponent_error,
            gaussian_radius=fit.mean, gaussian_radius_sd=fit.sd,
            dimension=boxes.dimension if boxes else math.nan,
            dimension_errors=boxes.error if boxes else math.nan,
            **given, **self._lines.condition_values(image),
        )  # fmt: skip


def _weighted_mean(values: Floats, weights: Floats) -> tuple[float, float]:
    """Return the weighted mean of independent values, and its standard error."""
    total = float(np.sum(weights))
    if not total > 0:
        return math.nan, math.nan
    mean = float(np.sum(weights * values)) / total
    n = int(np.count_nonzero(weights))
    if n < 2:
        return mean, math.nan
    scatter = float(np.sum((weights * (values - mean)) ** 2))
    return mean, math.sqrt(scatter * n / (n - 1)) / total


def _rayleigh(length: float, n: int) -> float:
    """Return the chance that n random directions have a mean vector of at least this length.

    Rayleigh's test, to first order in 1/n (Mardia and Jupp 2000, eq. 6.3.5).
    """
    if n < 3:
        return math.nan
    z = n * length * length
    return min(1.0, math.exp(-z) * max(1 + (2 * z - z * z) / (4 * n), 0.0))
