"""What the patterns of a specimen have in common, and how far apart places share speckles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq_stem.ecm.two_time import TwoTime

Floats = npt.NDArray[np.float64]


def static_pattern(
    kind: str, series: TwoTime, glass: npt.NDArray[np.bool_], q: Floats
) -> Floats | None:
    """Return what the patterns have in common, relative to its mean, [pixel]; None without one.

    ``kind`` is "pixel" (the mean pattern), "radial" (a parabola in ``q``, 1/nm, through it) or
    "none"; ``glass`` says which positions count.
    """
    if kind == "none":
        return None
    mean = _mean_pattern(series.intensity, series.good & glass[:, None])
    if kind == "radial":
        # smooth in Q: a parabola holds what a ring of two or three pixels can show
        q = q - q.mean()
        degree = int(min(2, len(np.unique(np.round(q, 6))) - 1))
        mean = np.polyval(np.polyfit(q, mean, degree), q)
    if not (mean > 0).all():
        return None
    return np.asarray(mean / mean.mean())


def overlap_rate(
    series: TwoTime,
    glass: npt.NDArray[np.bool_],
    shape: tuple[int, int],
    step: float,
    slots: npt.NDArray[np.int64],
) -> float:
    """Return the rate, 1/nm^2, at which places lose common speckles: exp(-rate d^2).

    From positions one and two steps (nm) apart in the scans in ``slots``.
    """
    rows, columns = shape
    shares = []
    for apart in (1, 2):
        total, number = 0.0, 0
        for down, across in ((0, apart), (apart, 0)):
            first = np.arange(rows * columns).reshape(rows, columns)
            a = first[: rows - down, : columns - across].reshape(-1)
            b = first[down:, across:].reshape(-1)
            both = glass[a] & glass[b]
            found = _shared(series.intensity, series.good, a[both], b[both], slots)
            total, number = total + found[0], number + found[1]
        shares.append(total / max(1, number))
    if not (shares[0] > shares[1] > 0):
        return 0.0
    return float(np.log(shares[0] / shares[1]) / (3 * step**2))


def _mean_pattern(intensity: npt.NDArray[np.float32], used: npt.NDArray[np.bool_]) -> Floats:
    """Return the mean over all patterns used, [pixel]."""
    total, number = np.zeros(intensity.shape[2]), 0
    for slot in range(intensity.shape[1]):
        at = used[:, slot]
        total += intensity[at, slot].sum(axis=0, dtype=np.float64)
        number += int(at.sum())
    return total / max(1, number)


def _shared(
    intensity: npt.NDArray[np.float32], good: npt.NDArray[np.bool_],
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], slots: npt.NDArray[np.int64],
) -> tuple[float, int]:  # fmt: skip
    """Return the sum of (I_a - 1)(I_b - 1), averaged over pixels, over pairs of positions."""
    total, number = 0.0, 0
    for slot in slots:
        both = good[first, slot] & good[second, slot]
        a, b = intensity[first[both], slot], intensity[second[both], slot]
        products = np.einsum("ij,ij->i", a, b, dtype=np.float64) / intensity.shape[2] - 1
        total, number = total + float(products.sum()), number + int(both.sum())
    return total, number
