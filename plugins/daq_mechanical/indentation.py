"""Nanoindentation scanning: G, t_c and eta of each indent, their maps, and how they are distributed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_mechanical.field_statistics import distribution
from daq_mechanical.kelvin import DETERMINED, NO_LAG, KelvinFit, fit_kelvin, memory, warm_up
from daq_mechanical.time_steps import record, single

Floats = npt.NDArray[np.float64]

NEWTON: Final = {"N": 1.0, "mN": 1e-3, "uN": 1e-6, "µN": 1e-6, "nN": 1e-9}
METRE: Final = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9}
SECOND: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
QUANTITIES: Final = ("G", "t_c", "eta")
UNITS: Final = {"G": "GPa", "t_c": "s", "eta": "Pa s"}
SHOWN: Final = 512
"""Points of an indent that ``indents`` shows for drawing."""
BINS: Final = 24
"""Bins of a histogram."""


class Indentation(daq.Analysis):
    """Shear modulus, relaxation time and viscosity point by point (Qiao2019, 3.2).

    Takes records with ``load``, ``depth`` and ``elapsed``, each [sample], one record an indent
    (NaN where it is shorter), with ``x``, ``y`` and ``indent`` where known; tip radius and Poisson's
    ratio from the configuration or the attributes ``tip_radius`` (m) and ``poisson_ratio``. Gives:

    ``indents``
        After each indent: ``G`` GPa, ``t_c`` s, ``eta`` Pa s (G t_c), ``zero`` nm (the depth measured
        at the surface), ``drift`` nm/s, the first three with ``_errors``, which hold the noise of depth
        and load; ``noise`` nm; ``correlation`` (`daq_mechanical.kelvin`); ``flag``: 0 determined, 1 no
        lag is seen (G stands, t_c does not), 2 misfit (late contact, pop-in, plastic flow), 3 the
        unloading is not there, 4 nothing to fit. ``x``, ``y`` um, ``indent``. For drawing: ``load``
        uN, ``depth`` nm and ``hertz`` nm, the depth that 3-8 gives for this G, [point].
    ``maps``
        After each row of the scan and at the end: ``G``, ``t_c``, ``eta`` with ``_errors``, [row,
        column], NaN where there is no indent yet or it is flagged; ``flags``, 255 where there is
        none. Only where the stream or the configuration has a scan.
    ``histograms``
        With them, a record per quantity: ``quantity``; ``centre`` and ``count`` [bin], ``gaussian``
        [bin]; its ``mean`` and ``spread`` with ``_errors``; ``own_spread`` likewise, the spread without
        the errors of indents; ``indents``, ``flagged``, ``outlying``, how many; ``independent``, how
        many independent ones the mean is worth: neighbours are alike, and the errors know it
        (`daq_mechanical.field_statistics`).
    """

    name = "indentation"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "indentation"`` may say."""

        tip_radius: float | None = daq.setting(None, "m", "of the spherical tip", gt=0, lt=1e-3)
        poisson_ratio: float | None = daq.setting(None, "", "of the sample", ge=0, lt=0.5)
        shape: tuple[int, int] | None = daq.setting(
            None, "", "indents of the scan, rows and columns, where the stream does not say"
        )
        step: float | None = daq.setting(
            None, "nm", "from indent to indent, where the stream does not say", gt=0
        )

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it holds no indents, or tip or scan are not known."""
        stream = single(streams, self.name)
        self._config = config
        self._factors = {
            name: self._factor(stream, name, known)
            for name, known in (("load", NEWTON), ("depth", METRE), ("elapsed", SECOND))
        }
        self._places = {n: n in stream.fields for n in ("x", "y", "indent")}
        self._radius = self._told(stream, "tip_radius", config.tip_radius)
        self._nu = self._told(stream, "poisson_ratio", config.poisson_ratio)
        scan = stream.scan or {}
        shape = config.shape or stream.scan_shape
        if shape is not None and (len(shape) != 2 or min(shape) < 1):
            raise ValueError(f"{stream.name}: a scan has rows and columns, not {shape}")
        self._shape = None if shape is None else (int(shape[0]), int(shape[1]))
        self._step = float(config.step or scan.get("step") or math.nan)
        self._found: list[_Indent] = []
        warm_up()
        plain, number = daq.Field("<f8"), daq.Field("<i4")
        um = daq.Field("<f8", (), "um", "position")
        units = {name: daq.Field("<f8", (), UNITS[name]) for name in QUANTITIES}
        shown = daq.Field("<f8", (SHOWN,), "nm")
        indents = {
            **{k: v for n, f in units.items() for k, v in ((n, f), (f"{n}_errors", f))},
            "zero": daq.Field("<f8", (), "nm", "depth at the surface"),
            "drift": daq.Field("<f8", (), "nm/s", "thermal drift"),
            "noise": daq.Field("<f8", (), "nm", "of a sample"), "correlation": plain,
            "x": um, "y": um, "indent": number, "flag": daq.Field("|u1"),
            "load": daq.Field("<f8", (SHOWN,), "uN", "load"),
            "depth": dataclasses.replace(shown, long_name="depth, less zero and drift"),
            "hertz": dataclasses.replace(shown, long_name="elastic depth"),
        }  # fmt: skip
        bins = daq.Field("<f8", (BINS,))
        histograms = {
            "quantity": daq.Field("|S4"), "centre": bins, "count": bins, "gaussian": bins,
            "mean": plain, "mean_errors": plain, "spread": plain, "spread_errors": plain,
            "own_spread": plain, "own_spread_errors": plain, "independent": plain,
            "indents": number, "flagged": number, "outlying": number,
        }  # fmt: skip
        given = [daq.Stream("indents", indents), daq.Stream("histograms", histograms)]
        if self._shape is not None:
            maps = {
                **{
                    key: daq.Field("<f8", self._shape, UNITS[name])
                    for name in QUANTITIES for key in (name, f"{name}_errors")
                },
                "flags": daq.Field("|u1", self._shape),
            }  # fmt: skip
            each = self._step / 1e3 if math.isfinite(self._step) else 1.0
            axes = [
                {"name": n, "units": "um" if math.isfinite(self._step) else "", "offset": 0, "step": each}
                for n in ("y", "x")
            ]  # fmt: skip
            given.append(daq.Stream("maps", maps, axes=dict.fromkeys(maps, axes)))
        return given

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Fit each indent."""
        every = self._shape[1] if self._shape is not None else 16
        for i in range(len(batch)):
            if not batch.valid[i]:
                continue
            time = int(batch.time[i])
            t, P, h = (
                self._factors[n] * np.asarray(batch[n][i], np.float64)
                for n in ("elapsed", "load", "depth")
            )
            fit = fit_kelvin(t, P, h, self._radius, self._nu)
            at = {n: float(batch[n][i]) if self._places[n] else math.nan for n in ("x", "y")}
            count = int(batch["indent"][i]) if self._places["indent"] else int(batch.indices[i])
            indent = _Indent(count, at["x"], at["y"], fit, time)
            self._found.append(indent)
            yield self._record(indent, t, P, h)
            if len(self._found) % every == 0:
                yield from self._summary()

    def close(self) -> Iterable[daq.Batch]:
        """Give maps and histograms of all indents."""
        if self._found:
            yield from self._summary()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a fit needs, and the results of ten thousand indents."""
        fits = [
            memory(math.prod(s.fields["load"].shape))
            for s in streams.values()
            if "load" in s.fields
        ]
        return sum(fits) + 10_000 * 300

    def _record(self, indent: _Indent, t: Floats, P: Floats, h: Floats) -> daq.Batch:
        fit = indent.fit
        shown = np.full((3, SHOWN), np.nan)
        step = 1 + (len(t) - 1) // SHOWN
        count = len(t[::step])
        drift = fit.drift if math.isfinite(fit.drift) else 0.0
        zero = fit.zero if math.isfinite(fit.zero) else 0.0
        shown[0, :count] = 1e6 * P[::step]
        shown[1, :count] = 1e9 * (h - zero - drift * (t - t[0]))[::step]
        if fit.G > 0:
            from daq_mechanical.hertz import hertz_depth

            shown[2, :count] = 1e9 * hertz_depth(P[::step], fit.G, self._radius, self._nu)
        return record("indents", indent.time, {
            "G": 1e-9 * fit.G, "G_errors": 1e-9 * fit.G_error,
            "t_c": fit.t_c, "t_c_errors": fit.t_c_error,
            "eta": fit.eta, "eta_errors": fit.eta_error,
            "zero": 1e9 * fit.zero, "drift": 1e9 * fit.drift, "noise": 1e9 * fit.noise,
            "correlation": fit.correlation, "x": indent.x, "y": indent.y,
            "indent": np.int32(indent.number), "flag": np.uint8(fit.flag),
            "load": shown[0], "depth": shown[1], "hertz": shown[2],
        })  # fmt: skip

    def _summary(self) -> Iterable[daq.Batch]:
        time = self._found[-1].time
        if self._shape is not None:
            rows, columns = self._shape
            maps = {
                key: np.full(self._shape, np.nan)
                for name in QUANTITIES for key in (name, f"{name}_errors")
            }  # fmt: skip
            flags = np.full(self._shape, 255, np.uint8)
            for indent in self._found:
                if not 0 <= indent.number < rows * columns:
                    continue
                at = divmod(indent.number, columns)
                flags[at] = indent.fit.flag
                for name in QUANTITIES:
                    value, error = indent.value(name)
                    maps[name][at], maps[f"{name}_errors"][at] = value, error
            yield record("maps", time, {**maps, "flags": flags})
        for name in QUANTITIES:
            yield self._histogram(name, time)

    def _histogram(self, name: str, time: int) -> daq.Batch:
        values = np.array([indent.value(name) for indent in self._found])
        places = np.array([self._place(indent) for indent in self._found])
        kept = np.isfinite(values[:, 0])
        found = distribution(values[kept, 0], values[kept, 1], places[kept], BINS)
        return record("histograms", time, {
            "quantity": np.bytes_(name.encode()),
            "centre": found.centre, "count": found.count, "gaussian": found.gaussian,
            "mean": found.mean, "mean_errors": found.mean_error,
            "spread": found.spread, "spread_errors": found.spread_error,
            "own_spread": found.own_spread, "own_spread_errors": found.own_spread_error,
            "independent": found.independent, "indents": np.int32(len(self._found)),
            "flagged": np.int32(np.count_nonzero(~kept)), "outlying": np.int32(found.outlying),
        })  # fmt: skip

    def _place(self, indent: _Indent) -> tuple[float, float]:
        """Return where an indent is, um; steps of the scan where that is not known."""
        if math.isfinite(indent.x) and math.isfinite(indent.y):
            return indent.x, indent.y
        columns = self._shape[1] if self._shape is not None else 1
        row, column = divmod(indent.number, columns)
        return float(column), float(row)

    @staticmethod
    def _factor(stream: daq.Stream, field: str, known: Mapping[str, float]) -> float:
        if field not in stream.fields or len(stream.fields[field].shape) != 1:
            raise ValueError(
                f"{stream.name} has no field {field!r} with samples: a stream of indents is needed; it "
                f"has {', '.join(sorted(set(stream.fields) - {'time'}))}"
            )
        units = stream.fields[field].units
        if units not in known:
            raise ValueError(
                f"{stream.name}: {field} is in {units or 'no units'!r}; known are {', '.join(known)}"
            )
        return known[units]

    @staticmethod
    def _told(stream: daq.Stream, name: str, given: float | None) -> float:
        value = given if given is not None else stream.attributes.get(name)
        if value is None:
            unit = " (m)" if name == "tip_radius" else ""
            raise ValueError(f"{stream.name} has no attribute {name}: say {name} = ...{unit}")
        return float(value)


@dataclasses.dataclass(frozen=True, slots=True)
class _Indent:
    number: int
    x: float
    y: float
    fit: KelvinFit
    time: int

    def value(self, name: str) -> tuple[float, float]:
        """Return a quantity in its unit and its error; NaN where it is flagged."""
        fit = self.fit
        if fit.flag != DETERMINED and not (fit.flag == NO_LAG and name == "G"):
            return math.nan, math.nan
        scale = 1e-9 if name == "G" else 1.0
        return scale * getattr(fit, name), scale * getattr(fit, f"{name}_error")
