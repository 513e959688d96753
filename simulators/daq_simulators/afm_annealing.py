"""Pieces of a glass, annealed: how long their heterogeneity correlates, and how much is left of it.

Zhu2016: xi^3 falls as F(t_a) = (xi/xi0)^3 = exp(-(t_a/tau)^b), and the distribution of the
dissipated energy falls and narrows with it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """One sample: annealed at K for s (NaN and 0 as quenched); xi in nm; F that is left."""

    annealing_temperature: float
    annealing_time: float
    correlation_length: float
    remaining: float


def pieces(
    correlation_length: float,
    temperatures: Sequence[float],
    times: Sequence[float],
    ln_tau: Sequence[float],
    exponent: float,
    correlation_lengths: Sequence[float] = (),
) -> list[Piece]:
    """Return the piece as quenched, then each temperature with each time.

    xi = xi0 F^(1/3) where ``ln_tau`` (s) has one value per temperature, and ``exponent`` is b; or
    ``correlation_lengths``, one per piece, say it.
    """
    found = [Piece(math.nan, 0.0, correlation_length, 1.0)]
    for number, kelvin in enumerate(temperatures):
        for seconds in times:
            if correlation_lengths:
                length = correlation_lengths[len(found)]
                remaining = (length / correlation_lengths[0]) ** 3
            else:
                remaining = math.exp(-((seconds / math.exp(ln_tau[number])) ** exponent))
                length = correlation_length * remaining ** (1 / 3)
            found.append(Piece(kelvin, seconds, length, remaining))
    if correlation_lengths:
        found[0] = dataclasses.replace(found[0], correlation_length=correlation_lengths[0])
    return found
