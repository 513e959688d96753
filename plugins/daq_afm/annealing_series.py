"""Correlation lengths of several places and annealing times: means, and how fast the domains shrink.

    F(t_a) = (xi/xi_0)^3 = exp(-(t_a/tau)^b)        (Zhu2016)

What is fitted is xi^3, weighted by its errors, with xi_0 a point like the others at t_a = 0: the error of
xi_0 then enters tau and b as it should. A fit to xi itself would shift ln tau by 3.8.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from daq_relaxation.kww_fit import MASKED, fit_kww

LEAST: Final = 3
"""Annealing times that a KWW fit needs, besides the quenched sample; one less where b is held."""
ONE_SIGMA: Final = 0.8413447460685429
"""Probability below one standard deviation of a Gaussian."""

UNLIKELY: Final = 0.01
"""Chance of a chi2 about the curve below which errors are multiplied with its reduced root. Above,
they are not: widened by chance alone they would cover too much."""

Key = tuple[float, float]
"""Annealing temperature (K, NaN as quenched) and time (s)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """The correlation length in one image, nm, and the sigma of the channel."""

    place: int
    length: float
    error: float
    sigma: float


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Places with the same history; an image more of the same place is no new place.

    Parameters
    ----------
    temperature, seconds
        Of the annealing, K (NaN as quenched) and s.
    places
        How many.
    length, sd, error
        nm: mean of xi over places, standard deviation from place to place (NaN for one), and
        error of the mean from those of the images.
    sigma, sigma_sd
        Mean and standard deviation likewise, of sigma.
    """

    temperature: float
    seconds: float
    places: int
    length: float
    sd: float
    error: float
    sigma: float
    sigma_sd: float


@dataclasses.dataclass(frozen=True, slots=True)
class Shrinkage:
    """The KWW fit at one temperature; flags of `daq_relaxation.kww_fit`, tau in s.

    ``quenched`` is the fitted xi_0, nm. ``reduced_chi2``: of means about the curve, by the errors of
    the images and what places scatter. ``scatter``: what the errors were multiplied with in all, as
    places differ by more than their errors, or means do not lie on the curve (see `UNLIKELY`).
    """

    temperature: float
    times: int
    ln_tau: float
    ln_tau_error: float
    b: float
    b_error: float
    quenched: float
    quenched_error: float
    reduced_chi2: float
    scatter: float
    flag: int


class AnnealingSeries:
    """Collects the correlation lengths of images."""

    def __init__(self) -> None:
        self._images: dict[int, tuple[Key, Place]] = {}
        self.temperatures: list[float] = []
        """Annealing temperatures in the order in which they came."""

    def add(self, scan: int, temperature: float, seconds: float, place: Place) -> Key:
        """Take the result of an image, in the place of an earlier one of the same scan."""
        key = (float("nan") if seconds == 0 else temperature, seconds)
        self._images[scan] = (key, place)
        if seconds > 0 and temperature not in self.temperatures:
            self.temperatures.append(temperature)
        return key

    def group(self, key: Key) -> Group:
        """Return the mean over places of one annealing."""
        # compared as text: NaN, of the quenched sample, is the same as itself
        return _group(key, [p for k, p in self._images.values() if str(k) == str(key)])

    def groups(self) -> list[Group]:
        """Return all groups, quenched first, then by temperature and time."""
        keys = {str(key): key for key, _ in self._images.values()}
        order = sorted(keys.values(), key=lambda k: (k[1] > 0, k[0] if k[1] > 0 else 0.0, k[1]))
        return [self.group(key) for key in order]

    def scatter(self) -> float:
        """Return what errors are to be multiplied with, as places scatter: at least 1.

        The root of the reduced chi2 of all places about the means of their groups, where that is
        above 1, times Student's factor for its degrees of freedom.
        """
        chi2, dof = 0.0, 0
        for group in self.groups():
            places = self._of(group)
            chi2 += sum(((p.length - group.length) / p.error) ** 2 for p in places)
            dof += len(places) - 1
        if not chi2 > dof > 0:
            return 1.0
        from scipy.stats import t as student

        return float(np.sqrt(chi2 / dof) * student.ppf(ONE_SIGMA, dof))

    def fit(self, temperature: float, b: float | None = None) -> Shrinkage | None:
        """Fit the annealing at one temperature; None without a quenched sample.

        ``b``: held at this.
        """
        groups = self.groups()
        at = [g for g in groups if g.seconds == 0 or g.temperature == temperature]
        if not any(g.seconds == 0 for g in at):
            return None
        scatter = self.scatter()
        times = len(at) - 1
        t = np.array([g.seconds for g in at])
        volume = np.array([g.length for g in at]) ** 3
        error = scatter * np.array([3 * g.length**2 * g.error for g in at])
        nan = float("nan")
        if times < (LEAST if b is None else LEAST - 1) or not np.all(error > 0):
            return Shrinkage(temperature, times, nan, nan, nan, nan, nan, nan, nan, scatter, MASKED)
        fixed = {"baseline": 0.0} | ({} if b is None else {"shape": b})
        fit = fit_kww(
            t, volume[np.newaxis], form="decay", weights=error**-2, fixed=fixed,
            bounds={"ln_tau": (np.log(t[t > 0].min() / 100), np.log(t.max() * 1e8))},
        )  # fmt: skip
        chi2, dof = float(fit.chi2[0]), int(fit.dof[0])
        wider = _misfit(chi2, dof)
        scatter *= wider
        amplitude_error, ln_tau_error, b_error, _ = wider * fit.errors[0]
        quenched = float(np.cbrt(fit.amplitude[0]))
        return Shrinkage(
            temperature,
            times,
            float(fit.ln_tau[0]),
            float(ln_tau_error),
            float(fit.shape[0]),
            float(b_error),
            quenched,
            float(amplitude_error / (3 * quenched**2)) if quenched > 0 else nan,
            chi2 / dof if dof > 0 else nan,
            scatter,
            int(fit.flag[0]),
        )

    def _of(self, group: Group) -> list[Place]:
        key = str((group.temperature, group.seconds))
        return _places([p for k, p in self._images.values() if str(k) == key])


def _misfit(chi2: float, dof: int) -> float:
    """Return by how much errors are to be widened, as the means do not lie on the curve."""
    if not (dof > 0 and chi2 > dof):
        return 1.0
    from scipy.special import chdtrc

    return float(np.sqrt(chi2 / dof)) if chdtrc(dof, chi2) < UNLIKELY else 1.0


def _places(images: list[Place]) -> list[Place]:
    """Return one entry per place, the mean of its images; they show the same domains."""
    found = []
    for number in sorted({p.place for p in images}):
        same = [p for p in images if p.place == number]
        found.append(
            Place(
                number,
                float(np.mean([p.length for p in same])),
                float(np.mean([p.error for p in same])),
                float(np.mean([p.sigma for p in same])),
            )
        )
    return found


def _group(key: Key, images: list[Place]) -> Group:
    places = _places(images)
    length = np.array([p.length for p in places])
    error = np.array([p.error for p in places])
    sigma = np.array([p.sigma for p in places])
    several = len(places) > 1
    # not weighted: an image with a small xi by chance has a small error too
    return Group(
        key[0],
        key[1],
        len(places),
        float(length.mean()),
        float(length.std(ddof=1)) if several else float("nan"),
        float(np.sqrt(np.sum(error**2)) / len(places)),
        float(sigma.mean()),
        float(sigma.std(ddof=1)) if several else float("nan"),
    )
