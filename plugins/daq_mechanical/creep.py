"""Creep: elastic, delayed and viscous strain of each step, refit as points arrive; the viscosity."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np

import daq
from daq_mechanical.time_steps import Floats, Step, StepConfig, Steps, record, single

POINTS: Final = 256
"""Points that ``fits`` shows for drawing."""

DETERMINED: Final = 0
NOT_STEADY: Final = 1
"""Flag: the flow is not told from what is delayed; take ``viscosity_lower``."""
NO_DELAY: Final = 2
"""Flag: no delayed strain is seen, tau and b say nothing; the viscosity stands."""
NOT_CONVERGED: Final = 3
TOO_FEW: Final = 4

STEADY: Final = 2.0
"""How many standard errors above 0 the flow must be."""
BETTER: Final = 6.0
"""By how much AICc must fall before a stretched creep is taken for a Burgers body."""


@dataclasses.dataclass(frozen=True, slots=True)
class CreepFit:
    """strain(t) = instantaneous + delayed [1 - exp(-(t/tau)^b)] + rate t.

    ``parameters`` [5] are instantaneous, delayed, rate (1/s), ln tau (s), b; ``covariance`` [5, 5],
    scaled by the scatter, 0 for b where it is held. ``aicc`` compares fits to the same points.
    """

    parameters: Floats
    covariance: Floats
    chi2: float
    dof: int
    aicc: float
    flag: int

    @property
    def errors(self) -> Floats:
        """[5]: standard errors."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance)))

    def strain(self, t: Floats) -> Floats:
        """Return the fitted strain."""
        return _basis(t, self.parameters[3], self.parameters[4]) @ self.parameters[:3]


def fit_creep(t: Floats, strain: Floats, weights: Floats, b: float | None = 1.0) -> CreepFit:
    """Fit creep; with b = 1 it is a Burgers body, with b None a stretched one.

    At a given tau and b the rest is a straight line through a matrix, so tau and b are sought
    on a grid, then all five refined (Levenberg-Marquardt). tau stays between the first point and
    three times the last, b between 0.2 and 1.

    Parameters
    ----------
    t
        [n], s, above 0, rising.
    strain
        [n].
    weights
        [n], relative: how many readings a point holds.
    b
        Held at this; None: free.

    Raises
    ------
    ValueError
        Fewer points than parameters and one.
    """
    from scipy.optimize import least_squares

    free = 4 if b is not None else 5
    if len(t) < free + 1:
        raise ValueError(f"creep needs {free + 1} points, not {len(t)}")
    root = np.sqrt(weights)
    low, high = math.log(t[0]), math.log(3 * t[-1])
    best: tuple[float, Floats] | None = None
    for shape in (0.3, 0.5, 0.75, 1.0) if b is None else (b,):
        for u in np.linspace(low, high, 3 * max(2, round(high - low))):
            linear = _basis(t, float(u), shape) * root[:, None]
            found, *_ = np.linalg.lstsq(linear, strain * root, rcond=None)
            chi2 = float(np.sum((strain * root - linear @ found) ** 2))
            if best is None or chi2 < best[0]:
                best = chi2, np.array([*found, u, shape])
    assert best is not None
    start = best[1]
    scale = max(float(np.ptp(strain)), 1e-30)
    unit = np.array([scale, scale, scale / t[-1], 1.0, 1.0])

    def whole(p: Floats) -> Floats:
        return np.append(p, 1.0)[:5] * unit if b is None else np.array([*(p * unit[:4]), b])

    def residual(p: Floats) -> Floats:
        q = whole(p)
        return np.asarray((_basis(t, q[3], q[4]) @ q[:3] - strain) * root / scale)

    def slope(p: Floats) -> Floats:
        return np.asarray(_jacobian(t, whole(p))[:, :free] * unit[:free] * root[:, None] / scale)

    lower = np.array([-np.inf, -np.inf, -np.inf, low, 0.2])[:free]
    upper = np.array([np.inf, np.inf, np.inf, high, 1.0])[:free]
    begin = np.clip((start / unit)[:free], lower + 1e-9, upper - 1e-9)
    result = least_squares(residual, begin, slope, bounds=(lower, upper), x_scale="jac")
    parameters = whole(result.x)
    chi2, dof = 2 * float(result.cost) * scale**2, len(t) - free
    J = _jacobian(t, parameters)[:, :free] * root[:, None]
    inside = (result.x - lower > 1e-6) & (upper - result.x > 1e-6)
    covariance = np.zeros((5, 5))
    kept = np.flatnonzero(inside)
    try:
        # in units in which all columns are alike: rates and strains differ by ten decades
        norm = np.linalg.norm(J[:, kept], axis=0)
        inverse = np.linalg.inv((J[:, kept] / norm).T @ (J[:, kept] / norm))
        covariance[np.ix_(kept, kept)] = inverse / np.outer(norm, norm) * chi2 / dof
    except np.linalg.LinAlgError:
        covariance[:] = np.nan
    for i in np.flatnonzero(~inside):
        covariance[i, :] = covariance[:, i] = np.nan
    n = len(t)
    k = free + 1
    aicc = n * math.log(max(chi2, 1e-300) / n) + 2 * k + 2 * k * (k + 1) / max(n - k - 1, 0.5)
    return CreepFit(
        parameters, covariance, chi2, dof, aicc,
        _flag(parameters, covariance, bool(result.success), float(t[-1])),
    )  # fmt: skip


def _flag(p: Floats, C: Floats, success: bool, last: float) -> int:
    errors = np.sqrt(np.diagonal(C))
    if not success or not np.all(np.isfinite(errors[:3])):
        return NOT_CONVERGED
    if p[3] > math.log(last) or not p[2] > STEADY * errors[2]:
        return NOT_STEADY
    if not abs(p[1]) > STEADY * errors[1]:
        return NO_DELAY
    return DETERMINED


def _basis(t: Floats, ln_tau: float, b: float) -> Floats:
    decayed = -np.expm1(-np.exp(np.minimum(b * (np.log(t) - ln_tau), 50.0)))
    return np.stack([np.ones_like(t), decayed, t], axis=1)


def _jacobian(t: Floats, p: Floats) -> Floats:
    x = np.log(t) - p[3]
    power = np.exp(np.minimum(p[4] * x, 50.0))
    left = p[1] * power * np.exp(-power)
    return np.column_stack([_basis(t, p[3], p[4]), -p[4] * left, x * left])


class Creep(daq.Analysis):
    """Strain at a held stress: instantaneous, delayed (Burgers or KWW), and flow.

    strain(t) = e_0 + e_d [1 - exp(-(t/tau)^b)] + t sigma/(c eta); b = 1 is the Burgers body. c is 3
    in tension and compression, 1 in shear (``geometry``). Takes readings of ``temperature`` K,
    ``strain`` and ``stress`` Pa, as `stress_relaxation` does. Gives:

    ``fits``
        A record for each point that arrives, and one with ``final`` at the end of a step:
        ``viscosity`` Pa s, ``rate`` 1/s, ``instantaneous``, ``delayed`` (1), ``ln_tau`` (s), ``b``,
        ``modulus`` Pa (stress over instantaneous strain), each with ``_errors``;
        ``viscosity_lower`` Pa s, one-sided at 84 %; ``stretched`` 1 where KWW is better than
        Burgers by `BETTER` in AICc, which is ``aicc_gain``; ``noise``, the scatter of a reading;
        ``flag``: 0 determined, 1 not steady yet (take ``viscosity_lower``), 2 nothing delayed, 3
        not converged, 4 too few points. For drawing: ``point_elapsed`` s, ``point_strain``,
        ``curve``.
    """

    name = "creep"

    class Config(StepConfig):
        """What ``[analyses.NAME]`` with ``type = "creep"`` may say."""

        model: Literal["burgers", "kww", "better"] = daq.setting(
            "better", "", "of what is delayed; better: KWW where AICc calls for it"
        )
        geometry: Literal["tension", "shear"] = daq.setting("tension", "", "of the loading")
        stress: float | None = daq.setting(None, "Pa", "that is held, if not measured", gt=0)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it has no strain, or the stress is not known."""
        stream = single(streams, self.name)
        if "stress" not in stream.fields and config.stress is None:
            raise ValueError(f"{stream.name} has no field 'stress': say stress = ... (Pa)")
        self._steps = Steps(stream, "strain", "stress", config)
        self._config = config
        plain, number = daq.Field("<f8"), daq.Field("<i4")
        viscosity = daq.Field("<f8", (), "Pa s", "viscosity")
        modulus = daq.Field("<f8", (), "Pa", "stress over instantaneous strain")
        rate = daq.Field("<f8", (), "1/s", "steady strain rate")
        ln_s = daq.Field("<f8", (), "", "ln of tau in s")
        fits = {
            "temperature": daq.Field("<f8", (), "K", "temperature"),
            "segment": number, "sample": number, "final": daq.Field("|u1"),
            "stress": daq.Field("<f8", (), "Pa", "stress that is held"),
            "elapsed": daq.Field("<f8", (), "s", "time since the step began"),
            "viscosity": viscosity, "viscosity_errors": viscosity, "viscosity_lower": viscosity,
            "rate": rate, "rate_errors": rate, "modulus": modulus, "modulus_errors": modulus,
            "instantaneous": plain, "instantaneous_errors": plain,
            "delayed": plain, "delayed_errors": plain,
            "ln_tau": ln_s, "ln_tau_errors": ln_s, "b": plain, "b_errors": plain,
            "stretched": daq.Field("|u1"), "aicc_gain": plain, "noise": plain,
            "points": number, "readings": number, "left_out": number, "flag": daq.Field("|u1"),
            "point_elapsed": daq.Field("<f8", (POINTS,), "s", "time since the step began"),
            "point_strain": daq.Field("<f8", (POINTS,), "", "strain"),
            "curve": daq.Field("<f8", (POINTS,), "", "fit"),
        }  # fmt: skip
        return [daq.Stream("fits", fits)]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take readings and fit anew at each point."""
        for step, ended in self._steps.push(batch):
            yield self._fitted(step, ended)

    def close(self) -> Iterable[daq.Batch]:
        """Fit the last step."""
        for step, ended in self._steps.close():
            yield self._fitted(step, ended)

    def reconfigure(self, config: Any) -> None:
        """Fit otherwise from the next reading on."""
        self._config = self._steps.config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a step of ten decades and its fits need."""
        return 480 * 400 + 64 * 8 * (3 * POINTS + 40)

    def _fitted(self, step: Step, ended: bool) -> daq.Batch:
        t, strain, weights = step.points
        if strain[-1] < 0:  # compression: strains count in the direction of the load
            strain = -strain
        config = self._config
        fit: CreepFit | None = None
        gain = math.nan
        if len(t) >= max(config.least, 7):
            if config.model != "kww":
                fit = fit_creep(t, strain, weights)
            if config.model != "burgers":
                stretched = fit_creep(t, strain, weights, None)
                if fit is not None:
                    gain = fit.aicc - stretched.aicc
                if fit is None or gain > BETTER:
                    fit = stretched
        stress = step.mean_load if math.isfinite(step.mean_load) else config.stress
        stress = math.nan if stress is None else abs(stress)
        p, e = np.full(5, math.nan), np.full(5, math.nan)
        noise, flag = math.nan, TOO_FEW
        shown = np.full((3, POINTS), math.nan)
        kept = slice(max(0, len(t) - POINTS), None)
        count = len(t[kept])
        shown[0, :count], shown[1, :count] = t[kept], strain[kept]
        if fit is not None:
            p, e, flag = fit.parameters, fit.errors, fit.flag
            noise = math.sqrt(fit.chi2 / fit.dof)
            shown[2, :count] = fit.strain(t[kept])
        flow = stress / (3.0 if config.geometry == "tension" else 1.0)
        rate = p[2] if flag in (DETERMINED, NO_DELAY) else math.nan
        fastest = max(p[2], 0.0) + e[2]
        return record("fits", step.time, {
            "temperature": step.temperature, "segment": np.int32(step.segment),
            "sample": np.int32(step.sample), "final": np.uint8(ended), "stress": stress,
            "elapsed": step.elapsed,
            "viscosity": flow / rate, "viscosity_errors": flow / rate * e[2] / rate,
            "viscosity_lower": flow / fastest if fastest > 0 else math.nan,
            "rate": p[2], "rate_errors": e[2],
            "modulus": stress / p[0] if p[0] > 0 else math.nan,
            "modulus_errors": stress / p[0] * e[0] / p[0] if p[0] > 0 else math.nan,
            "instantaneous": p[0], "instantaneous_errors": e[0],
            "delayed": p[1], "delayed_errors": e[1], "ln_tau": p[3], "ln_tau_errors": e[3],
            "b": p[4], "b_errors": e[4],
            "stretched": np.uint8(math.isfinite(p[4]) and p[4] != 1.0),
            "aicc_gain": gain, "noise": noise, "points": np.int32(len(t)),
            "readings": np.int32(step.readings), "left_out": np.int32(step.left_out),
            "flag": np.uint8(flag),
            "point_elapsed": shown[0], "point_strain": shown[1], "curve": shown[2],
        })  # fmt: skip
