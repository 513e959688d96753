"""Dissipated energy against amplitude, from scans at several set points or approach curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pydantic

import daq
from daq_afm.dissipation_mechanism import LAWS, compare, reduced_energy
from daq_afm.image_lines import factor, only_stream, record

POINTS: Final = 64
"""Amplitudes of a curve, at most."""
GRID: Final = np.linspace(0.01, 0.99, 99)
"""A/A_0 at which the laws are drawn."""


class DissipationCurve(daq.Analysis):
    """dE_dis/d(A/A_0) against A/A_0, and which mechanism of dissipation it speaks for.

    Takes a stream with energies and amplitude ratios: the ``summary`` of `dissipation`, one record for each
    image (those of images that have not ended are passed over), or approach curves, an array of both in each record. Points whose ratios agree within
    ``merge`` are one amplitude, their mean. Gives after each record:

    ``curve``
        [point], in order of A/A_0, NaN beyond the ``amplitudes`` there are: ``ratio``, ``energy`` eV,
        ``count`` of what is in each, ``derivative`` eV (by the neighbours, unevenly spaced).
    ``mechanism``
        ``mechanism``: 0 undecided, 1 long-range attraction, 2 hysteresis of the adhesion, 3
        viscoelasticity, 4 none of them fits, 5 fewer than five amplitudes (`daq_afm.dissipation_mechanism`);
        [law] ``weights`` (AICc), ``strength`` with ``_errors``, ``misfit`` relative; the
        laws that fit best and their derivatives, eV [law, grid], ``law`` and ``law_derivative``, at the constant ``grid``.
    """

    name = "dissipation_curve"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "dissipation_curve"`` may say."""

        energy: str = daq.setting("mean", "", "field of the energy")
        ratio: str = daq.setting("amplitude_ratio", "", "field of A/A_0")
        energy_unit: float | None = daq.setting(
            None, "eV", "pi k A_0^2 / Q; by default the attribute of the stream", gt=0
        )
        frequency_ratio: float | None = daq.setting(
            None, "", "drive by resonance; by default the attribute of the stream, or 1", gt=0
        )
        range: tuple[float, float] = daq.setting((0.1, 0.98), "", "of A/A_0 that is compared")
        merge: float = daq.setting(0.01, "", "of A/A_0", gt=0, lt=0.5)
        confident: float = daq.setting(0.95, "", "weight from which a law is named", gt=0.5, lt=1)
        largest_misfit: float = daq.setting(
            0.1, "", "of the mean energy, beyond which no law fits", gt=0
        )

        @pydantic.field_validator("range")
        @classmethod
        def _ordered(cls, limits: tuple[float, float]) -> tuple[float, float]:
            if not 0 < limits[0] < limits[1] < 1:
                raise ValueError("two numbers between 0 and 1, the smaller first")
            return limits

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the fields and the unit of energy; ValueError without them."""
        stream = only_stream(streams, self.name)
        self._energy = factor(stream, config.energy, "energy")
        self._ratio = factor(stream, config.ratio, "ratio")
        if stream.fields[config.energy].shape != stream.fields[config.ratio].shape:
            raise ValueError(
                f"{stream.name}: {config.energy} and {config.ratio} differ in shape, "
                f"{list(stream.fields[config.energy].shape)} and {list(stream.fields[config.ratio].shape)}"
            )
        unit = config.energy_unit or stream.attributes.get("energy_unit")
        if not isinstance(unit, int | float) or not unit > 0:
            raise ValueError(
                f"{stream.name} does not say its energy_unit: give energy_unit = pi k A_0^2 / Q (eV)"
            )
        self._unit = float(unit)
        self._w = float(config.frequency_ratio or stream.attributes.get("frequency_ratio", 1.0))
        self._config = config
        self._has_ended = "ended" in stream.fields
        # by amplitude, in steps of `merge`: sums of ratio and energy, and how many
        self._groups: dict[int, list[float]] = {}
        ev, plain = daq.Field("<f8", (POINTS,), "eV"), daq.Field("<f8", (POINTS,))
        law = daq.Field("<f8", (len(LAWS),))
        drawn = daq.Field("<f8", (len(LAWS), len(GRID)), "eV")
        self._curve_fields = {
            "amplitudes": daq.Field("<i4"), "ratio": daq.Field("<f8", (POINTS,), "", "A/A0"),
            "energy": ev, "count": plain, "derivative": ev,
        }  # fmt: skip
        self._law_fields = {
            "mechanism": daq.Field("|u1"), "amplitudes": daq.Field("<i4"), "weights": law,
            "strength": law, "strength_errors": law, "misfit": law, "law": drawn,
            "law_derivative": drawn,
        }  # fmt: skip
        attributes = {"energy_unit": self._unit, "laws": list(LAWS)}
        names = {"name": "law", "units": "", "offset": 0, "step": 1}
        axis = [names, {"name": "A/A0", "units": "", "values": "grid"}]
        return [
            daq.Stream("curve", self._curve_fields, attributes=attributes),
            daq.Stream(
                "mechanism", self._law_fields, {"law": axis, "law_derivative": axis},
                attributes=attributes, constants={"grid": GRID},
            ),
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take the points of each record, and compare anew."""
        for i in range(len(batch)):
            if not batch.valid[i] or (self._has_ended and not batch["ended"][i]):
                continue
            u = np.ravel(np.asarray(batch[self._config.ratio][i], np.float64)) * self._ratio
            E = np.ravel(np.asarray(batch[self._config.energy][i], np.float64)) * self._energy
            good = np.isfinite(u) & np.isfinite(E) & (u > 0)
            if not good.any():
                continue
            width = max(self._config.merge, 1 / POINTS)
            for ratio, energy in zip(u[good].tolist(), E[good].tolist(), strict=True):
                # beyond 1.5 there is no tapping: one group for all of it
                group = self._groups.setdefault(round(min(ratio, 1.5) / width), [0.0, 0.0, 0.0])
                group[0] += ratio
                group[1] += energy
                group[2] += 1
            yield from self._compared(int(batch.time[i]))

    def reconfigure(self, config: Any) -> None:
        """Change ``range``, ``confident`` and ``largest_misfit``; the rest cannot change."""
        for key in ("energy", "ratio", "energy_unit", "frequency_ratio", "merge"):
            if getattr(config, key) != getattr(self._config, key):
                raise ValueError(f"{self.name}: {key} cannot change while it runs; start it anew")
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what the amplitudes need."""
        return 100_000

    def _compared(self, time: int) -> Iterable[daq.Batch]:
        table = np.array([self._groups[key] for key in sorted(self._groups)])
        u, E, count = table[:, 0] / table[:, 2], table[:, 1] / table[:, 2], table[:, 2]
        order = np.argsort(u, kind="stable")[:POINTS]
        u, E, count = u[order], E[order], count[order]
        rows = np.full((4, POINTS), np.nan)
        rows[:3, : len(u)] = u, E, count
        if len(u) > 2:
            rows[3, : len(u)] = np.gradient(E, u)
        yield record(
            "curve", time, self._curve_fields, amplitudes=len(u),
            **dict(zip(("ratio", "energy", "count", "derivative"), rows, strict=True)),
        )  # fmt: skip
        low, high = self._config.range
        used = (u >= low) & (u <= high)
        found = compare(
            u[used], E[used] / self._unit, count[used], self._w, self._config.confident,
            self._config.largest_misfit,
        )  # fmt: skip
        laws = np.full((2, len(LAWS), len(GRID)), np.nan)
        for k, law in enumerate(LAWS):
            if math.isfinite(found.strength[k]):
                laws[0, k] = self._unit * reduced_energy(GRID, found.strength[k], law, self._w)
                laws[1, k] = np.gradient(laws[0, k], GRID)
        yield record(
            "mechanism", time, self._law_fields, mechanism=found.mechanism,
            amplitudes=np.count_nonzero(used), weights=found.weights, strength=found.strength,
            strength_errors=found.strength_errors, misfit=found.misfit, law=laws[0],
            law_derivative=laws[1],
        )  # fmt: skip
