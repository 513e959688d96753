"""Whether the errors of `surface_correlation` hold: its 1-sigma intervals against the truth of exact surfaces.

    python benchmarks/surface_correlation_coverage.py [--seeds 100] [--only linear] [--series]

Each row: that many surfaces of given xi, alpha and noise (pixels of 1 nm, sigma 1 nm), made by the
simulator (`daq_simulators.afm_surface`, another code than that which makes the errors), scanned line by
line through `levelling` and `surface_correlation` with its defaults. Shares of results whose interval
holds the truth: 68.3 % if errors are right. ``too small by``: how the fit's own error (that of
`scipy.optimize.curve_fit` on the same points) compares with how xi scatters. Results refused are
counted and left out. ``--series`` does the KWW fit of (xi/xi_0)^3 instead, from xi drawn with errors.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

import numpy as np

import daq
from daq.runtime.direct import AnalysisDriver
from daq_afm.annealing_series import AnnealingSeries, Place
from daq_afm.levelling import Levelling
from daq_afm.surface_correlation import SurfaceCorrelation
from daq_simulators.afm_surface import Lattice, RandomSurfaces, SelfAffine, white_waves

ROWS: tuple[tuple[str, tuple[int, int], float, float, float], ...] = (
    ("none", (256, 256), 4.0, 0.7, 0.0),
    ("none", (256, 256), 4.0, 0.7, 0.3),
    ("none", (256, 256), 8.0, 0.6, 0.1),
    ("none", (256, 256), 12.0, 0.6, 0.1),
    ("none", (256, 256), 12.0, 0.9, 0.1),
    ("none", (256, 256), 2.0, 0.7, 0.2),
    ("none", (64, 256), 3.0, 0.6, 0.1),
    ("mean", (256, 256), 8.0, 0.6, 0.1),
    ("linear", (256, 256), 8.0, 0.6, 0.1),
    ("quadratic", (256, 256), 8.0, 0.6, 0.1),
    ("median", (256, 256), 8.0, 0.6, 0.1),
    ("plane", (256, 256), 8.0, 0.6, 0.1),
)
"""Levelling, shape, xi (nm), alpha, noise (nm)."""

NAMES = ("sigma", "correlation_length", "hurst_exponent", "nugget")


def scanned(image: np.ndarray, levelling: str, seed: int, **config: Any) -> dict[str, Any]:
    """Return the final record of ``fit`` for an image scanned line by line."""
    rows, columns = image.shape
    fields = {"height": daq.Field("<f4", (columns,), "nm")} | {
        name: daq.Field("<i4") for name in ("line", "scan")
    }
    stream = daq.Stream("afm", fields, scan={"shape": [rows, columns], "step": [1.0, 1.0]})
    batch = daq.Batch("afm", {
        "time": np.arange(rows), "height": image.astype("<f4"),
        "line": np.arange(rows, dtype="<i4"), "scan": np.zeros(rows, "<i4"),
    })  # fmt: skip
    level = AnalysisDriver(Levelling, "levelled", {"method": levelling})
    correlate = AnalysisDriver(
        SurfaceCorrelation, "surface", {"every": rows + 1, "stages": [], "seed": seed, **config}
    )
    correlate.open(level.open([stream]))
    levelled = [*level.feed(batch), *level.close()]
    found = [result for lines in levelled for result in correlate.feed(lines)]
    found += correlate.close()
    (fit,) = [b for b in found if b.stream == "surface.fit"]
    (curve,) = [b for b in found if b.stream == "surface.correlation"]
    lag = correlate.streams[0].constants["lag"]
    return {name: array[0] for name, array in fit.raw.items()} | {
        "own": own_error(lag, curve.raw["structure_function"][0])
    }


def own_error(r: np.ndarray, P: np.ndarray) -> float:
    """Return the error of ln xi that a fit reports that takes the lags for independent."""
    from scipy.optimize import curve_fit

    def model(r: np.ndarray, s2: float, ln_xi: float, alpha: float, n2: float) -> np.ndarray:
        return 2 * s2 * (1 - np.exp(-((r / np.exp(ln_xi)) ** (2 * alpha)))) + 2 * n2

    start = [P[-1] / 2, np.log(r[np.argmax(0.63 * P[-1] < P)]), 0.7, 0.01 * P[-1]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bounds = ([0, -5, 0.1, 0], [np.inf, 10, 1, np.inf])
            _, spread = curve_fit(model, r, P, start, bounds=bounds)
        except RuntimeError:
            return float("nan")
    return float(np.sqrt(spread[1, 1]))


def row(
    levelling: str, shape: tuple[int, int], xi: float, alpha: float, noise: float, seeds: int
) -> str:
    """Return one row of the table."""
    surfaces = RandomSurfaces(Lattice(shape, (1.0, 0.0), (0.0, 1.0)), [SelfAffine(xi, alpha)])
    results = []
    for seed in range(seeds):
        draw = np.random.default_rng([seed, 77])
        image = surfaces.image(
            0, white_waves(surfaces.period, draw)
        ) + noise * draw.standard_normal(shape)
        results.append(scanned(image, levelling, seed))
    good = [r for r in results if r["flag"] == 0]
    truth = dict(zip(NAMES, (1.0, xi, alpha, noise), strict=True))
    covered = [
        np.mean([abs(r[name] - truth[name]) <= r[f"{name}_errors"] for r in good]) for name in NAMES
    ]
    ln_xi = np.log([r["correlation_length"] for r in good]) - np.log(xi)
    error = [r["correlation_length_errors"] / r["correlation_length"] for r in good]
    refused = sum(r["flag"] == 1 for r in results)
    cells = [
        f"{shape[0]} x {shape[1]}", f"{xi:g}", f"{alpha:g}", f"{noise:g}", levelling,
        str(len(good)), str(refused), *(f"{share:.0%}" for share in covered),
        f"{np.mean(ln_xi):+.3f}", f"{np.std(ln_xi):.3f}", f"{np.median(error):.3f}",
        f"{np.mean([r['bias'] for r in good]):+.3f}",
        f"{np.std(ln_xi) / np.nanmedian([r['own'] for r in good]):.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def series(seeds: int) -> None:
    """Print how often the errors of ln tau, b and xi_0 hold, for three places each."""
    times = np.array([0, 300.0, 1800.0, 10800.0, 43200.0])
    print("| error of one xi | places | ln tau | b | xi0 | determined | sd of ln tau | its error |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for ln_tau, b in ((7.82, 0.28), (10.98, 0.4)):
        for error in (0.02, 0.05):
            truth = 6.13 * np.exp(-((times / np.exp(ln_tau)) ** b) / 3)
            found = []
            for seed in range(seeds):
                draw = np.random.default_rng([seed, 78])
                collected = AnnealingSeries()
                for k, (t, xi) in enumerate(zip(times, truth, strict=True)):
                    for place in range(3):
                        value = xi * np.exp(error * draw.standard_normal())
                        collected.add(
                            3 * k + place, 553.0, t, Place(place, value, error * value, 1.0)
                        )
                found.append(collected.fit(553.0))
            good = [f for f in found if f is not None and f.flag == 0]
            covered = [
                np.mean([abs(getattr(f, n) - true) <= getattr(f, f"{n}_error") for f in good])
                for n, true in (("ln_tau", ln_tau), ("b", b), ("quenched", 6.13))
            ]
            scatter = np.std([f.ln_tau for f in good])
            cells = [f"{error:.0%}", "3", *(f"{c:.0%}" for c in covered), f"{len(good)}/{seeds}",
                     f"{scatter:.2f}", f"{np.median([f.ln_tau_error for f in good]):.2f}"]  # fmt: skip
            print("| " + " | ".join(cells) + " |", flush=True)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--only", default="", help="rows with this levelling")
    parser.add_argument("--series", action="store_true")
    arguments = parser.parse_args()
    if arguments.series:
        series(arguments.seeds)
        return 0
    print("| image | xi | alpha | noise | levelling | fits | refused | covered: sigma | xi | alpha | "
          "nugget | mean of ln xi off | its sd | its error | bias taken off | curve_fit too small by |")  # fmt: skip
    print("|---|" + "---:|" * 3 + "---|" + "---:|" * 11)
    for levelling, shape, xi, alpha, noise in ROWS:
        if arguments.only in levelling:
            print(row(levelling, shape, xi, alpha, noise, arguments.seeds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
