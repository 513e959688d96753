"""Where a broad ring has its middle: a Gaussian on a straight background, many rings at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ROUNDS = 60
"""Steps of the fit: the same for every ring, so that none depends on its neighbours."""

WINDOW = (0.78, 1.22)
"""Around a ring, in its own radius: what is fitted."""


def peak_positions(q: Floats, values: Floats, window: tuple[float, float]) -> Floats:
    """Return the middle of a ring in each row of ``values`` [row, q]: [row], NaN where there is none.

    Least squares of A exp(-(q - m)^2 / (2 s^2)) + b_0 + b_1 q over low <= q <= high of ``window``,
    by Levenberg and Marquardt's way; m is returned. ``q`` [q] rises; values that are not finite
    are left out. There is none where A or s come out negative or tiny, m outside the window, or
    fewer than 7 values are there.
    """
    low, high = window
    inside = (q >= low) & (q <= high)
    u = (q[inside] - 0.5 * (low + high)) / (0.5 * (high - low))
    data = np.asarray(values, np.float64)[:, inside]
    weight = np.isfinite(data)
    enough = weight.sum(axis=1) >= 7
    data = np.where(weight, data, 0.0)
    level = np.where(weight, np.abs(data), 0.0).max(axis=1, initial=0.0)
    enough &= level > 0
    level[~enough] = 1.0
    data = data / level[:, None]
    if not len(u) or not enough.any():
        return np.full(len(data), np.nan)
    found = _fit(u, data, weight.astype(np.float64))
    height, middle, width = found[:, 0], found[:, 1], np.abs(found[:, 2])
    finest = 0.3 * float(np.diff(u).min()) if len(u) > 1 else np.inf
    good = enough & (height > 1e-6) & (np.abs(middle) < 1) & (width > finest) & (width < 3)
    return np.where(good, 0.5 * (low + high) + 0.5 * (high - low) * middle, np.nan)


def _fit(u: Floats, data: Floats, weight: Floats) -> Floats:
    """Return [row, (height, middle, width, background, slope)] in units of the window."""
    rows = len(data)
    ends = max(2, len(u) // 8)
    first, last = data[:, :ends].mean(axis=1), data[:, -ends:].mean(axis=1)
    slope = (last - first) / (u[-ends:].mean() - u[:ends].mean())
    base = first - slope * u[:ends].mean()
    above = np.maximum((data - base[:, None] - slope[:, None] * u) * weight, 0.0)
    high = np.maximum(above.max(axis=1), 1e-9)
    core = np.where(above > 0.5 * high[:, None], above, 0.0)
    middle = (core * u).sum(axis=1) / np.maximum(core.sum(axis=1), 1e-12)
    found = np.stack([high, middle, np.full(rows, 0.4), base, slope], axis=1)
    damping = np.full(rows, 1e-2)
    cost = _cost(found, u, data, weight)
    for _ in range(ROUNDS):
        model, jacobian = _model(found, u)
        weighed = jacobian * weight[:, :, None]
        normal = np.einsum("nki,nkj->nij", weighed, jacobian)
        slope_of_cost = np.einsum("nki,nk->ni", weighed, data - model)
        diagonal = np.einsum("nii->ni", normal)
        more = damping[:, None] * diagonal + 1e-12
        step = np.linalg.solve(
            normal + more[:, :, None] * np.eye(5), slope_of_cost[:, :, None]
        )[:, :, 0]  # fmt: skip
        tried = found + step
        tried[:, 2] = np.clip(tried[:, 2], 0.02, 5.0)
        tried[:, 1] = np.clip(tried[:, 1], -2.0, 2.0)
        new = _cost(tried, u, data, weight)
        better = new <= cost
        found = np.where(better[:, None], tried, found)
        cost = np.where(better, new, cost)
        damping = np.clip(np.where(better, 0.3 * damping, 5.0 * damping), 1e-10, 1e8)
    return found


def _model(found: Floats, u: Floats) -> tuple[Floats, Floats]:
    height, middle, width, base, slope = (column[:, None] for column in found.T)
    away = (u - middle) / width
    bell = np.exp(-0.5 * away**2)
    model = height * bell + base + slope * u
    jacobian = np.stack(
        [bell, height * bell * away / width, height * bell * away**2 / width,
         np.ones_like(bell), np.broadcast_to(u, bell.shape)], axis=2,
    )  # fmt: skip
    return model, jacobian


def _cost(found: Floats, u: Floats, data: Floats, weight: Floats) -> Floats:
    return np.asarray(((data - _model(found, u)[0]) ** 2 * weight).sum(axis=1))
