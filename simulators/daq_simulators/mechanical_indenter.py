"""A nanoindenter that scans a metallic glass: spherical indents, fast loading, hold, unloading.

By default Vit105 as in Qiao2019, 3.2: 11 x 11 indents 100 nm apart, 800 uN in 1 ms, held 100 ms,
unloaded in 100 ms, 30 000 samples/s, tip radius 2 um; G = 30 GPa, Poisson's ratio 0.363.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_simulators.mechanical_playback import Measurement, Playback, PlaybackConfig

Floats = npt.NDArray[np.float64]

GOOD: Final = 0
LATE: Final = 1
"""The surface lies deeper than the tip was put: contact begins in the midst of loading."""
POP_IN: Final = 2
"""The depth jumps while the load is held."""
CUT: Final = 3
"""The record ends early."""


class Nanoindenter(Playback):
    """A simulated nanoindenter: one record is one indent.

    Stream ``""`` with a scan (``shape``, ``step`` nm): ``load`` uN, ``depth`` nm and ``elapsed`` s,
    each [sample]; ``x``, ``y`` um; ``indent``, its number. Attributes ``tip_radius`` m,
    ``poisson_ratio``, ``loading_time``, ``hold_time``, ``unloading_time`` s.

    The glass follows the Kelvin model (Qiao2019, 3-6 to 3-9), t_c dy/dt + y = K P(t), y = h^(3/2),
    K = 3 (1 - nu)/(8 sqrt(R) G), so that loading gives 3-9. The depth is h and an unknown zero,
    and drifts. G and t_c are Gaussian fields of a given spread and correlation length. t_c of
    Vit105 is not published in numbers: 0.2 ms lags as much as the published curve shows.
    """

    name = "nanoindenter"

    class Config(PlaybackConfig):
        """What ``[sources.NAME]`` with ``type = "nanoindenter"`` may say."""

        shape: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = daq.setting(
            (11, 11), "", "indents: rows, columns"
        )
        step: float = daq.setting(100.0, "nm", "from indent to indent", gt=0)
        load: float = daq.setting(800.0, "uN", "that is held", gt=0)
        preload: float = daq.setting(2.0, "uN", "at which the tip rests before", ge=0)
        lead_time: float = daq.setting(0.005, "s", "recorded before loading", ge=0)
        loading_time: float = daq.setting(1e-3, "s", "of loading", gt=0)
        hold_time: float = daq.setting(0.1, "s", "for which the load is held", gt=0)
        unloading_time: float = daq.setting(0.1, "s", "of unloading", gt=0)
        sampling_rate: float = daq.setting(30_000.0, "1/s", "samples a second", gt=0)
        tip_radius: float = daq.setting(2e-6, "m", "of the spherical tip", gt=0)
        poisson_ratio: float = daq.setting(0.363, "", "of the glass", ge=0, lt=0.5)
        G: float = daq.setting(30.0, "GPa", "mean shear modulus", gt=0)
        G_spread: float = daq.setting(0.04, "", "standard deviation over mean", ge=0, lt=0.3)
        t_c: float = daq.setting(2e-4, "s", "mean relaxation time", gt=0)
        t_c_spread: float = daq.setting(0.15, "", "standard deviation over mean", ge=0, lt=0.3)
        coupling: float = daq.setting(0.0, "", "correlation of t_c and G", ge=-1, le=1)
        correlation_length: float = daq.setting(
            150.0, "nm", "of both fields: exp(-distance/length)", ge=0
        )
        load_noise: float = daq.setting(0.5, "uN", "of a sample", ge=0)
        depth_noise: float = daq.setting(0.2, "nm", "of a sample", ge=0)
        drift: float = daq.setting(0.5, "nm/s", "thermal, its standard deviation", ge=0)
        zero_spread: float = daq.setting(2.0, "nm", "of the zero of the depth", ge=0)
        bad_part: float = daq.setting(
            0.0, "", "of the indents: late contact, pop-in, cut", ge=0, le=1
        )

    def measure(self, config: Any) -> Measurement:
        """Return the whole measurement.

        Truth, one per indent: ``G`` GPa, ``t_c`` s, ``eta`` Pa s (G t_c), ``zero`` nm, ``drift``
        nm/s, ``bad`` (0 good, 1 late contact, 2 pop-in, 3 cut).
        """
        rows, columns = config.shape
        count = rows * columns
        y, x = (a.ravel() * config.step for a in np.indices(config.shape).astype(np.float64))
        draw = np.random.default_rng(np.random.SeedSequence([config.seed, 0]))
        first, second = fields_of(x, y, config.correlation_length, draw)
        G = config.G * (1 + config.G_spread * first)
        mixed = config.coupling * first + np.sqrt(1 - config.coupling**2) * second
        t_c = config.t_c * np.maximum(1 + config.t_c_spread * mixed, 0.05)
        drift = config.drift * draw.standard_normal(count)
        zero = config.zero_spread * draw.standard_normal(count)
        bad = np.where(draw.random(count) < config.bad_part, draw.integers(1, 4, count), GOOD)
        corners = np.cumsum([
            0.0, config.lead_time, config.loading_time, config.hold_time, config.unloading_time
        ])  # fmt: skip
        t = np.arange(0.0, corners[-1], 1 / config.sampling_rate)
        loads = np.array([config.preload, config.preload, config.load, config.load, config.preload])
        P = np.interp(t, corners, loads)
        K = 3 * (1 - config.poisson_ratio) / (8 * np.sqrt(config.tip_radius) * G * 1e9)
        depth = np.empty((count, len(t)))
        load = np.empty_like(depth)
        elapsed = np.tile(t, (count, 1))
        for i in range(count):
            own = np.random.default_rng(np.random.SeedSequence([config.seed, 1, i]))
            seen = loads - (0.4 * config.load if bad[i] == LATE else 0.0)
            h = 1e9 * np.maximum(kelvin(t, corners, 1e-6 * seen, K[i], t_c[i]), 0.0) ** (2 / 3)
            if bad[i] == POP_IN:
                h = h + 6.0 * (t > corners[2] + 0.4 * config.hold_time)
            depth[i] = h + zero[i] + drift[i] * t + config.depth_noise * own.standard_normal(len(t))
            load[i] = P + config.load_noise * own.standard_normal(len(t))
            if bad[i] == CUT:
                begin = int(len(t) * own.uniform(0.02, 0.4))
                depth[i, begin:] = load[i, begin:] = elapsed[i, begin:] = np.nan
        samples = (len(t),)
        axis = [{"name": "sample", "units": "", "offset": 0, "step": 1}]
        stream = daq.Stream(
            "",
            {
                "load": daq.Field("<f4", samples, "uN", "load"),
                "depth": daq.Field("<f4", samples, "nm", "depth"),
                "elapsed": daq.Field("<f4", samples, "s", "time since the indent began"),
                "x": daq.Field("<f8", (), "um", "position"),
                "y": daq.Field("<f8", (), "um", "position"),
                "indent": daq.Field("<i4", (), "", "number of the indent"),
            },
            axes={"load": axis, "depth": axis, "elapsed": axis},
            scan={"shape": [rows, columns], "step": config.step},
            attributes={
                "instrument": "nanoindenter (simulated)",
                "tip_radius": config.tip_radius,
                "poisson_ratio": config.poisson_ratio,
                "loading_time": config.loading_time,
                "hold_time": config.hold_time,
                "unloading_time": config.unloading_time,
                "seed": config.seed,
            },
        )
        fields = {
            "load": load, "depth": depth, "elapsed": elapsed,
            "x": x / 1e3, "y": y / 1e3, "indent": np.arange(count),
        }  # fmt: skip
        truth = {
            "G": G, "t_c": t_c, "eta": 1e9 * G * t_c, "zero": zero, "drift": drift,
            "bad": bad.astype(np.float64),
        }  # fmt: skip
        return Measurement(stream, 1.0 * (1 + np.arange(count)), fields, truth)


def kelvin(t: Floats, corners: Floats, loads: Floats, K: float, t_c: float) -> Floats:
    """Return y = h^(3/2), m^(3/2), of t_c dy/dt + y = K P(t), at rest before the first corner.

    P runs in straight lines through ``loads``, N, at ``corners``, s; below 0 there is no contact
    and no force. t in s, at or after the first corner.
    """
    times, forces = [float(corners[0])], [max(float(loads[0]), 0.0)]
    for k in range(1, len(corners)):
        before, after = float(loads[k - 1]), float(loads[k])
        if before * after < 0:  # contact begins or ends between the corners
            share = before / (before - after)
            times.append(float(corners[k - 1] + share * (corners[k] - corners[k - 1])))
            forces.append(0.0)
        times.append(float(corners[k]))
        forces.append(max(after, 0.0))
    found = np.empty_like(t)
    y = K * forces[0]
    for k in range(1, len(times)):
        length = times[k] - times[k - 1]
        if length <= 0:
            continue
        rate = (forces[k] - forces[k - 1]) / length
        at = (t >= times[k - 1]) & ((t < times[k]) | (k == len(times) - 1))

        def after_corner(s: Any, y: float = y, k: int = k, rate: float = rate) -> Any:
            lag = rate * t_c
            steady = K * (forces[k - 1] + rate * s - lag)
            return steady + (y - K * (forces[k - 1] - lag)) * np.exp(-s / t_c)

        found[at] = after_corner(t[at] - times[k - 1])
        y = float(after_corner(length))
    return found


def fields_of(
    x: Floats, y: Floats, length: float, draw: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return two independent fields of mean 0 and variance 1, [point], exp(-distance/length)."""
    white = draw.standard_normal((2, len(x)))
    if length == 0:
        return white[0], white[1]
    distance = np.hypot(x[:, None] - x[None, :], y[:, None] - y[None, :])
    root = np.linalg.cholesky(np.exp(-distance / length) + 1e-10 * np.eye(len(x)))
    return root @ white[0], root @ white[1]
