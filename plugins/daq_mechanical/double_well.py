"""The asymmetric double-well model of the beta relaxation while a glass ages.

    tau_beta = tau_0 exp((2 U + Delta)/(2 k T)) / cosh(Delta/(2 k T))           (Qiao2019, 2-9)
    G''_max  = G''_0 / cosh^2(Delta/(2 k T))

so that ln tau_beta = b - a ln G''_max while Delta grows, with a near U/Delta (2-10 to 2-12). (In the
review cosh^-1 stands for 1/cosh.) U and Delta are energies in J/mol here, with R for k.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_mechanical.time_steps import record, single
from daq_relaxation.laws import Numbers, R

Floats = npt.NDArray[np.float64]

SLOTS: Final = 64
"""States that ``fit`` has room for, for drawing."""
NEEDED: Final = (
    "ln_tau_beta", "ln_tau_beta_errors", "ln_loss_max", "ln_loss_max_errors", "covariance", "flag",
)  # fmt: skip


def well_ln_tau(T: Numbers, U: Numbers, Delta: Numbers, ln_tau0: Numbers = 0.0) -> Numbers:
    """Return ln tau_beta of 2-9; T in K, U and Delta in J/mol."""
    half = np.asarray(Delta) / (2 * R * np.asarray(T))
    return ln_tau0 + np.asarray(U) / (R * np.asarray(T)) + half - _ln_cosh(half)


def well_ln_loss(T: Numbers, Delta: Numbers, ln_loss0: Numbers = 0.0) -> Numbers:
    """Return ln G''_max of 2-9; T in K, Delta in J/mol."""
    return ln_loss0 - 2 * _ln_cosh(np.asarray(Delta) / (2 * R * np.asarray(T)))


def well_slope(T: Numbers, U: Numbers, Delta: Numbers) -> Numbers:
    """Return a of 2-12, for Delta far above 2 R T: (U/RT + ln 2)/(Delta/RT - 2 ln 2).

    The review has it from both pre-factors being 1: a is (ln tau - ln tau_0)/(ln G''_0 - ln G''_max),
    the slope of the line from the symmetric well, not that of the tangent.
    """
    kT = R * np.asarray(T)
    return (np.asarray(U) / kT + math.log(2)) / (np.asarray(Delta) / kT - 2 * math.log(2))


def _ln_cosh(x: Numbers) -> Any:
    away = np.abs(x)
    return away + np.log1p(np.exp(-2 * away)) - math.log(2)


@dataclasses.dataclass(frozen=True, slots=True)
class Slope:
    """ln tau = intercept - slope ln G''_max: ``covariance`` [2, 2] of (slope, intercept)."""

    slope: float
    intercept: float
    covariance: Floats
    chi2: float
    dof: int


def fit_slope(
    ln_loss: npt.ArrayLike, ln_tau: npt.ArrayLike, loss_errors: npt.ArrayLike,
    tau_errors: npt.ArrayLike, covariance: npt.ArrayLike,
) -> Slope:  # fmt: skip
    """Fit a line whose points have errors in both directions, correlated; all [n].

    Minimised is sum (ln tau + a ln G'' - b)^2 / (s_tau^2 + a^2 s_G^2 + 2 a c): the effective
    variance (York 1968). Errors are those of the points, times sqrt(chi2/dof) where that is above 1.

    Raises
    ------
    ValueError
        Fewer than three points, or all at one loss.
    """
    from scipy.optimize import minimize_scalar

    x, y = np.asarray(ln_loss, np.float64), np.asarray(ln_tau, np.float64)
    sx, sy = np.asarray(loss_errors, np.float64), np.asarray(tau_errors, np.float64)
    c = np.asarray(covariance, np.float64)
    if len(x) < 3 or not np.ptp(x) > 0:
        raise ValueError("a double-well slope needs three states, of different loss")

    def weights(a: float) -> Floats:
        return np.asarray(1 / (sy**2 + a**2 * sx**2 + 2 * a * c))

    def cost(a: float) -> float:
        w = weights(a)
        rest = y + a * x
        return float(np.sum(w * (rest - np.sum(w * rest) / np.sum(w)) ** 2))

    plain = -np.polyfit(x, y, 1)[0]
    reach = 3 * abs(plain) + 3
    grid = np.linspace(plain - reach, plain + reach, 61)
    near = float(grid[int(np.argmin([cost(float(a)) for a in grid]))])
    step = grid[1] - grid[0]
    a = float(minimize_scalar(cost, (near - step, near, near + step), tol=1e-10).x)
    w = weights(a)
    b = float(np.sum(w * (y + a * x)) / np.sum(w))
    # the points as the line has them: noise in x would narrow the error
    adjusted = x - w * (a * sx**2 + c) * (y + a * x - b)
    A = np.stack([-adjusted, np.ones_like(x)], axis=1)
    C = np.linalg.inv(A.T @ (A * w[:, None]))
    chi2, dof = cost(a), len(x) - 2
    return Slope(a, b, C * max(1.0, chi2 / dof), chi2, dof)


class DoubleWell(daq.Analysis):
    """The slope a of ln tau_beta = b - a ln G''_max over the states of an ageing glass.

    Takes the stream ``states`` of `ageing`; states with another flag than 0 are left out. Gives:

    ``fit``
        After each state from the third on: ``slope`` a (about U/Delta), ``intercept`` b, with
        ``_errors``; ``chi2``, ``dof`` (far above 1: no line, the model does not hold); ``states``,
        ``left_out``. For drawing, NaN after the last: ``ln_loss_max`` and ``ln_tau_beta`` with
        ``_errors``, ``line``.
    """

    name = "double_well"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "double_well"`` may say."""

        sample: int | None = daq.setting(None, "", "which sample counts; by default all")

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is not one of states."""
        stream = single(streams, self.name)
        for field in (*NEEDED, "sample"):
            if field not in stream.fields:
                raise ValueError(
                    f"{stream.name} has no field {field!r}: the input is the stream 'states' of an "
                    'analysis of type "ageing"'
                )
        self._config = config
        self._states: list[tuple[float, ...]] = []
        self._left_out = 0
        plain, number = daq.Field("<f8"), daq.Field("<i4")
        row = daq.Field("<f8", (SLOTS,))
        return [
            daq.Stream(
                "fit",
                {
                    "slope": daq.Field("<f8", (), "", "a, about U/Delta"), "slope_errors": plain,
                    "intercept": plain, "intercept_errors": plain,
                    "chi2": plain, "dof": number, "states": number, "left_out": number,
                    "ln_loss_max": daq.Field("<f8", (SLOTS,), "", "ln of the loss maximum in Pa"),
                    "ln_loss_max_errors": row,
                    "ln_tau_beta": daq.Field("<f8", (SLOTS,), "", "ln of tau in s"),
                    "ln_tau_beta_errors": row, "line": row,
                },
            )
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take each state and fit anew."""
        for i in range(len(batch)):
            wanted = self._config.sample
            if not batch.valid[i] or wanted not in (None, int(batch["sample"][i])):
                continue
            state = tuple(float(batch[field][i]) for field in NEEDED)
            if state[5] != 0 or not all(map(math.isfinite, state)):
                self._left_out += 1
                continue
            self._states.append(state)
            if len(self._states) >= 3 and len({s[2] for s in self._states}) >= 2:
                yield self._fitted(int(batch.time[i]))

    def reconfigure(self, config: Any) -> None:
        """Take other samples from the next state on."""
        self._config = config

    def _fitted(self, time: int) -> daq.Batch:
        ln_tau, tau_errors, ln_loss, loss_errors, covariance, _ = np.array(self._states).T
        fit = fit_slope(ln_loss, ln_tau, loss_errors, tau_errors, covariance)
        errors = np.sqrt(np.diagonal(fit.covariance))
        rows = np.full((5, SLOTS), np.nan)
        columns = (ln_loss, loss_errors, ln_tau, tau_errors, fit.intercept - fit.slope * ln_loss)
        for k, column in enumerate(columns):
            rows[k, : min(len(column), SLOTS)] = column[:SLOTS]
        return record("fit", time, {
            "slope": fit.slope, "slope_errors": errors[0],
            "intercept": fit.intercept, "intercept_errors": errors[1],
            "chi2": fit.chi2, "dof": np.int32(fit.dof), "states": np.int32(len(self._states)),
            "left_out": np.int32(self._left_out),
            "ln_loss_max": rows[0], "ln_loss_max_errors": rows[1],
            "ln_tau_beta": rows[2], "ln_tau_beta_errors": rows[3], "line": rows[4],
        })  # fmt: skip
