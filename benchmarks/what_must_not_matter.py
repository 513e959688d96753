"""What must not change tau and V: the dose, scans that are missing, the direction of time, the edge.

    python benchmarks/what_must_not_matter.py [--only NAME ...] [--seeds 4]

Simulated scans of 24 x 36 positions, 0.24 nm apart, patterns of 66 x 66 pixels of 0.232 1/nm (those
published, binned), 9.2 s a scan, everything else by default but for the edge, which is left away.

tau
    106 scans that last as long as the median tau. The same series again with half of its electrons
    (each kept with a chance of 1/2), without every second scan, without every second pattern (at each
    position every second scan, neighbours take turns), and backwards. ``shift``: mean over positions
    of the change of ln tau, with what seeds scatter; ``rms``: its root mean square at a position;
    ``error``: the median error that is quoted for the changed series. Of positions determined in both.
V
    6 scans with 280, 900 and 2800 electrons on the ring (0.2 1/nm about the peak, 205 binned pixels),
    of one and the same moving glass: mean V of each, and its change against the last.
beta
    60 scans, median tau 150 s: mean fitted beta of `ecm` in each ring of `fem` beside its V.
edge
    60 scans, median tau a half of the series, a steady drift along y that `drift` follows, of 0.5, 1
    and 2 nm in all. By the part of the scans in which a place was in the field: flags, share covered
    by one quoted sigma, and the error over that of places that never left.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq.runtime.direct import AnalysisDriver
from daq_simulators.stem_camera import StemCamera
from daq_stem.drift.analysis import Drift
from daq_stem.ecm.analysis import Ecm
from daq_stem.fem.analysis import Fem

SCAN = (24, 36)
POSITIONS = SCAN[0] * SCAN[1]
CAMERA: dict[str, Any] = {
    "scan": SCAN, "step": 0.24, "speed": 0, "scan_time": 9.2, "frame": (66, 66),
    "pixel_size": 0.232, "dtype": "u1", "edge": 0.0, "batch": POSITIONS,
}  # fmt: skip

Items = list[daq.Batch | daq.Missing]


def series(**config: Any) -> tuple[daq.Stream, list[daq.Batch], dict[str, np.ndarray]]:
    """Return the camera's stream, one batch per scan, and the truth."""
    source = StemCamera()
    camera = dataclasses.replace(
        source.open(StemCamera.Config(**{**CAMERA, **config}))[0], name="camera"
    )
    scans = []
    for batch in source.batches({}):
        batch.stream = "camera"
        scans.append(batch)
    return camera, scans, {name: np.asarray(value) for name, value in source.truth().items()}


def last_of(
    analysis: type[daq.Analysis], streams: list[daq.Stream], items: Iterable[Any], **config: Any
) -> dict[str, dict[str, np.ndarray]]:
    """Run an analysis; return the last valid record of each of its streams."""
    driver = AnalysisDriver(analysis, "found", config)
    driver.open(streams)
    found: dict[str, dict[str, np.ndarray]] = {}

    def keep(batches: list[daq.Batch]) -> None:
        for batch in batches:
            at = np.flatnonzero(batch.valid)
            if len(at):
                name = batch.stream.removeprefix("found.")
                found[name] = {key: value[at[-1]] for key, value in batch.raw.items()}

    for item in items:
        keep(driver.feed(item))
    keep(driver.close())
    return found


def with_frames(scan: daq.Batch, frames: npt.NDArray[Any]) -> daq.Batch:
    """Return a scan that shows other frames."""
    return daq.Batch("camera", {"time": scan.time, "frame": frames})


def half_the_dose(scans: list[daq.Batch], seed: int) -> Items:
    """Keep each electron with a chance of 1/2."""
    draw = np.random.default_rng([seed, 2])
    return [
        with_frames(scan, draw.binomial(scan.raw["frame"], 0.5).astype(np.uint8)) for scan in scans
    ]


def without(scans: list[daq.Batch], lost: npt.NDArray[np.bool_]) -> Items:
    """Leave out records [scan, position]."""
    items: Items = []
    for scan, gone in zip(scans, lost, strict=True):
        for part in np.split(np.arange(POSITIONS), np.flatnonzero(np.diff(gone)) + 1):
            if gone[part[0]]:
                items.append(daq.Missing("camera", len(part), "left out"))
            else:
                arrays = {name: scan.raw[name][part] for name in ("time", "frame")}
                items.append(daq.Batch("camera", arrays))
    return items


def backwards(scans: list[daq.Batch]) -> Items:
    """Show the last scan first."""
    return [with_frames(a, b.raw["frame"]) for a, b in zip(scans, reversed(scans), strict=True)]


def compared(whole: dict[str, np.ndarray], changed: dict[str, np.ndarray]) -> dict[str, float]:
    """Return how ln tau has changed."""
    a, b = whole["tau"][0], changed["tau"][0]
    both = (whole["flag"][0] == 0) & (changed["flag"][0] == 0)
    shift = np.log(b[both] / a[both])
    error = changed["tau_errors"][0][both] / b[both]
    return {
        "shift": float(shift.mean()),
        "rms": float(np.sqrt(np.mean(shift**2))),
        "error": float(np.median(error)),
        "within": float(np.mean(np.abs(shift) < error)),
        "both": float(np.mean(both)),
    }


def tau(seeds: int) -> None:
    """The same series, changed."""
    rows: dict[str, list[dict[str, float]]] = {}
    means: dict[str, list[float]] = {}
    for seed in range(seeds):
        camera, scans, _ = series(scans=106, median_tau=106 * 9.2, seed=seed)
        shape = (len(scans), POSITIONS)
        every_second = np.broadcast_to(np.arange(len(scans))[:, None] % 2 == 1, shape)
        in_turn = np.add.outer(np.arange(len(scans)), np.arange(POSITIONS)) % 2 == 1
        variants: dict[str, Items] = {
            "half the dose": half_the_dose(scans, seed),
            "every second scan": without(scans, every_second),
            "every second pattern": without(scans, in_turn),
            "backwards": backwards(scans),
        }
        whole = last_of(Ecm, [camera], scans)
        for name, items in variants.items():
            changed = last_of(Ecm, [camera], items)
            rows.setdefault(name, []).append(compared(whole["maps"], changed["maps"]))
            a, b = (f["summary"] for f in (whole, changed))
            means.setdefault(name, []).append(float(b["mean_ln_tau"][0] - a["mean_ln_tau"][0]))
            print(f"tau seed {seed}, {name}: " + figures(rows[name][-1])
                  + f"; mean_ln_tau {a['mean_ln_tau'][0]:.3f} +- {a['mean_ln_tau_errors'][0]:.3f}"
                  f" -> {b['mean_ln_tau'][0]:.3f} +- {b['mean_ln_tau_errors'][0]:.3f}",
                  flush=True)  # fmt: skip
    print("| | shift of ln tau | scatter of seeds | rms of a position | error quoted | "
          "within it | shift of mean_ln_tau |")  # fmt: skip
    print("|---|" + "---:|" * 6)
    for name, found in rows.items():
        of = {key: np.array([row[key] for row in found]) for key in found[0]}
        spread = of["shift"].std(ddof=1) if seeds > 1 else np.nan
        print(f"| {name} | {of['shift'].mean():+.3f} | {spread:.3f} | {of['rms'].mean():.3f} | "
              f"{of['error'].mean():.3f} | {of['within'].mean():.0%} | "
              f"{np.mean(means[name]):+.3f} |", flush=True)  # fmt: skip


def order(seeds: int) -> None:
    """One glass, three doses."""
    for seed in range(seeds):
        found = {}
        for electrons in (280, 900, 2800):
            # 5 % of the beam falls on the ring
            camera, scans, _ = series(scans=6, dose=electrons / 0.05, seed=seed)
            found[electrons] = last_of(Fem, [camera], scans)["maps"]
        exact = found[2800]["V"].mean()
        print(f"V seed {seed}: " + "  ".join(
            f"{n} e: {f['V'].mean():.4f} ({f['V'].mean() / exact - 1:+.2%}, raw {f['V_raw'].mean():.3f})"
            for n, f in found.items()
        ), flush=True)  # fmt: skip


def beta(seeds: int) -> None:
    """Rings of `fem` as annuli of `ecm`."""
    for seed in range(seeds):
        camera, scans, _ = series(scans=60, median_tau=150.0, seed=seed)
        expected = last_of(Fem, [camera], scans)["profile"]["V"]
        rings = len(expected)
        edges = np.round(np.linspace(3.0, 5.8, rings + 1), 9)
        bands = [[float(a), float(b)] for a, b in itertools.pairwise(edges)]
        for baseline in ("fixed", "free"):
            found = last_of(Ecm, [camera], scans, bands=bands, replicas=16, baseline=baseline)
            fitted = found["maps"]["beta"].reshape(rings, -1)
            flag = found["maps"]["flag"].reshape(rings, -1)
            mean = np.array([f[k < 3].mean() for f, k in zip(fitted, flag, strict=True)])
            ratio = mean / expected
            print(f"beta seed {seed}, baseline {baseline}: beta / V "
                  + " ".join(f"{r:.3f}" for r in ratio)
                  + f"  mean {ratio.mean():.3f} sd {ratio.std(ddof=1):.3f}"
                  f"  (V {expected.mean():.3f})", flush=True)  # fmt: skip


def edge(seeds: int) -> None:
    """Places that leave the field, by the part of the scans in which they were seen."""
    scans_taken = 60
    lasts = scans_taken * 9.2
    for distance in (0.5, 1.0, 2.0):
        seen, flag, z, error, outside = [], [], [], [], 0.0
        for seed in range(seeds):
            camera, scans, truth = series(
                scans=scans_taken, median_tau=lasts / 2, drift=(distance / lasts, 0.0), seed=seed
            )
            drift = AnalysisDriver(Drift, "drift", {})
            shifts = next(s for s in drift.open([camera]) if s.name == "drift.shifts")
            items: list[Any] = []
            for scan in scans:
                items += [scan, *drift.feed(scan)]
            items += drift.close()
            told = [item for item in items if item.stream in ("camera", "drift.shifts")]
            maps = last_of(Ecm, [camera, shifts], told)["maps"]
            y = np.arange(SCAN[0])[:, None] + np.round(truth["drift"][:, 0] / 0.24)
            inside = np.mean((y >= 0) & (y < SCAN[0]), axis=1)
            seen.append(np.repeat(inside, SCAN[1]))
            flag.append(maps["flag"][0].reshape(-1))
            quoted = (maps["tau_errors"][0] / maps["tau"][0]).reshape(-1)
            error.append(quoted)
            z.append(np.log(maps["tau"][0] / truth["tau"]).reshape(-1) / quoted)
            outside = max(outside, 1 - float(inside.min()))
        part, flags, zs, errors = (np.concatenate(a) for a in (seen, flag, z, error))
        never = np.nanmedian(errors[(part == 1) & (flags == 0)])
        for low, high in ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0), (1.0, 1.01)):
            at = (part >= low) & (part < high)
            if not at.any():
                continue
            sure = at & (flags == 0)
            print(f"edge, {distance:g} nm: seen {low:.0%} to {min(high, 1):.0%}: "
                  f"{at.mean():.1%} of places; determined {np.mean(flags[at] == 0):.0%}, "
                  f"bound {np.mean(flags[at] == 1):.0%}, at bound {np.mean(flags[at] == 2):.0%}, "
                  f"not fitted {np.mean(flags[at] == 3):.0%}, masked {np.mean(flags[at] == 4):.0%}; "
                  f"covered {np.mean(np.abs(zs[sure]) < 1):.0%}, mean z {np.mean(zs[sure]):+.2f}, "
                  f"error {np.median(errors[sure]) / never:.2f} of that inside",
                  flush=True)  # fmt: skip


def figures(row: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:+.3f}" for key, value in row.items())


def main() -> int:
    """Run the studies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    studies = {"tau": tau, "V": order, "beta": beta, "edge": edge}
    parser.add_argument("--only", nargs="*", choices=list(studies), default=list(studies))
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    for name in arguments.only:
        began = time.process_time()
        studies[name](arguments.seeds)
        print(f"({name}: {time.process_time() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
