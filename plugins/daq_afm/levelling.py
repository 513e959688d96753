"""Levelling of scan lines: what is subtracted from each line, or from a whole image.

Each method is a least-squares polynomial (or a median), so it takes away some of the roughness too:
the shorter the image beside the correlation length, and the higher the degree, the more. A quadratic
per row lowers sigma by 8 % and xi by 9 % at 25 correlation lengths in a row. So every result says
which method was used, and `surface_correlation` puts its simulated surfaces through the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

import daq
from daq_afm.image_lines import ImageLines, only_stream

Floats = npt.NDArray[np.float64]

Method = Literal["none", "mean", "median", "linear", "quadratic", "plane", "paraboloid"]

ROW_DEGREES: Final = {"mean": 0, "linear": 1, "quadratic": 2}
"""Methods that fit a polynomial to each row: its degree."""
IMAGE_DEGREES: Final = {"plane": 1, "paraboloid": 2}
"""Methods that fit a polynomial in x and y to the whole image: its degree."""
METHODS: Final = ("none", "mean", "median", "linear", "quadratic", "plane", "paraboloid")


class Levelling(daq.Analysis):
    """Subtracts from each line what is no surface: offset, tilt, bow of the scanner.

    Takes scan lines and gives the stream ``lines``: the same records with the same fields, those of
    the ``channels`` (and their retraces) levelled. Its attribute ``levelling`` says for each of them
    which method was used; analyses that take it carry it on. By method:

    ``mean``, ``median``, ``linear``, ``quadratic``
        Row by row, from the line alone: given at once.
    ``plane``, ``paraboloid``
        From the whole image: its lines are given when each row has come, when a line of another
        scan comes, or when the stream ends.
    ``none``
        Nothing is done, and ``levelling`` says so.

    Pixels that are not finite take no part and stay as they are; a line with fewer good pixels than
    the polynomial has terms loses its mean only. Lines that were lost are not given.
    """

    name = "levelling"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "levelling"`` may say."""

        channels: list[str] = daq.setting(
            ["height"], "", "what is levelled, with its retrace", min_length=1
        )
        method: Method = daq.setting("linear", "", "what is subtracted")

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the channels; ValueError where the input is not one of scan lines or lacks them."""
        stream = only_stream(streams, self.name)
        arrays = [name for name, field in stream.fields.items() if field.shape]
        for name in config.channels:
            if name not in arrays:
                raise ValueError(
                    f"{stream.name} has no channel {name!r}; it has {', '.join(arrays) or 'none'}"
                )
        wanted = [n + end for n in config.channels for end in ("", "_retrace")]
        self._channels = [name for name in dict.fromkeys(wanted) if name in arrays]
        lines = ImageLines(stream, dict.fromkeys(self._channels, 1.0), keep=[])
        self._rows, self._config, self._fields = lines.rows, config, dict(stream.fields)
        self._waiting: list[dict[str, npt.NDArray[Any]]] = []
        self._came: set[int] = set()
        methods = dict(stream.attributes.get("levelling") or {})
        methods.update(dict.fromkeys(self._channels, config.method))
        return [
            daq.Stream(
                "lines", stream.fields, stream.axes, stream.scan,
                {**stream.attributes, "levelling": methods}, stream.expect, stream.constants,
            )
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Level each line, or keep it until its image has ended."""
        whole = self._config.method in IMAGE_DEGREES
        for i in range(len(batch)):
            if not batch.valid[i]:
                continue
            line = {name: np.array(batch[name][i : i + 1]) for name in self._fields}
            if not whole:
                yield self._levelled(line)
                continue
            if self._waiting and self._waiting[0]["scan"][0] != line["scan"][0]:
                yield from self.close()
            self._waiting.append(line)
            row = int(line["line"][0])
            if 0 <= row < self._rows:
                self._came.add(row)
            if len(self._came) >= self._rows:
                yield from self.close()

    def close(self) -> Iterable[daq.Batch]:
        """Give the lines of the image so far."""
        if not self._waiting:
            return
        together = {
            name: np.concatenate([line[name] for line in self._waiting]) for name in self._fields
        }
        self._waiting, self._came = [], set()
        yield self._levelled(together)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what one image needs, thrice where it is levelled as a whole."""
        stream = next(iter(streams.values()))
        rows = (stream.scan_shape or (1,))[0] if config.method in IMAGE_DEGREES else 2
        return 3 * rows * stream.record_bytes

    def _levelled(self, lines: dict[str, npt.NDArray[Any]]) -> daq.Batch:
        for name in self._channels:
            values = lines[name].astype(np.float64)
            done = level(values, self._config.method, lines["line"])
            lines[name] = done.astype(lines[name].dtype)
        return daq.Batch("lines", lines)


def level(values: Floats, method: str, rows: npt.NDArray[np.integer[Any]] | None = None) -> Floats:
    """Return lines [line, column] levelled by one of `METHODS`; what is not finite stays so.

    ``rows`` [line]: the row of each line, for methods of the whole image; 0, 1, 2 ... if None.

    Raises
    ------
    ValueError
        No such method.
    """
    if method not in METHODS:
        raise ValueError(f"levelling: no method {method!r}; there are {', '.join(METHODS)}")
    if method == "none" or not values.size:
        return values
    good = np.isfinite(values)
    clean = good.all()
    known = values if clean else np.where(good, values, 0.0)
    if method == "median":
        if clean:
            return np.asarray(values - np.median(values, axis=1)[:, np.newaxis])
        middles = [np.median(v[g]) if g.any() else 0.0 for v, g in zip(values, good, strict=True)]
        return np.asarray(values - np.array(middles)[:, np.newaxis])
    if method in ROW_DEGREES:
        return values - _row_polynomials(known, good, ROW_DEGREES[method])
    return values - _surface(known, good, IMAGE_DEGREES[method], rows)


def _legendre(count: int, degree: int) -> Floats:
    """Return polynomials [point, degree + 1] that are nearly orthogonal over the points."""
    x = np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)
    return np.asarray(np.polynomial.legendre.legvander(x, degree))


def _row_polynomials(values: Floats, good: npt.NDArray[np.bool_], degree: int) -> Floats:
    basis = _legendre(values.shape[1], degree)
    terms = degree + 1
    weights = good.astype(np.float64)
    normal = np.einsum("rc,ci,cj->rij", weights, basis, basis, optimize=True)
    # a row with too few pixels: its mean alone, an empty one: nothing
    few = good.sum(axis=1) <= degree
    normal[few] = np.eye(terms)
    normal[few, 0, 0] = np.maximum(good[few].sum(axis=1), 1)
    right = values @ basis
    right[few, 1:] = 0.0
    found = np.linalg.solve(normal, right[:, :, np.newaxis])[:, :, 0]
    return np.asarray(found @ basis.T)


def _surface(
    values: Floats,
    good: npt.NDArray[np.bool_],
    degree: int,
    rows: npt.NDArray[np.integer[Any]] | None,
) -> Floats:
    lines, columns = values.shape
    at = np.arange(lines) if rows is None else np.asarray(rows, np.int64)
    first, last = int(at.min()), int(at.max())
    down = _legendre(last - first + 1, degree)[at - first]
    across = _legendre(columns, degree)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    basis = np.stack([np.outer(down[:, i], across[:, j])[good] for i, j in powers], axis=1)
    # least squares of least norm: also where there are fewer lines than the surface has terms
    found = np.linalg.lstsq(basis, values[good], rcond=None)[0]
    back = np.zeros_like(values)
    for value, (i, j) in zip(found, powers, strict=True):
        back += value * np.outer(down[:, i], across[:, j])
    return back
