"""Histogram of a channel with its Gaussian, and the colour range that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_afm.image_lines import Image, ImageLines, Line, only_stream, record

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FINE: Final = 8192
"""Bins that are counted in; what is shown are groups of them."""
PER_LINE: Final = 64
"""Fine bins in the middle 90 % of the first line."""
TAIL: Final = 1e-3
"""Part of the pixels on either side that need not be within the bins shown."""


class PhaseHistogram(daq.Analysis):
    """Counts the values of a channel over the image so far, and fits a Gaussian to the counts.

    Zhu2016 set the colours of phase maps by it. Takes scan lines; gives the stream ``histogram``, a
    record after every ``every`` lines and at the end of an image (``final`` 1): ``value`` and ``counts``
    [bin], middles of the bins and pixels in them; ``below`` and ``above``, pixels outside of them;
    ``curve`` [bin], the Gaussian, by least squares; its ``centre``, ``width`` (standard deviation) and
    ``height``, NaN where there is none; ``low`` and ``high`` = centre -+ ``spread`` width (2 % and 98 % of the
    pixels where there is no Gaussian); ``mean`` and ``sd`` of all pixels.
    Units of the channel; float64. Pixels that are not finite do not count.

    No errors are given: pixels are correlated, and how much is for `surface_correlation` to say. The
    width of a bin is chosen from the first line of an image that is not constant; a scan
    has its own.
    """

    name = "phase_histogram"
    _latest: Line | None

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "phase_histogram"`` may say."""

        channel: str = daq.setting("phase", "", "which channel")
        bins: int = daq.setting(128, "", "bins that are given", ge=16, le=1024)
        spread: float = daq.setting(3.0, "", "widths on either side in the colour range", gt=0)
        every: int = daq.setting(1, "", "lines per record", ge=1)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the channel; ValueError where it is missing."""
        stream = only_stream(streams, self.name)
        field = stream.fields.get(config.channel)
        if field is None or len(field.shape) != 1:
            arrays = [name for name, f in stream.fields.items() if len(f.shape) == 1]
            raise ValueError(
                f"{stream.name} has no channel {config.channel!r}; it has "
                f"{', '.join(arrays) or 'none'}"
            )
        self._config = config
        self._lines = ImageLines(stream, {config.channel: 1.0}, keep=[])
        self._finished: int | None = None
        self._begin()
        value = daq.Field("<f8", (), field.units, field.long_name)
        bins = (config.bins,)
        self._fields = {
            **self._lines.condition_fields(),
            "line": daq.Field("<i4", (), "", "row of the last line"),
            "pixels": daq.Field("<i8"),
            "final": daq.Field("|u1"),
            "value": daq.Field("<f8", bins, field.units, field.long_name),
            "counts": daq.Field("<i8", bins, "", "pixels"),
            "curve": daq.Field("<f8", bins, "", "Gaussian"),
            "below": daq.Field("<i8"),
            "above": daq.Field("<i8"),
            **dict.fromkeys(("centre", "width"), value),
            "height": daq.Field("<f8", (), "", "pixels per bin"),
            **dict.fromkeys(("low", "high", "mean", "sd"), value),
        }
        said = (stream.attributes.get("levelling") or {}).get(config.channel, "not known")
        attributes = {"channel": config.channel, "levelling": said, "spread": config.spread}
        return [daq.Stream("histogram", self._fields, attributes=attributes)]

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Count each line."""
        for item in self._lines.take(batch):
            if isinstance(item, Image):
                yield from self._end()
                self._finished = item.scan if item.complete else None
            elif item.scan != self._finished:
                self._finished = None
                self._latest = item
                self._count(item.values[self._config.channel])
                self._seen += 1
                if self._seen % self._config.every == 0:
                    yield from self._record(final=False)

    def close(self) -> Iterator[daq.Batch]:
        """Give the end of the last image."""
        if any(True for _ in self._lines.rest()):
            yield from self._end()

    def reconfigure(self, config: Any) -> None:
        """Change ``every`` or ``spread`` from the next line on."""
        for name in ("channel", "bins"):
            if getattr(config, name) != getattr(self._config, name):
                raise ValueError(f"{self.name}: {name} cannot change while it runs; start it anew")
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what the fine bins need, and an image of lines that are constant."""
        rows, columns = next(iter(streams.values())).scan_shape or (1, 1)
        return 16 * FINE + 8 * rows * columns

    def _begin(self) -> None:
        self._fine = np.zeros(FINE, np.int64)
        self._outside = [0, 0]
        self._width = 0.0
        self._first = 0
        """Number of the first fine bin: it begins at this many widths."""
        self._constant: list[Floats] = []
        self._pixels, self._sum, self._squares, self._offset = 0, 0.0, 0.0, math.nan
        self._seen = 0
        self._latest = None

    def _end(self) -> Iterator[daq.Batch]:
        yield from self._record(final=True)
        self._begin()

    def _count(self, values: Floats) -> None:
        good = values[np.isfinite(values)]
        if not len(good):
            return
        if math.isnan(self._offset):
            self._offset = float(np.median(good))
        apart = good - self._offset
        self._pixels += len(good)
        self._sum += float(apart.sum())
        self._squares += float(np.sum(apart * apart))
        if not self._width:
            low, middle, high = np.quantile(good, [0.05, 0.5, 0.95])
            self._constant.append(good)
            if not high > low:
                return
            self._width = _round_width((high - low) / PER_LINE)
            self._first = math.floor(middle / self._width) - FINE // 2
            for line in self._constant:
                self._put(line)
            self._constant = []
        else:
            self._put(good)

    def _put(self, values: Floats) -> None:
        at = np.clip(np.floor(values / self._width) - self._first, -1, FINE)
        self._outside[0] += int(np.count_nonzero(at < 0))
        self._outside[1] += int(np.count_nonzero(at >= FINE))
        inside = at[(at >= 0) & (at < FINE)].astype(np.intp)
        self._fine += np.bincount(inside, minlength=FINE)

    def _record(self, final: bool) -> Iterator[daq.Batch]:
        line, config = self._latest, self._config
        if line is None or not self._width:
            return
        first, size, counts, below, above = self._shown()
        width = size * self._width
        value = (self._first + first) * self._width + (np.arange(config.bins) + 0.5) * width
        height, centre, sd = fit_gaussian(value, counts)
        curve = height * np.exp(-0.5 * ((value - centre) / sd) ** 2)
        if math.isfinite(sd):
            low, high = centre - config.spread * sd, centre + config.spread * sd
        else:
            low, high = (self._quantile(part) for part in (0.02, 0.98))
        mean = self._sum / self._pixels
        yield record(
            "histogram", line.time, self._fields, **self._lines.condition_values(line),
            line=line.row, pixels=self._pixels, final=final, value=value, counts=counts,
            curve=curve, below=below, above=above, centre=centre, width=sd, height=height,
            low=low, high=high, mean=self._offset + mean,
            sd=math.sqrt(max(self._squares / self._pixels - mean * mean, 0.0)),
        )  # fmt: skip

    def _shown(self) -> tuple[int, int, Counts, int, int]:
        """Return first fine bin, fine bins per bin, counts, and what lies below and above."""
        total = np.cumsum(self._fine)
        edges = np.searchsorted(total, [TAIL * total[-1], (1 - TAIL) * total[-1]])
        needed, size = int(edges[1] - edges[0]) + 2, 1
        while size * self._config.bins < needed:
            size *= 2
        span = min(size * self._config.bins, FINE)
        first = int(np.clip((edges[0] + edges[1] - span) // 2, 0, FINE - span))
        part = self._fine[first : first + size * self._config.bins]
        padded = np.zeros(size * self._config.bins, np.int64)
        padded[: len(part)] = part
        below = self._outside[0] + int(self._fine[:first].sum())
        above = self._outside[1] + int(self._fine[first + len(part) :].sum())
        return first, size, padded.reshape(-1, size).sum(axis=1), below, above

    def _quantile(self, part: float) -> float:
        total = np.cumsum(self._fine)
        return (self._first + int(np.searchsorted(total, part * total[-1])) + 0.5) * self._width


def fit_gaussian(
    value: Floats, counts: Counts, iterations: int = 100
) -> tuple[float, float, float]:
    """Return height, centre and standard deviation of the Gaussian of least squares; NaN if none.

    ``value`` [bin]: middles of bins of equal width; ``counts`` [bin]. Gauss-Newton, damped.
    """
    n = counts.astype(np.float64)
    total = n.sum()
    nothing = (math.nan, math.nan, math.nan)
    if np.count_nonzero(counts) < 4:
        return nothing
    # in bins about the median, so that scales are alike
    step = float(value[1] - value[0])
    middle = int(np.searchsorted(np.cumsum(n), total / 2))
    x = np.arange(len(value)) - float(middle)
    spread = np.cumsum(n)
    quarter = np.searchsorted(spread, [0.16 * total, 0.84 * total])
    p = np.array([float(n.max()), 0.0, max((quarter[1] - quarter[0]) / 2, 0.5)])

    def look(q: Floats) -> tuple[Floats, Floats, float]:
        shape = np.exp(-0.5 * ((x - q[1]) / q[2]) ** 2)
        apart = (x - q[1]) / q[2]
        J = np.stack([shape, q[0] * shape * apart / q[2], q[0] * shape * apart**2 / q[2]])
        rest = n - q[0] * shape
        return J, rest, float(np.sum(rest * rest))

    J, rest, chi2 = look(p)
    damping = 1e-3
    for _ in range(iterations):
        normal = np.sum(J[:, np.newaxis] * J[np.newaxis], axis=2)
        gradient = np.sum(J * rest, axis=1)
        diagonal = np.diagonal(normal) + 1e-300
        move = np.linalg.solve(normal + np.diag(damping * diagonal), gradient)
        tried = p + move
        small = float(np.sum(move * gradient)) <= 1e-10 * chi2
        if tried[2] > 0:
            found = look(tried)
            if found[2] <= chi2:
                p, (J, rest, chi2), damping = tried, found, max(damping * 0.2, 1e-12)
                if small:
                    break
                continue
        if small and damping > 1:
            break
        damping *= 8
    else:
        return nothing
    if not (p[0] > 0 and x[0] <= p[1] <= x[-1] and p[2] < len(x)):
        return nothing
    return float(p[0]), float(value[middle] + p[1] * step), float(p[2] * step)


def _round_width(width: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at most ``width``."""
    power = 10.0 ** math.floor(math.log10(width))
    return max(m for m in (1.0, 2.0, 5.0) if m * power <= width * (1 + 1e-9)) * power
