"""Rings cut into azimuthal sectors: their pixels, and harmonics fitted to their means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SECTORS = 12
"""Of 15 degrees, each together with the one opposite."""

HARMONICS = ("intensity", "cos2", "sin2")


class AzimuthalSectors:
    """Which pixel is in which sector of which ring.

    Parameters
    ----------
    y, x
        [y, x] places of the pixels from the centre, without distortion, 1/nm.
    good
        [y, x] pixels that count.
    q_range, step
        From where to where, and about how wide, 1/nm.

    Attributes
    ----------
    labels
        int64 [y, x]: sector * rings + ring, -1 outside.
    q
        [ring] mean radius of the good pixels, 1/nm; the middle of a ring that has none.
    pixels
        int64 [sector, ring].
    basis
        [sector, ring, 2] means of cos 2 phi and sin 2 phi, phi from +x towards +y.
    """

    def __init__(
        self, y: Floats, x: Floats, good: npt.NDArray[np.bool_], q_range: tuple[float, float],
        step: float,
    ) -> None:  # fmt: skip
        low, high = q_range
        self.rings = max(1, round((high - low) / step))
        width = (high - low) / self.rings
        radius = np.hypot(y, x)
        # rounded: on which side of an edge a pixel lies is no matter of the last bit
        ring = np.floor(np.round((radius - low) / width, 9)).astype(np.int64)
        phi = np.arctan2(y, x)
        sector = np.floor(np.round(phi / np.pi % 1.0 * SECTORS, 9)).astype(np.int64) % SECTORS
        inside = good & (ring >= 0) & (ring < self.rings)
        self.labels: Integers = np.where(inside, sector * self.rings + ring, -1)
        self.bins = SECTORS * self.rings
        flat = self.labels[inside]
        self.pixels: Integers = np.bincount(flat, minlength=self.bins).reshape(SECTORS, -1)

        def mean(values: Floats) -> Floats:
            total = np.bincount(flat, weights=values[inside], minlength=self.bins)
            return np.asarray(total.reshape(SECTORS, -1) / np.maximum(self.pixels, 1))

        self.basis = np.stack([mean(np.cos(2 * phi)), mean(np.sin(2 * phi))], axis=2)
        held = self.pixels.sum(axis=0)
        weighed = (mean(radius) * self.pixels).sum(axis=0)
        middles = low + (np.arange(self.rings) + 0.5) * width
        self.q = np.where(held > 0, weighed / np.maximum(held, 1), middles)
        self._beside = np.where(self.pixels > 0, mean(radius) - self.q, 0.0)

    def means(self, sums: Floats, patterns: npt.ArrayLike) -> Floats:
        """Return the mean intensity of a pixel: [part, sector, ring], NaN without pixels or patterns.

        ``sums`` [part, bin] over ``patterns`` [part]. The pixels of a sector lie on average a little
        inside or outside of those of its ring: the slope of the mean over Q takes that out.
        """
        count = np.asarray(patterns)[:, None, None] * self.pixels
        whole = np.full((len(sums), SECTORS, self.rings), np.nan)
        np.divide(sums.reshape(whole.shape), count, out=whole, where=count > 0)
        if self.rings < 2:
            return whole
        held = np.where(self.pixels > 0, whole, 0.0) * self.pixels
        level = held.sum(axis=1) / np.maximum(self.pixels.sum(axis=0), 1)
        slope = np.gradient(level, self.q, axis=1)
        return np.asarray(whole - slope[:, None, :] * self._beside)

    def harmonics(self, means: Floats) -> dict[str, Floats]:
        """Return `HARMONICS` and their errors [part, ring], see `fit_harmonics`."""
        found, errors = fit_harmonics(means, self.pixels, self.basis, self.q)
        named = {name: found[..., k] for k, name in enumerate(HARMONICS)}
        return named | {f"{name}_errors": errors[..., k] for k, name in enumerate(HARMONICS)}


def fit_harmonics(
    means: Floats, pixels: Integers, basis: Floats, q: Floats, shared: bool = True
) -> tuple[Floats, Floats]:
    """Fit I = I_0 + c cos 2 phi + s sin 2 phi to means of sectors, weighed by their pixels.

    Parameters
    ----------
    means
        [part, sector, ring]; those of sectors without pixels are not looked at.
    pixels, basis, q
        See `AzimuthalSectors`.

    Returns
    -------
    found, errors
        [part, ring, (I_0, c, s)]; errors from the scatter about the fit, and from what
        neighbouring sectors share (`neighbour_share`; not if ``shared`` is false). NaN where fewer than
        half of the sectors are there, or a mean of the rest is not finite.
    """
    weight = np.where(pixels > 0, pixels, 0).astype(np.float64)
    design = np.concatenate([np.ones((*pixels.shape, 1)), basis], axis=2)
    design = design.transpose(1, 0, 2)  # [ring, sector, 3]
    weighed = design * weight.T[:, :, None]
    normal = np.einsum("qsi,qsj->qij", weighed, design)
    enough = np.asarray((pixels > 0).sum(axis=0) >= max(SECTORS // 2, 4))
    normal[~enough] = np.eye(3)
    inverse = np.linalg.inv(normal)
    values = np.where(pixels > 0, means, 0.0)
    right = np.einsum("qsi,psq->pqi", weighed, values)
    found = np.einsum("qij,pqj->pqi", inverse, right)
    residual = values - np.einsum("qsi,pqi->psq", design, found)
    freedom = np.maximum((pixels > 0).sum(axis=0) - 3, 1)
    scatter = np.einsum("psq,sq->pq", residual**2, weight) / freedom
    diagonal = np.einsum("qii->qi", inverse)
    level = np.abs(found[:, None, :, 0])
    relative = np.full_like(residual, np.nan)
    np.divide(residual, level, out=relative, where=level > 0)
    share = neighbour_share(relative[:, :, enough]) if shared else 0.0
    more = np.ones((len(q), 3))
    more[enough] = share_factors(share * float(q[enough].mean()) / q[enough]) if share else 1.0
    errors = np.sqrt(scatter[:, :, None] * (diagonal * more)[None])
    found[:, ~enough], errors[:, ~enough] = np.nan, np.nan
    return found, errors


def neighbour_share(residual: Floats) -> float:
    """Return the correlation of neighbouring sectors, whose speckles lie on both sides of a border.

    From residuals [part, sector, ring] of `fit_harmonics`, relative to the intensity, pooled over
    everything. The fit has
    taken 3 of 12 Fourier components out of them: of noise with the covariance 1, rho at the next
    sector and 0 beyond, what is left has (9 - 5.46 rho)/12 and (7 rho - 2.73)/12, which is solved
    for rho. It falls as 1/Q; what is returned is a mean. 0 to 0.45.
    """
    here = np.isfinite(residual).all(axis=1)
    kept = np.where(here[:, None, :], residual, 0.0)
    square = float((kept**2).sum())
    if not square > 0:
        return 0.0
    r = float((kept * np.roll(kept, 1, axis=1)).sum()) / square
    lost = 1 + 2 * np.cos(2 * np.pi / SECTORS)
    rho = ((SECTORS - 3) * r + lost) / (2 * (SECTORS / 2 - 2.5) + 2 * lost * r)
    return float(np.clip(rho, 0.0, 0.45))


def share_factors(rho: Floats) -> Floats:
    """Return [..., (I_0, c, s)]: variances over those for independent sectors, see `neighbour_share`."""
    rho = np.clip(np.asarray(rho, np.float64), 0.0, 0.45)
    cosine = np.cos(2 * np.pi / SECTORS)
    level = (SECTORS - 3) / (SECTORS - 3 - 2 * rho * (1 + 2 * cosine))
    second = level * (1 + 2 * rho * cosine)
    return np.stack([level * (1 + 2 * rho), second, second], axis=-1)
