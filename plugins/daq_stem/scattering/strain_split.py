"""How much of a strain is elastic: the l = 2 part of the pair distribution, told apart by its shape."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daq_stem.scattering.pair_distribution import second_matrix, split_strain, uniaxial_second

Floats = npt.NDArray[np.float64]

HEAD = """\
l = 2 part of the pair distribution, 4 pi r rho_0 g_2^0, of a crept sample, by its strain.
r (nm)   1/nm^2"""


class StrainSplit:
    """Elastic and anelastic part of a uniaxial strain across the beam (Qiao2019, eqs. 3-2 to 3-4).

    All shapes are G_2 = 4 pi r rho_0 g_2^0(r) = -2/pi r integral of S_2^0(Q) j_2(Q r) Q^2 dQ, in
    1/nm^2, so that no density is needed. The shape of an affine (elastic) strain is that of

        S_2^0 = eps 2 (1 + nu) / (3 sqrt 5) Q dS_0/dQ,

    eq. 3-3 before its transform: it then ends at the same Q, and is damped, as what is measured. The
    slope is that of a cubic spline.

    Parameters
    ----------
    q, r
        4 pi sin(theta) / lambda (1/nm), and distances (nm); both rise.
    axis
        Direction of the strain, degrees from +x towards +y.
    poisson
        Poisson's ratio.
    fit
        Distances between which shapes are compared, nm.
    damped
        By Lorch's window.
    applied, crept
        The whole strain, and G_2 [r] of a crept sample by its strain; without either there is no split.
    """

    def __init__(
        self, q: Floats, r: Floats, *, axis: float, poisson: float, fit: tuple[float, float],
        damped: bool, applied: float | None, crept: Floats | None,
    ) -> None:  # fmt: skip
        from scipy.interpolate import CubicSpline

        self._to_r = 2 / math.pi * r[:, None] * second_matrix(q, r, damped=damped)
        slope = CubicSpline(q, np.eye(len(q)))(q, 1)
        self._affine = 2 * (1 + poisson) / (3 * math.sqrt(5)) * q[:, None] * slope
        turn = 2 * math.radians(axis)
        self._turn = np.array([math.cos(turn), math.sin(turn)])
        self._fit = (r >= fit[0]) & (r <= fit[1])
        if int(self._fit.sum()) < 10:
            raise ValueError(
                f"strain_range: {int(self._fit.sum())} distances from {fit[0]:g} to {fit[1]:g} nm; "
                "10 are needed"
            )
        self._applied, self._crept = applied, crept

    def found(self, S: Floats) -> dict[str, Floats]:
        """Return what S [ring, (l = 0, cos, sin)] tells.

        ``G2`` [r]; ``affine_strain``, which would make it were all of it affine (least squares);
        ``anelastic_strain``, ``elastic_strain`` and ``elastic_share`` by eq. 3-4, NaN where the
        whole strain or the crept shape is not known; ``G2_fit`` [r], the shape of that.
        """
        mean, second = uniaxial_second(S[:, 0], S[:, 1:] @ self._turn)
        measured, affine = self._to_r @ second, self._to_r @ (self._affine @ mean)
        seen, shape = measured[self._fit], affine[self._fit]
        strain = float(seen @ shape) / max(float(shape @ shape), 1e-300)
        anelastic = elastic = share = math.nan
        fitted = strain * affine
        if self._applied is not None and self._crept is not None:
            try:
                anelastic, _, share = split_strain(
                    seen, shape, self._crept[self._fit], self._applied
                )
            except ValueError:
                pass  # the shapes are alike: nothing can be told
            else:
                elastic = self._applied - anelastic
                fitted = anelastic * self._crept + elastic * affine
        found = {
            "affine_strain": strain, "anelastic_strain": anelastic, "elastic_strain": elastic,
            "elastic_share": share,
        }  # fmt: skip
        return {name: np.array(value) for name, value in found.items()} | {
            "G2": measured,
            "G2_fit": fitted,
        }


def save_crept(path: Path, r: Floats, second: Floats, strain: float) -> None:
    """Write G_2 [r] of a crept sample, divided by its strain, as two columns."""
    beside = path.with_name(path.name + ".new")
    np.savetxt(beside, np.stack([r, second / strain], axis=1), fmt="%.10g", header=HEAD)
    beside.replace(path)


def load_crept(path: Path, r: Floats, fit: tuple[float, float]) -> Floats:
    """Return what `save_crept` has written, at distances ``r``; ValueError where it does not fit."""
    try:
        table = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise ValueError(f"crept: {path} cannot be read: {said}") from None
    if table.shape[1:] != (2,) or len(table) < 2 or not (np.diff(table[:, 0]) > 0).all():
        raise ValueError(f"crept: {path} has not two columns, rising r (nm) and G_2 (1/nm^2)")
    if not np.isfinite(table).all():
        raise ValueError(f"crept: {path} holds what is no number")
    step = float(np.diff(table[:, 0]).max())
    if table[0, 0] > fit[0] + step or table[-1, 0] < fit[1] - step:
        raise ValueError(
            f"crept: {path} is known from {table[0, 0]:g} to {table[-1, 0]:g} nm, strain_range wants "
            f"{fit[0]:g} to {fit[1]:g}"
        )
    return np.interp(r, table[:, 0], table[:, 1])
