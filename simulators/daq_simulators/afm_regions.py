"""Regions of high dissipation: ellipses of known size, shape and orientation that do not touch."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_simulators.afm_surface import Lattice

Floats = npt.NDArray[np.float64]

TRIES: Final = 200
"""For the place of one region, before there are as many as fit."""


@dataclasses.dataclass(frozen=True, slots=True)
class RegionLaw:
    """How regions are drawn.

    ``area_fraction`` of the surface; ``radius`` (equivalent, mean) and ``radius_sd`` nm of a
    Gaussian, or, with ``exponent`` a, N(>= R) ~ R^-(a - 1) from ``radius`` to ``largest_radius``.
    ``aspect`` is major over minor axis; ``angle`` of the major axis in degrees from +x towards +y
    with ``angle_sd``, None: any. ``edge`` nm is about half the width over which a region begins.
    """

    area_fraction: float
    radius: float
    radius_sd: float
    exponent: float | None
    largest_radius: float
    aspect: float
    angle: float | None
    angle_sd: float
    edge: float


def draw_regions(
    law: RegionLaw, extent: tuple[tuple[float, float], tuple[float, float]],
    draw: np.random.Generator,
) -> Floats:  # fmt: skip
    """Return regions over an ``extent`` ((y0, y1), (x0, x1)) nm and a little around it.

    [region, (y, x, semi-major, semi-minor, angle)], nm and degrees in 0 to 180. No two circles
    around regions overlap; fewer than ``area_fraction`` asks for come where no more fit.
    """
    largest = law.largest_radius if law.exponent else law.radius + 4 * law.radius_sd
    margin = largest * math.sqrt(law.aspect)
    (y0, y1), (x0, x1) = ((low - margin, high + margin) for low, high in extent)
    wanted = law.area_fraction * (y1 - y0) * (x1 - x0)
    radii: list[float] = []
    while math.pi * sum(r * r for r in radii) < wanted:
        radii.append(_radius(law, draw))
    # the large ones first: the small ones find room between them
    placed: list[tuple[float, ...]] = []
    centres = np.empty((len(radii), 3))
    for radius in sorted(radii, reverse=True):
        major = radius * math.sqrt(law.aspect)
        others = centres[: len(placed)]
        for y, x in draw.uniform((y0, x0), (y1, x1), (TRIES, 2)):
            apart = np.hypot(others[:, 0] - y, others[:, 1] - x)
            if np.all(apart > others[:, 2] + major + 2 * law.edge):
                break
        else:
            continue
        angle = draw.uniform(0, 180) if law.angle is None else draw.normal(law.angle, law.angle_sd)
        centres[len(placed)] = y, x, major
        placed.append((y, x, major, radius / math.sqrt(law.aspect), angle % 180))
    return np.array(placed, np.float64).reshape(-1, 5)


def covered(regions: Floats, lattice: Lattice, origin: tuple[float, float], edge: float) -> Floats:
    """Return how much of each pixel [row, column] is in a region, 0 to 1, soft over ``edge`` nm."""
    y, x = lattice.positions()
    y, x = y + origin[0], x + origin[1]
    inside = np.zeros(lattice.shape)
    for centre_y, centre_x, major, minor, angle in regions:
        reach = major + 6 * edge
        rows = np.flatnonzero(np.abs(y[:, 0] - centre_y) <= reach)
        if not len(rows):
            continue
        band = slice(rows[0], rows[-1] + 1)
        columns = np.flatnonzero((np.abs(x[band] - centre_x) <= reach).any(axis=0))
        if not len(columns):
            continue
        part = band, slice(columns[0], columns[-1] + 1)
        away_y, away_x = np.broadcast_to(y, lattice.shape)[part] - centre_y, x[part] - centre_x
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        along, across = away_x * cosine + away_y * sine, away_y * cosine - away_x * sine
        rho = np.hypot(along / major, across / minor)
        if edge:
            depth = (1 - rho) * math.sqrt(major * minor) / edge
            inside[part] = np.maximum(inside[part], (1 + np.tanh(depth)) / 2)
        else:
            inside[part] = np.maximum(inside[part], rho <= 1)
    return inside


def _radius(law: RegionLaw, draw: np.random.Generator) -> float:
    if law.exponent is None:
        return max(law.radius / 4, float(draw.normal(law.radius, law.radius_sd)))
    # inverse of the cumulative distribution, cut off at the largest
    power, chance = law.exponent - 1, draw.random()
    low, high = law.radius**-power, law.largest_radius**-power
    return float((low - chance * (low - high)) ** (-1 / power))
