"""Whether the errors of calibration, azimuthal averages and strain hold: glasses of known truth.

    python benchmarks/stem_calibration_coverage.py [--glasses 60] [--friedel 0]

Each glass has a camera of its own: centre up to 5 px beside the middle, rings up to 6 % elliptic, a
beam stop on an arm, 66 x 66 pixels of 0.232 1/nm, 6 x 10 positions of 28 000 electrons, 3 scans.
For each quantity: rms of (found - true) / error, which should be 1, and how many lie within 1 and
1.96 errors (0.68 and 0.95). Counts per electron: 3. For strain the truth is 0; its centre and
ellipse are the true ones.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np

import daq
from daq.testing import Records, record_source, run_analysis
from daq_simulators.stem_camera import StemCamera
from daq_stem.calibration.analysis import Calibration
from daq_stem.calibration.file import Calibration as CalibrationFile
from daq_stem.geometry.ellipse import Ellipse
from daq_stem.scattering.azimuthal import Azimuthal
from daq_stem.scattering.ring_strain import RingStrain

SIZE, PEAK, COUNTS = 0.232, 4.4, 3


def glass(seed: int, friedel: float) -> tuple[Records, tuple[float, float], Ellipse]:
    """Return what a camera gives that does not know its geometry, and the truth."""
    draw = np.random.default_rng(seed)
    y, x = (32.5 + draw.uniform(-5, 5, 2)).tolist()
    ellipse = Ellipse(float(draw.uniform(1, 1.06)), float(draw.uniform(0, 180)))
    config = StemCamera.Config(
        scan=(6, 10), step=0.6, scans=3, scan_time=300.0, dwell_time=5e-4, frame=(66, 66),
        pixel_size=SIZE, dtype="u2", median_tau=150.0, speed=0, edge=0.0, seed=seed, centre=(y, x),
        ellipticity=ellipse.ratio, ellipticity_angle=ellipse.angle, friedel=friedel,
        counts_per_electron=COUNTS,
    )  # fmt: skip
    camera = record_source(StemCamera, config, name="camera")["camera"]
    stream = daq.Stream(
        "camera", camera.stream.fields, scan=camera.stream.scan, constants=camera.stream.constants
    )
    return Records(stream, camera.arrays, camera.missing), (y, x), ellipse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glasses", type=int, default=60)
    parser.add_argument("--friedel", type=float, default=0.0)
    given = parser.parse_args()
    z: dict[str, list[float]] = {}
    profiles = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "camera.toml")
        for seed in range(given.glasses):
            camera, centre, ellipse = glass(seed, given.friedel)
            streams, batches = {"camera": camera.stream}, list(camera.batches(60))
            out = run_analysis(Calibration, streams, batches, {"ring_q": PEAK})["geometry"]
            truth = {
                "centre": centre, "distortion": ellipse.distortion, "pixel_size": SIZE,
                "counts_per_electron": COUNTS,
            }  # fmt: skip
            for name, true in truth.items():
                scaled = (out[name][-1] - np.array(true)) / out[f"{name}_errors"][-1]
                z.setdefault(name, []).extend(np.ravel(scaled).tolist())
            CalibrationFile(
                frame=(66, 66), centre=centre, ellipse_ratio=ellipse.ratio,
                ellipse_angle=ellipse.angle, pixel_size=SIZE,
            ).save(path)  # fmt: skip
            config = {"calibration": path, "total": "series"}
            out = run_analysis(RingStrain, streams, batches, {**config, "reference_q": PEAK})
            for name in ("strain", "strain_cos2", "strain_sin2"):
                found = out["strain"]
                value = found[name][-1, 0, 0] / found[f"{name}_errors"][-1, 0, 0]
                z.setdefault(name, []).append(float(value))
            out = run_analysis(Azimuthal, streams, batches, {**config, "q_range": (2.5, 5.5)})
            profiles.append(out["profile"])
    for name in ("cos2", "sin2", "intensity"):
        values = np.array([p[name][-1] for p in profiles])
        errors = np.array([p[f"{name}_errors"][-1] for p in profiles])
        # of the intensity nobody knows the truth: the mean of all glasses stands for it
        middle = values.mean(axis=0) if name == "intensity" else 0.0
        few = math.sqrt(1 - 1 / len(values)) if name == "intensity" else 1.0
        z[f"azimuthal {name}"] = ((values - middle) / errors / few).ravel().tolist()
    print(f"{given.glasses} glasses, friedel {given.friedel:g}")
    print(f"{'':24}{'rms':>6}{'< 1':>7}{'< 1.96':>8}")
    for name, values in z.items():
        size = np.abs([v for v in values if np.isfinite(v)])
        print(
            f"{name:24}{math.sqrt(np.mean(size**2)):6.2f}{np.mean(size < 1):7.2f}"
            f"{np.mean(size < 1.96):8.2f}"
        )


if __name__ == "__main__":
    main()
