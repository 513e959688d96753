"""A camera of speckles made another way than the simulator or the replicas make them.

Each position is an object of independent atoms, each an Ornstein-Uhlenbeck process of its own; the
field in the far plane is the Fourier transform of the atoms under a round probe of 1.3 nm^-1
aperture diameter (in Q). Positions share nothing, unlike those of a real scan.
"""

from __future__ import annotations

import functools

import numpy as np

import daq

SIDE, PIXEL = 64, 0.23
"""Pixels of a frame, and their size in 1/nm."""
PERIOD = 9_200_000_000
CENTRE = (SIDE - 1) / 2


def radius():
    """Distance of each pixel from the direct beam, 1/nm."""
    axis = (np.arange(SIDE) - CENTRE) * PIXEL
    return np.hypot(axis[:, None], axis[None, :])


def stream(shape, scans, name="camera", **changes):
    """Return the description of the camera's stream."""
    return daq.Stream(
        name,
        {"frame": daq.Field("<u2", (SIDE, SIDE), "counts")},
        scan={"shape": list(shape), "step": 0.16},
        attributes={"pixel_size": PIXEL, "centre": [CENTRE, CENTRE]},
        expect=None if scans is None else scans * shape[0] * shape[1],
        **changes,
    )


def _aperture():
    """Wave of the probe in the plane of the object, so that Q shows a disc of 0.64 1/nm around each atom's wave."""
    q = np.fft.fftfreq(SIDE) * SIDE * PIXEL
    disc = np.clip((0.64 - np.hypot(q[:, None], q[None, :])) / PIXEL + 0.5, 0, 1)
    probe = np.fft.fft2(disc)
    return probe / np.sqrt(np.mean(np.abs(probe) ** 2))


def frames(tau, scans, *, counts=14.0, w=0.85, seed=0, halo=True):
    """Yield [position, y, x] uint16 counts of one scan after the other.

    ``tau`` [position] s; ``counts`` per pixel in the middle of the ring at 4.4 1/nm.
    """
    tau = np.asarray(tau, float)
    for counted in _counted(tau.tobytes(), scans, counts, w, seed, halo):
        yield counted.copy()


@functools.lru_cache(maxsize=1)
def _counted(tau_bytes, scans, counts, w, seed, halo):
    """Return all scans; those of the last call are kept, since tests look at one series twice."""
    tau = np.frombuffer(tau_bytes)
    draw = np.random.default_rng(seed)
    size = (len(tau), SIDE, SIDE)
    profile = np.exp(-0.5 * ((radius() - 4.4) / 0.47) ** 2) + 0.15 if halo else 1.0

    def noise():
        return (draw.standard_normal(size) + 1j * draw.standard_normal(size)) / np.sqrt(2)

    atoms = noise()
    kept = np.exp(-PERIOD * 1e-9 / tau)[:, None, None]
    probe = _aperture()
    series = []
    for _ in range(scans):
        field = np.fft.fft2(atoms * probe) / SIDE
        expected = counts * profile * (w * np.abs(field) ** 2 + 1 - w)
        series.append(draw.poisson(expected).astype(np.uint16))
        atoms = kept * atoms + np.sqrt(1 - kept**2) * noise()
    return series


def batches(tau, scans, *, usable=None, name="camera", **options):
    """Yield one batch per scan; where ``usable`` [scan, position] is False, `daq.Missing`."""
    positions = len(np.asarray(tau))
    for scan, counted in enumerate(frames(tau, scans, **options)):
        times = scan * PERIOD + np.arange(positions) * 1_000_000
        if usable is None:
            yield daq.Batch(name, {"time": times, "frame": counted})
            continue
        good = usable[scan]
        for part in np.split(np.arange(positions), np.flatnonzero(np.diff(good)) + 1):
            if good[part[0]]:
                yield daq.Batch(name, {"time": times[part], "frame": counted[part]})
            else:
                yield daq.Missing(name, len(part), "dropped")
