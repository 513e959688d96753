"""Elastic contact of a sphere: Hertz (Qiao2019, 3-8). SI units: m, N, Pa."""

from __future__ import annotations

import numpy as np

from daq_relaxation.laws import Numbers


def hertz_stiffness(G: Numbers, radius: float, poisson_ratio: float) -> Numbers:
    """Return K = 3 (1 - nu)/(8 G sqrt(R)), m^(3/2)/N: h^(3/2) = K P."""
    return 3 * (1 - poisson_ratio) / (8 * np.asarray(G) * np.sqrt(radius))


def hertz_depth(P: Numbers, G: Numbers, radius: float, poisson_ratio: float) -> Numbers:
    """Return the depth h, m, of a sphere of ``radius`` m under P, N; 0 where P is not above 0."""
    return np.maximum(hertz_stiffness(G, radius, poisson_ratio) * np.asarray(P), 0.0) ** (2 / 3)


def hertz_modulus(K: Numbers, radius: float, poisson_ratio: float) -> Numbers:
    """Return the shear modulus G, Pa, of K = h^(3/2)/P."""
    return 3 * (1 - poisson_ratio) / (8 * np.asarray(K) * np.sqrt(radius))
