"""Compiles the loops of `ecm` on a tiny example, so that no pattern waits for a compiler."""

from __future__ import annotations

import functools


@functools.cache
def compile_correlation() -> None:
    """Run a few scans of a few positions through everything, once in a process."""
    import numpy as np

    from daq_stem.ecm.annulus_series import AnnulusSeries, Settings
    from daq_stem.geometry.annulus import binned_annulus
    from daq_stem.geometry.detector import Detector

    shape = (4, 8)
    detector = Detector((48, 48), (23.5, 23.5), 0.25, "1/nm")
    annulus = binned_annulus(detector, 3.0, 4.0, 1, np.zeros((48, 48), bool))
    settings = Settings(shape, 0.2, 1.0, True, False, "radial", 0.0, 30.0, 8, 1.0, True, 1, 8, [0])
    series = AnnulusSeries(annulus, settings)
    random = np.random.default_rng(0)
    positions = np.arange(32)
    for scan in range(4):
        patterns = random.poisson(20.0, (32, annulus.pixels)).astype(float)
        times = (positions + 1000 * scan) * 1_000_000
        series.add(patterns, np.ones(32, bool), times, positions, (0.0, 0.0))
    maps = series.maps()
    series.mean_correlation()
    series.population(maps)
