"""The correlation function averaged over all positions of an annulus, and the KWW fit to it."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from daq_stem.ecm.two_time import TwoTime

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class MeanCorrelation:
    """g2 over all positions [delay], and the KWW fit to it."""

    g2: Floats
    errors: Floats
    delay: Floats
    pairs: npt.NDArray[np.int64]
    fit: Floats
    tau: float
    gamma: float
    beta: float
    baseline: float


def mean_correlation(series: TwoTime, blocks: int, baseline_free: bool) -> MeanCorrelation:
    """Return g2 averaged over the positions that are glass, its errors from blocks, and a fit.

    tau is spread, so the mean looks stretched although no position is. ``blocks`` is how many
    blocks of positions there are; with ``baseline_free`` false the baseline of g2 is 1.
    """
    at = series.blocks
    g = np.stack([series.g_sum[at == b, 0].sum(axis=0) for b in range(blocks)])
    weight = np.stack([series.weight[at == b].sum(axis=0) for b in range(blocks)])
    pairs = series.pairs[at >= 0].sum(axis=0, dtype=np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = g.sum(axis=0) / weight.sum(axis=0)
        left_out = (g.sum(axis=0) - g) / (weight.sum(axis=0) - weight)
        used = weight.sum(axis=1) > 0
        errors = jackknife(left_out[used])
    delay = series.delays()
    fit = _fit_mean(delay, mean, pairs, baseline_free)
    amplitude, ln_tau, gamma, baseline = fit
    curve = amplitude * np.exp(-2 * (delay / np.exp(ln_tau)) ** gamma) + baseline
    return MeanCorrelation(
        1 + mean, errors, delay, pairs, 1 + curve,
        float(np.exp(ln_tau)), float(gamma), float(amplitude), float(baseline),
    )  # fmt: skip


def jackknife(left_out: Floats) -> Floats:
    """Return standard errors from the values with one block left out each, [block, value]."""
    n = len(left_out)
    if n < 2:
        return np.full(left_out.shape[1], np.nan)
    return np.asarray(np.sqrt((n - 1) * np.mean((left_out - left_out.mean(axis=0)) ** 2, axis=0)))


def _fit_mean(delay: Floats, g: Floats, pairs: npt.NDArray[np.int64], baseline: bool) -> Floats:
    from daq_relaxation.kww_fit import fit_kww

    known = np.isfinite(delay) & np.isfinite(g)
    if known.sum() < 4:
        return np.full(4, np.nan)
    fit = fit_kww(
        delay[known], g[None, known], weights=pairs[known] / delay[known],
        fixed={} if baseline else {"baseline": 0.0}, bounds={"shape": (0.2, 2.0)},
    )  # fmt: skip
    return np.asarray(fit.parameters[0])
