"""Do regions that relax slowly coincide with ordered ones: tau against V, scan by scan."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

import daq

if TYPE_CHECKING:
    from daq_stem.structure_dynamics.map_statistics import Distances, Relation

NOT_CONVERGED, LOWER_BOUND = 3, 1
"""Values of ``flag``: from this on there is no number; tau is a lower bound."""

_KINDS: Final[dict[str, dict[str, int]]] = {
    "ecm.maps": {"scan": 0, "stage": 0, "tau": 3, "flag": 3},
    "ecm.sectors": {"scan": 0, "ln_tau": 4, "flag": 4},
    "fem.maps": {"scan": 0, "V": 2, "intensity": 2},
    "fem.sectors": {"scan": 0, "V": 3},
}
"""Each kind of input, and the fields with their number of axes by which it is told."""

_SUMMARY: Final = {
    "spearman": ("", "tau with V, disjoint sectors, noise corrected"),
    "spearman_errors": ("", "1 sigma, for the material"),
    "corrected": ("", "1 where noise was corrected for, 0 where it cannot be"),
    "spearman_measurement_errors": ("", "1 sigma, for these positions"),
    "spearman_naive": ("", "of the whole maps, noise shared"),
    "spearman_disjoint": ("", "disjoint sectors, not corrected for noise"),
    "spearman_disjoint_errors": ("", "1 sigma where there is no relation"),
    "p_value": ("", "of no relation in the material"),
    "n_effective": ("", "independent positions"),
    "spearman_fixed_intensity": ("", "likewise, annular intensity held fixed"),
    "spearman_fixed_intensity_errors": ("", "1 sigma, for the material"),
    "reliability_tau": ("", "rank correlation of tau from both sets"),
    "reliability_V": ("", "rank correlation of V from both sets"),
    "ln_tau_correlation_length": ("nm", "ln tau: autocorrelation 1/e"),
    "ln_tau_correlation_length_errors": ("nm", "1 sigma"),
}


class StructureDynamics(daq.Analysis):
    """The rank correlation of relaxation time tau and local order V over the scan positions.

    Takes ``maps`` and ``sectors`` of `ecm` and of `fem`, four streams told apart by their fields,
    and pairs their records by ``scan``. Gives two streams with one record per scan that any of
    them tells of; it is not valid where one of the four has nothing for that scan.

    ``summary``
        ``scan``, ``stage`` (int64), and float64, NaN where not known:

        ``spearman``: (rho(tau_0, V_1) + rho(tau_1, V_0)) / 2 over sqrt(reliability_tau
        reliability_V), Spearman's rho of disjoint azimuthal sectors (0, 1). tau and V from the
        same speckles correlate by themselves, whatever the glass; from disjoint ones they do not,
        and the reliabilities (rho of both sets of tau, of V) put back what noise takes away.
        Within [-1, 1]. Where a reliability is not two standard errors above 0, as in a glass that
        is the same everywhere, there is nothing to divide by: then it is ``spearman_disjoint``,
        with its error, and ``corrected`` is 0. Nakazawa2024 gives the naive value (0.39 at 633 K).
        ``spearman_errors``: 1 sigma, for the correlation in the *material*: the places seen are
        few, and fields without relation correlate over few places by chance.
        ``spearman_measurement_errors``: 1 sigma, for the correlation over *these positions*: only
        noise counts that differs between the two sets. Against the truth of the simulated camera
        it is half of what it should be (docs/coverage.md).
        ``spearman_naive``: of ``tau`` and ``V`` of the whole maps, as published; lower bounds of
        tau share the highest rank.
        ``spearman_disjoint``, ``..._errors``: the mean of rho(tau_0, V_1) and rho(tau_1, V_0) as it
        is, nearer to 0 than ``spearman``, but there where a glass is so uniform that nothing can
        be divided by its reliability; 1 sigma where there is no relation.
        ``p_value``, ``n_effective``: two-sided, of no relation in the material; how many
        independent positions would scatter as much (neighbours share the probe and the structure).
        ``spearman_fixed_intensity``, ``..._errors``: the same correlation at equal annular
        ``intensity``, so at equal thickness: partial, of ranks. The speckle of the intensity itself
        counts as thickness.
        ``ln_tau_correlation_length``, ``..._errors``: nm, where the autocorrelation of ln tau is
        1/e, from both sets, so that noise does not enter; what the probe smooths remains.
    ``points``
        For a scatter plot: ``scan``; ``tau`` s and ``V``, float64 [y, x] and ``flag`` uint8 [y, x]
        (see ecm) of the whole maps.

    Positions count where tau is not masked and has converged, in the whole map and in both sector
    sets, and V and intensity are finite. Formulas and errors: `daq_stem.structure_dynamics.map_statistics`. With
    ``every`` = n only each n-th scan is computed, the others give records that are not valid.

    Memory: what of the four streams waits for the slowest, and some 40 maps to work with.
    """

    name = "structure_dynamics"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "structure_dynamics"`` may say."""

        band: int = daq.setting(0, "", "which band of ecm: the first is 0", ge=0)
        every: int = daq.setting(1, "scans", "compute after each n-th scan only", ge=1)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Tell the four inputs apart; ValueError where one is lacking or their maps differ."""
        self._kinds = _told_apart(streams)
        by_kind = {kind: streams[name] for name, kind in self._kinds.items()}
        bands = by_kind["ecm.maps"].fields["tau"].shape[0]
        if config.band >= bands:
            raise ValueError(f"band = {config.band}, but ecm has {bands} (the first is 0)")
        self._shape = by_kind["ecm.maps"].fields["tau"].shape[1:]
        for kind, field in (("ecm.sectors", "ln_tau"), ("fem.maps", "V"), ("fem.sectors", "V")):
            stream = by_kind[kind]
            if (shape := stream.fields[field].shape)[-2:] != self._shape:
                raise ValueError(
                    f"{stream.name}: {field} has shape {list(shape)}, tau {[bands, *self._shape]}: "
                    "the maps must show the same positions"
                )
        if (pair := by_kind["ecm.sectors"].fields["ln_tau"].shape[:2]) != (bands, 2):
            raise ValueError(
                f"{by_kind['ecm.sectors'].name}: ln_tau has {pair[0]} bands and {pair[1]} sets of "
                f"sectors; {bands} and 2 are needed"
            )
        if (sets := by_kind["fem.sectors"].fields["V"].shape[0]) != 2:
            raise ValueError(f"{by_kind['fem.sectors'].name}: V has {sets} sets of sectors, not 2")
        axes = by_kind["ecm.maps"].axes.get("tau", ())
        self._step = _step(by_kind["ecm.maps"].name, axes)
        self._band, self._every = config.band, config.every
        self._scans = _Scans(by_kind)

        import daq_stem.structure_dynamics.map_statistics  # noqa: F401  brings scipy: not after the first scan

        kinds = ("<f8", self._shape), ("|u1", self._shape)
        on_map = {name: [dict(axis) for axis in axes[-2:]] for name in ("tau", "V", "flag")}
        told = {"scan": daq.Field("<i8", (), "", "number of the scan")}
        return [
            daq.Stream(
                "summary",
                {
                    **told,
                    "stage": daq.Field("<i8", (), "", "temperature stage, -1 in between"),
                    **{name: daq.Field("<f8", (), *about) for name, about in _SUMMARY.items()},
                },
                attributes={"step_nm": self._step, "band": self._band},
                expect=by_kind["ecm.maps"].expect,
            ),
            daq.Stream(
                "points",
                {
                    **told,
                    "tau": daq.Field(*kinds[0], "s", "relaxation time"),
                    "V": daq.Field(*kinds[0], "", "normalised variance"),
                    "flag": daq.Field(
                        *kinds[1], "", "0 determined 1 bound 2 at bound 3 not converged 4 masked"
                    ),
                },
                axes=on_map,
                attributes={"band": self._band},
                expect=by_kind["ecm.maps"].expect,
            ),
        ]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Keep the records; give the scans that are decided by them."""
        self._scans.push(self._kinds[batch.stream], batch, self._band)
        return self._decided()

    def ended(self, stream: str) -> Iterable[daq.Batch]:
        """Wait for that input no longer."""
        self._scans.end(self._kinds[stream])
        return self._decided()

    def close(self) -> Iterable[daq.Batch]:
        """Give the scans that some inputs did not tell of, as not valid."""
        for kind in _KINDS:
            self._scans.end(kind)
        return self._decided()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 4 scans of all inputs, and 40 maps of 32 bytes per position (FFTs, padded)."""
        positions = max(
            math.prod(stream.fields[field].shape[-2:])
            for stream in streams.values()
            for field in ("tau", "ln_tau", "V")
            if field in stream.fields
        )
        return 4 * sum(s.record_bytes for s in streams.values()) + 40 * 32 * positions

    def _decided(self) -> Iterable[daq.Batch]:
        for scan, records in self._scans.decided():
            if len(records) < len(_KINDS) or (scan + 1) % self._every:
                yield from self._nothing(scan)
            else:
                yield from self._results(scan, records)

    def _results(self, scan: int, records: Mapping[str, Record]) -> Iterable[daq.Batch]:
        maps, order = records["ecm.maps"], records["fem.maps"]
        summary = {
            "time": maps["time"],
            "scan": np.array([scan]),
            "stage": maps["stage"],
            **{
                name: np.array([value])
                for name, value in summarised(
                    TauMaps(maps["tau"], maps["flag"], records["ecm.sectors"]["ln_tau"],
                            records["ecm.sectors"]["flag"]),
                    VMaps(order["V"], order["intensity"], records["fem.sectors"]["V"]),
                    self._step,
                ).items()
            },
        }  # fmt: skip
        yield daq.Batch("summary", summary)
        points = {"tau": maps["tau"], "V": order["V"], "flag": maps["flag"]}
        yield daq.Batch(
            "points",
            {
                "time": maps["time"],
                "scan": np.array([scan]),
                **{name: value[None] for name, value in points.items()},
            },
        )

    def _nothing(self, scan: int) -> Iterable[daq.Batch]:
        told = {"time": np.array([daq.NO_TIME], np.int64), "scan": np.array([scan])}
        valid = np.zeros(1, bool)
        numbers = {name: np.array([np.nan]) for name in _SUMMARY}
        yield daq.Batch("summary", {**told, "stage": np.array([-1]), **numbers}, valid=valid)
        nan = np.full((1, *self._shape), np.nan)
        flag = np.zeros((1, *self._shape), np.uint8)
        yield daq.Batch("points", {**told, "tau": nan, "V": nan, "flag": flag}, valid=valid)


Record = dict[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class TauMaps:
    """tau s [y, x] with its flag, and ln tau [set, y, x] of the two sector sets with theirs."""

    tau: npt.NDArray[np.float64]
    flag: npt.NDArray[np.uint8]
    sectors: npt.NDArray[np.float64]
    sector_flag: npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, slots=True)
class VMaps:
    """V and annular intensity [y, x], and V [set, y, x] of the two sector sets."""

    V: npt.NDArray[np.float64]
    intensity: npt.NDArray[np.float64]
    sectors: npt.NDArray[np.float64]


def summarised(tau: TauMaps, order: VMaps, step: float) -> dict[str, float]:
    """Return what ``structure_dynamics.summary`` says of one scan, ``step`` nm apart, by name."""
    from daq_stem.structure_dynamics import map_statistics as statistics

    whole = (tau.flag < NOT_CONVERGED) & ~np.isnan(tau.tau) & np.isfinite(order.V)
    # a bound says that tau is at least that much: it ranks above what is determined
    ranked = np.where(tau.flag == LOWER_BOUND, np.inf, tau.tau)
    naive = statistics.spearman(ranked[whole], order.V[whole])

    glass = (
        whole
        & (tau.sector_flag < NOT_CONVERGED).all(axis=0)
        & ~np.isnan(tau.sectors).any(axis=0)
        & np.isfinite(order.sectors).all(axis=0)
        & np.isfinite(order.intensity)
    )
    distances = statistics.Distances(glass, step)
    relation, fixed = statistics.Relation(), statistics.Relation()
    length = (math.nan, math.nan)
    if distances.count >= statistics.FEWEST_POSITIONS:
        relation, fixed = _relations(distances, tau.sectors, order.sectors, order.intensity)
        scores = [statistics.normal_scores(ln_tau[glass]) for ln_tau in tau.sectors]
        length = statistics.correlation_length(distances, (scores[0], scores[1]))
    corrected = math.isfinite(relation.correlation)
    return {
        "spearman": relation.correlation if corrected else relation.attenuated,
        "spearman_errors": relation.errors if corrected else relation.attenuated_errors,
        "corrected": float(corrected) if math.isfinite(relation.attenuated) else math.nan,
        "spearman_measurement_errors": relation.measurement_errors,
        "spearman_naive": naive,
        "spearman_disjoint": relation.attenuated,
        "spearman_disjoint_errors": relation.attenuated_errors,
        "p_value": relation.p_value,
        "n_effective": relation.n_effective,
        "spearman_fixed_intensity": fixed.correlation,
        "spearman_fixed_intensity_errors": fixed.errors,
        "reliability_tau": relation.reliability[0],
        "reliability_V": relation.reliability[1],
        "ln_tau_correlation_length": length[0],
        "ln_tau_correlation_length_errors": length[1],
    }


def _relations(
    distances: Distances,
    ln_tau: npt.NDArray[np.float64],
    V: npt.NDArray[np.float64],
    intensity: npt.NDArray[np.float64],
) -> tuple[Relation, Relation]:
    """The relation of tau and V, and the same with the intensity held fixed."""
    from daq_stem.structure_dynamics.map_statistics import ranks, relation, standardised, with_fixed

    def ranked(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return standardised(ranks(values[distances.mask]))

    tau, order = (ranked(ln_tau[0]), ranked(ln_tau[1])), (ranked(V[0]), ranked(V[1]))
    held = ranked(intensity)
    return relation(distances, tau, order), relation(
        distances,
        (with_fixed(tau[0], held), with_fixed(tau[1], held)),
        (with_fixed(order[0], held), with_fixed(order[1], held)),
    )


class _Scans:
    """Pairs the records of the four inputs by their scan, in order of scans.

    A scan is decided once no input can tell of it any more: each has given a later one, or that
    one, or has ended. A lost record does not say which scan it was: its index does.
    """

    def __init__(self, by_kind: Mapping[str, daq.Stream]) -> None:
        self._fields = {
            kind: [*fields, "time"] if kind == "ecm.maps" else list(fields)
            for kind, fields in _KINDS.items()
        }
        self._reached: dict[str, float] = dict.fromkeys(by_kind, -math.inf)
        self._waiting: dict[int, dict[str, Record]] = {}

    def push(self, kind: str, batch: daq.Batch, band: int) -> None:
        """Take records of one input; what does not come in order of scans is left out."""
        for at, index in enumerate(batch.indices.tolist()):
            valid = bool(batch.valid[at])
            last = self._reached[kind]
            scan = int(batch["scan"][at]) if valid else index
            if scan <= last:
                continue
            self._reached[kind] = scan
            records = self._waiting.setdefault(scan, {})
            if valid:
                records[kind] = {
                    name: _of_record(batch[name], at, band if kind.startswith("ecm") else None)
                    for name in self._fields[kind]
                }

    def end(self, kind: str) -> None:
        """That input gives no more."""
        self._reached[kind] = math.inf

    def decided(self) -> Iterable[tuple[int, dict[str, Record]]]:
        """Yield each scan that is decided with the records there are, and forget it."""
        upto = min(self._reached.values())
        for scan in sorted(scan for scan in self._waiting if scan <= upto):
            yield scan, self._waiting.pop(scan)


def _of_record(array: npt.NDArray[Any], at: int, band: int | None) -> npt.NDArray[Any]:
    """A copy of one record, of one band of it; a number keeps the record axis."""
    if array.ndim == 1:
        return array[at : at + 1].copy()
    return np.array(array[at] if band is None else array[at, band], order="C")


def _told_apart(streams: Mapping[str, daq.Stream]) -> dict[str, str]:
    """The kind of each input by name; ValueError unless each of the four is there once."""
    found: dict[str, str] = {}
    for name, stream in streams.items():
        axes = {field: len(entry.shape) for field, entry in stream.fields.items()}
        kinds = [kind for kind, fields in _KINDS.items() if fields.items() <= axes.items()]
        if not kinds:
            raise ValueError(f"{name} is none of {', '.join(_KINDS)}")
        if kinds[0] in found.values():
            raise ValueError(f"two inputs look like {kinds[0]}; {name} is one too many")
        found[name] = kinds[0]
    if lacking := [kind for kind in _KINDS if kind not in found.values()]:
        raise ValueError(f"structure_dynamics needs {', '.join(lacking)} too: add it to inputs")
    return found


def _step(name: str, axes: Sequence[Mapping[str, Any]]) -> float:
    """The step of both axes [y, x] in nm; ValueError where they do not say, or differ."""
    steps = [
        float(axis["step"])
        for axis in axes[-2:]
        if axis.get("units") == "nm" and isinstance(axis.get("step"), int | float)
    ]
    if len(steps) != 2 or not min(steps) > 0:
        raise ValueError(f"{name}: the axes of tau do not give their step in nm")
    if abs(steps[0] - steps[1]) > 1e-6 * steps[0]:
        raise ValueError(f"{name}: steps of {steps[0]:g} and {steps[1]:g} nm; they must be equal")
    return steps[0]
