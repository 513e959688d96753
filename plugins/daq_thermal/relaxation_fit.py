"""Enthalpy left after annealing: KWW at each temperature, and the Arrhenius line through tau.

    H(t_a) = H_0 exp(-(t_a/tau)^b),  ln tau = ln tau_0 + E/(R T_a)        (Zhu2016)

H_0, the sample as quenched, is a point like the others, at t_a = 0: its error then enters tau and
b as it should. It is the same point at every temperature, and so are standards that samples
share: the errors of the ln tau are correlated, and E knows it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from daq_relaxation.arrhenius_fit import fit_arrhenius
from daq_relaxation.kww_fit import DETERMINED, MASKED, fit_kww
from daq_relaxation.laws import R
from daq_thermal.readings import Floats

LEAST: Final = 3
"""Annealed samples that a KWW fit needs, besides the quenched one."""


ONE_SIGMA: Final = 0.8413447460685429
"""Probability below one standard deviation of a Gaussian."""


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """The enthalpy left in one sample, J/g.

    ``own`` and ``shared`` are standard errors: of the sample itself, and of its standard, which
    points with the same ``standard`` have in common. K, s.
    """

    temperature: float
    seconds: float
    enthalpy: float
    own: float
    shared: float
    standard: int


@dataclasses.dataclass(frozen=True, slots=True)
class Decay:
    """The KWW fit at one temperature.

    ``flag`` as in `daq_relaxation.kww_fit`; tau in s. ``reduced_chi2`` far above 1: samples
    scatter by more than their noise. ``quenched`` is the fitted H_0, J/g. ``by_point`` [point]
    is d ln tau / dH of every point that the fits have, in their order: 0 for other temperatures.
    """

    temperature: float
    count: int
    ln_tau: float
    ln_tau_error: float
    b: float
    b_error: float
    quenched: float
    reduced_chi2: float
    flag: int
    by_point: Floats
    scatter: float = 1.0
    """What errors were multiplied with, see `fit_decays`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """ln tau = ln_tau0 + E/(R T); E in J/mol; weighted by errors, and not (``plain``)."""

    count: int
    ln_tau0: float
    ln_tau0_error: float
    energy: float
    energy_error: float
    chi2: float
    plain_energy: float
    plain_energy_error: float


def covariance(points: Sequence[Point], reproducibility: float = 0.0) -> Floats:
    """Return [point, point]: own variances, and those of standards that points share."""
    own = np.array([p.own for p in points]) ** 2 + reproducibility**2
    standards = np.array([p.standard for p in points])
    shared = np.array([p.shared for p in points])
    same = standards[:, None] == standards[None, :]
    return np.asarray(np.diag(own) + same * shared[:, None] * shared[None, :])


def fit_decays(
    points: Sequence[Point], reproducibility: float | None = None, b: float | None = None
) -> list[Decay]:
    """Fit every annealing temperature, in order of temperature.

    Parameters
    ----------
    points
        Of all temperatures, and those as quenched (seconds 0), which take part in every fit.
    reproducibility
        Standard deviation of one sample from the next, J/g, besides the noise.
        None: errors are multiplied so that the scatter of all fits together is explained (by the
        root of their reduced chi2, where that is above 1, and Student's factor for its few
        degrees of freedom).
    b
        Held at this; None: fitted.

    Raises
    ------
    ValueError
        No sample as quenched.
    """
    quenched = [i for i, p in enumerate(points) if p.seconds == 0]
    if not quenched:
        raise ValueError("a sample as quenched (annealing_time 0) is needed: it is the whole")
    whole = covariance(points, reproducibility or 0.0)
    found: list[Decay] = []
    chi2 = dof = 0.0
    for T in sorted({p.temperature for p in points if p.seconds > 0}):
        at = [i for i, p in enumerate(points) if p.seconds > 0 and p.temperature == T]
        used = quenched + at
        H = np.array([points[i].enthalpy for i in used])
        t = np.array([points[i].seconds for i in used])
        none = np.zeros(len(points))
        needed = LEAST if b is None else LEAST - 1
        if len(at) < needed or len(set(t.tolist())) < needed + 1:
            nan = float("nan")
            found.append(Decay(T, len(at), nan, nan, nan, nan, nan, nan, MASKED, none))
            continue
        fixed = {"baseline": 0.0} | ({} if b is None else {"shape": b})
        precision = np.linalg.inv(whole[np.ix_(used, used)])
        # beside the fit itself, one for each point moved by a little: how tau follows it
        small = 0.1 * np.sqrt(np.diagonal(whole)[used])
        moved = np.concatenate([H[None], H + np.diag(small), H - np.diag(small)])
        fit = fit_kww(
            t, moved, form="decay", precision=(precision + precision.T) / 2, fixed=fixed,
            bounds={"ln_tau": (np.log(t[t > 0].min() / 100), np.log(t.max() * 1e8))},
        )  # fmt: skip
        n = len(used)
        none[used] = (fit.ln_tau[1 : n + 1] - fit.ln_tau[n + 1 :]) / (2 * small)
        error = fit.errors[0]
        if fit.flag[0] == DETERMINED:
            chi2, dof = chi2 + float(fit.chi2[0]), dof + float(fit.dof[0])
        found.append(
            Decay(
                T,
                len(at),
                float(fit.ln_tau[0]),
                float(error[1]),
                float(fit.shape[0]),
                float(error[2]),
                float(fit.amplitude[0]),
                float(fit.chi2[0] / fit.dof[0]) if fit.dof[0] > 0 else float("nan"),
                int(fit.flag[0]),
                none,
            )
        )
    scatter = 1.0
    if reproducibility is None and chi2 > dof > 0:
        from scipy.stats import t as student

        scatter = float(np.sqrt(chi2 / dof) * student.ppf(ONE_SIGMA, dof))
    return [
        dataclasses.replace(
            d, ln_tau_error=d.ln_tau_error * scatter, b_error=d.b_error * scatter, scatter=scatter
        )
        for d in found
    ]


def fit_line(
    decays: Sequence[Decay], points: Sequence[Point], reproducibility: float | None = None
) -> Line | None:
    """Fit the Arrhenius line through the decays that are determined; None: fewer than two.

    Its errors come from those of the points through all that they have in common. That of
    ``plain_energy`` comes from the scatter about the line, as published ones do (NaN for two
    temperatures).
    """
    good = [d for d in decays if d.flag == DETERMINED and np.isfinite(d.ln_tau_error)]
    if len(good) < 2:
        return None
    T = np.array([d.temperature for d in good])
    ln_tau = np.array([d.ln_tau for d in good])
    fit = fit_arrhenius(T, ln_tau, np.array([d.ln_tau_error for d in good]), scaled=False)
    assert fit.weighted is not None
    weights = np.array([d.ln_tau_error for d in good]) ** -2
    x = 1 / (R * T)
    centre = np.sum(weights * x) / np.sum(weights)
    # both parameters are sums over ln tau, those are near enough sums over the points
    slope = weights * (x - centre) / np.sum(weights * (x - centre) ** 2)
    level = weights / np.sum(weights) - centre * slope
    through = np.stack([d.by_point for d in good])
    spread = through @ covariance(points, reproducibility or 0.0) @ through.T
    spread = spread * good[0].scatter ** 2
    return Line(
        len(good), fit.weighted.ln_tau_inf, float(np.sqrt(level @ spread @ level)),
        fit.weighted.energy, float(np.sqrt(slope @ spread @ slope)), fit.weighted.chi2,
        fit.unweighted.energy, fit.unweighted.energy_error,
    )  # fmt: skip
