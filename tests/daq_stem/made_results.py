"""Made-up results of a 5D-STEM run, seeded, as the analyses would give them: for tests of views."""

from __future__ import annotations

import numpy as np

import daq

START = 1_700_000_000_000_000_000
PERIOD = 9.2
STEP = 0.16
SHAPE = (60, 60)
BANDS = [[4.2, 4.6]]
RESULT = {"process": {"program": "made", "version": "1", "configuration": {}, "inputs": []}}
NM = {"units": "nm", "offset": 0.0, "step": STEP}
MAP = [{"name": "y", **NM}, {"name": "x", **NM}]


def smooth(rng: np.random.Generator, shape: tuple[int, int], length: float) -> np.ndarray:
    """A Gaussian field of unit variance with a correlation length in positions."""
    q = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    field = np.fft.irfft2(
        np.fft.rfft2(rng.normal(size=shape)) * np.exp(-2 * (np.pi * q * length) ** 2 / 2), s=shape
    )
    return (field - field.mean()) / field.std()


def glass(seed: int, shape: tuple[int, int] = SHAPE):
    """ln tau, V, intensity and a mask of vacuum [y, x]."""
    rng = np.random.default_rng(seed)
    order, own, noise = (smooth(rng, shape, length) for length in (8, 8, 4))
    ln_tau = np.log(1000) + 0.75 * (0.5 * order + 0.8 * own) + 0.3 * noise
    V = 0.57 + 0.07 * order + 0.02 * smooth(rng, shape, 4)
    x = np.arange(shape[1])[None, :]
    vacuum = x + 4 * smooth(rng, shape, 12) < 0.12 * shape[1]
    intensity = np.where(vacuum, 20, 2800 * (1 + 0.1 * smooth(rng, shape, 10)))
    return ln_tau, V, intensity, vacuum


def stream(name: str, fields: dict, axes: dict | None = None, **more) -> daq.Stream:
    attributes = {**RESULT, **more.pop("attributes", {})}
    return daq.Stream(name, fields, axes or {}, attributes=attributes, **more)


def record(name: str, arrays: dict, first: int = 17) -> daq.Batch:
    """One record (a scan), arrays without the record axis."""
    time = np.array([START + int((first + 1) * PERIOD * 1e9)])
    return daq.Batch(
        name, {"time": time, **{k: np.asarray(v)[None] for k, v in arrays.items()}}, first
    )


def records(name: str, arrays: dict, first: int = 0) -> daq.Batch:
    count = len(next(iter(arrays.values())))
    time = START + ((first + 1 + np.arange(count)) * PERIOD * 1e9).astype(np.int64)
    return daq.Batch(name, {"time": time, **arrays}, first)


def maps(seed: int = 1, bands: int = 1, shape: tuple[int, int] = SHAPE):
    limits = [[4.2 + k, 4.6 + k] for k in range(bands)]
    tau, flag = np.empty((bands, *shape)), np.zeros((bands, *shape), np.uint8)
    for band in range(bands):
        ln_tau, _, _, vacuum = glass(seed + band, shape)
        tau[band] = np.exp(ln_tau)
        flag[band][ln_tau > np.log(2600)] = 1
        tau[band][flag[band] == 1] = 2600
        flag[band][5:7, 30:33] = 3
        flag[band][vacuum] = 4
        tau[band][flag[band] >= 3] = np.nan
    three = [{"name": "band", "units": "1"}, *MAP]
    names = ("tau", "tau_errors", "tau_lower", "tau_upper", "gamma", "beta")
    units = dict.fromkeys(names[:4], "s")
    fields = {n: daq.Field("<f8", tau.shape, units.get(n, "")) for n in names}
    fields["flag"] = daq.Field("|u1", tau.shape)
    fields |= {"scan": daq.Field("<i8"), "stage": daq.Field("<i8")}
    fields["temperature"] = daq.Field("<f8", (), "K")
    arrays = {
        "tau": tau, "tau_errors": tau * 0.33, "tau_lower": tau * 0.7, "tau_upper": tau * 1.4,
        "gamma": np.ones_like(tau), "beta": np.full_like(tau, 0.5), "flag": flag,
        "scan": 17, "stage": 0, "temperature": 633.2,
    }  # fmt: skip
    made = stream(
        "ecm.maps", fields, {n: three for n in (*names, "flag")}, attributes={"bands": limits}
    )
    return made, record("ecm.maps", arrays)


def order(seed: int = 1):
    _, V, intensity, vacuum = glass(seed)
    V = np.where(vacuum, np.nan, V)
    fields = {n: daq.Field("<f8", SHAPE) for n in ("V", "V_raw", "intensity")}
    fields["count"] = daq.Field("<i8", SHAPE)
    fields |= {"scan": daq.Field("<i8"), "stage": daq.Field("<i8")}
    fields["temperature"] = daq.Field("<f8", (), "K")
    arrays = {
        "V": V, "V_raw": V + 0.07, "intensity": intensity, "count": np.full(SHAPE, 18),
        "scan": 17, "stage": 0, "temperature": 633.2,
    }  # fmt: skip
    return stream(
        "fem.maps", fields, {n: MAP for n in ("V", "V_raw", "intensity", "count")}
    ), record("fem.maps", arrays)


def profile(seed: int = 1, rings: int = 12):
    q = 3.0 + 0.232 * (0.5 + np.arange(rings))
    V = 0.4 + 0.2 * np.exp(-((q - 4.3) ** 2)) + np.random.default_rng(seed).normal(0, 0.01, rings)
    arrays = {"V": V, "V_raw": V + 0.1, "intensity": 60 * np.exp(-((q - 4.4) ** 2))}
    arrays["pixels"] = 70 + 7 * np.arange(rings)
    fields = {n: daq.Field("<f8" if n != "pixels" else "<i8", (rings,)) for n in arrays}
    axes = {n: [{"name": "q", "units": "1/nm", "values": "q"}] for n in arrays}
    return stream("fem.profile", fields, axes, constants={"q": q}), record("fem.profile", arrays)


def pattern(seed: int = 1, size: int = 264, bands: list | None = None):
    bands = BANDS if bands is None else bands
    rng = np.random.default_rng(seed)
    pixel = 0.058 * 264 / size
    centre = (size / 2 - 2.5, size / 2 + 3.2)
    y, x = np.mgrid[:size, :size].astype(float)
    q = np.hypot(y - centre[0], x - centre[1]) * pixel
    rate = 0.8 * np.exp(-((q - 4.4) ** 2) / (2 * 0.47**2)) + 0.5 * np.exp(-q / 2.5)
    rate += 4000 * np.exp(-((q / 0.35) ** 4)) + 0.15 * np.exp(-((q - 7.5) ** 2) / 0.8)
    mean = rng.poisson(rate * 60) / 60
    annulus = np.zeros((size, size), np.uint8)
    for band, (low, high) in enumerate(bands):
        annulus[(q >= low) & (q < high)] = band + 1
    bad = (np.abs(y - centre[0]) < 6 * size / 264) & (x < centre[1] + 14) | (q < 0.8)
    bad |= rng.random((size, size)) < 0.0005
    bad[:, int(size * 0.77)] = True
    annulus[bad] = 255
    axes = [
        {"name": name, "units": "1/nm", "offset": -c * pixel, "step": pixel}
        for name, c in zip(("q_y", "q_x"), centre, strict=True)
    ]
    made = stream(
        "ecm.pattern", {"mean": daq.Field("<f4", (size, size), "counts")}, {"mean": axes},
        attributes={"bands": bands, "centre": list(centre), "pixel_size": pixel},
        constants={"annulus": annulus},
    )  # fmt: skip
    return made, record("ecm.pattern", {"mean": mean.astype(np.float32)})


def correlation(seed: int = 1, bands: int = 1, used: int = 70, room: int = 128):
    rng = np.random.default_rng(seed)
    delay = np.full(room, np.nan)
    delay[:used] = PERIOD * (1 + np.arange(used))
    g2, errors, fit = (np.full((bands, room), np.nan) for _ in range(3))
    for band in range(bands):
        fit[band, :used] = 1 + 0.034 * np.exp(-2 * (delay[:used] / 812) ** 0.71)
        errors[band, :used] = 2e-4 * np.sqrt(1 + np.arange(used))
        g2[band, :used] = fit[band, :used] + rng.normal(size=used) * errors[band, :used]
    fields = {n: daq.Field("<f8", (bands, room)) for n in ("g2", "g2_errors", "fit")}
    fields["delay_difference"] = daq.Field("<f8", (room,), "s")
    fields["pairs"] = daq.Field("<i8", (room,))
    fields |= {n: daq.Field("<f8", (bands,)) for n in ("tau", "gamma", "beta", "baseline")}
    pairs = np.where(np.isfinite(delay), used - np.arange(room), 0)
    arrays = {
        "g2": g2, "g2_errors": errors, "fit": fit, "delay_difference": delay, "pairs": pairs,
        "tau": np.full(bands, 812.3), "gamma": np.full(bands, 0.71), "beta": np.full(bands, 0.034),
        "baseline": np.ones(bands),
    }  # fmt: skip
    return stream("ecm.g2", fields), record("ecm.g2", arrays, 70)


def two_time(seed: int = 1, bands: int = 1, scans: int = 70, room: int = 106):
    """Rows of the two-time matrix; with less room than scans, those of the last ``room`` scans."""
    rng = np.random.default_rng(seed)
    t = PERIOD * np.arange(scans)
    tau = 400 + 0.8 * t
    rate = np.cumsum(PERIOD / tau)
    G = (
        1
        + 0.034 * np.exp(-2 * np.abs(rate[:, None] - rate[None, :]))
        + rng.normal(0, 5e-4, (scans, scans))
    )
    rows = np.full((scans, bands, room), np.nan)
    ages = np.full((scans, room), np.nan)
    for later in range(scans):
        kept = np.arange(max(0, later - room), later)
        rows[later, :, : len(kept)] = G[later, kept]
        ages[later, : len(kept)] = t[kept]
    made = stream(
        "ecm.two_time",
        {"two_time": daq.Field("<f8", (bands, room)), "age": daq.Field("<f8", (room,), "s")},
    )
    return made, records("ecm.two_time", {"two_time": rows, "age": ages})


def ageing(seed: int = 1, bands: int = 1, windows: int = 9, room: int = 16):
    rng = np.random.default_rng(seed)
    waiting = np.full(room, np.nan)
    waiting[:windows] = 50 + 100 * np.arange(windows)
    tau = np.full((bands, room), np.nan)
    tau[:, :windows] = (400 + 0.8 * waiting[:windows]) * np.exp(
        rng.normal(0, 0.1, (bands, windows))
    )
    fields = {
        "waiting_time": daq.Field("<f8", (room,), "s"),
        "tau": daq.Field("<f8", (bands, room), "s"),
        "tau_errors": daq.Field("<f8", (bands, room), "s"),
    }
    return stream("ecm.ageing", fields), record(
        "ecm.ageing", {"waiting_time": waiting, "tau": tau, "tau_errors": tau * 0.1}
    )


def summary(seed: int = 1, bands: int = 1, scans: int = 106):
    rng = np.random.default_rng(seed)
    scan = np.arange(scans)
    errors = 0.9 / np.sqrt(1 + scan)
    mean = np.log(850) + rng.normal(size=scans).cumsum() * 0.004 + 0.5 * errors
    determined = 0.85 * (1 - np.exp(-scan / 25))
    share = np.zeros((scans, bands, 5))
    share[:, :, 0] = determined[:, None]
    share[:, :, 1] = 0.97 - determined[:, None]
    share[:, :, 3] = 0.03
    names = (
        "mean_ln_tau", "mean_ln_tau_errors", "ln_tau_sd", "independent_speckles", "n_effective",
        "beta",
    )  # fmt: skip
    fields = {n: daq.Field("<f8", (bands,)) for n in names}
    fields["share"] = daq.Field("<f8", (bands, 5))
    fields |= {"scan": daq.Field("<i8"), "stage": daq.Field("<i8"), "usable": daq.Field("<f8")}
    fields["temperature"] = daq.Field("<f8", (), "K")
    per_band = {
        "mean_ln_tau": mean, "mean_ln_tau_errors": errors, "ln_tau_sd": 0.75 + 0 * mean,
        "independent_speckles": 45 + 0 * mean, "n_effective": 90 + 0 * mean, "beta": 0.5 + 0 * mean,
    }  # fmt: skip
    arrays = {n: np.repeat(v[:, None], bands, 1) for n, v in per_band.items()}
    arrays |= {"share": share, "scan": scan, "stage": 0 * scan, "usable": 1.0 + 0 * mean}
    arrays["temperature"] = 633.2 + 0.1 * rng.normal(size=scans)
    arrays["mean_ln_tau"][0] = arrays["mean_ln_tau_errors"][0] = np.nan
    return stream("ecm.summary", fields), records("ecm.summary", arrays)


def shifts(seed: int = 1, scans: int = 106):
    rng = np.random.default_rng(seed)
    walk = rng.normal(0, 0.02, (scans, 2)).cumsum(0) + np.arange(scans)[:, None] * [0.006, -0.003]
    walk -= walk[0]
    fields = {
        n: daq.Field("<f8", (), "nm") for n in ("shift_y", "shift_x", "shift_errors", "residual")
    }
    arrays = {
        "scan": np.arange(scans), "shift_y": walk[:, 0], "shift_x": walk[:, 1],
        "shift_errors": np.full(scans, 0.02), "residual": np.full(scans, 0.03),
    }  # fmt: skip
    return stream("drift.shifts", {"scan": daq.Field("<i8"), **fields}), records(
        "drift.shifts", arrays
    )


def points(seed: int = 1):
    _, ecm = maps(seed)
    _, fem = order(seed)
    fields = {n: daq.Field("<f8", SHAPE, u) for n, u in (("tau", "s"), ("V", ""))}
    fields["flag"] = daq.Field("|u1", SHAPE)
    arrays = {"tau": ecm["tau"][0, 0], "V": fem["V"][0], "flag": ecm["flag"][0, 0]}
    axes = {n: MAP for n in fields}
    return stream("structure_dynamics.points", fields, axes), record(
        "structure_dynamics.points", arrays
    )


def relation(seed: int = 1, scans: int = 106):
    rng = np.random.default_rng(seed)
    scan = np.arange(scans)
    errors = 0.09 + 0.6 / (1 + scan)
    rho = 0.22 + rng.normal(size=scans).cumsum() * 0.004 + 0.3 * rng.normal(size=scans) / (1 + scan)
    names = {
        "spearman": rho, "spearman_errors": errors, "spearman_naive": 0.37 + 0.1 / (1 + scan),
        "p_value": np.full(scans, 0.013), "n_effective": np.full(scans, 84.0),
        "spearman_fixed_intensity": rho - 0.02, "spearman_fixed_intensity_errors": errors,
        "reliability_tau": np.full(scans, 0.7), "reliability_V": np.full(scans, 0.8),
        "ln_tau_correlation_length": np.full(scans, 1.5),
        "ln_tau_correlation_length_errors": np.full(scans, 0.2),
    }  # fmt: skip
    rho[:3] = np.nan
    lengths = [n for n in names if "length" in n]
    fields = {n: daq.Field("<f8", (), "nm" if n in lengths else "") for n in names}
    fields |= {"scan": daq.Field("<i8"), "stage": daq.Field("<i8")}
    arrays = {**names, "scan": scan, "stage": 0 * scan}
    return stream("structure_dynamics.summary", fields), records(
        "structure_dynamics.summary", arrays
    )


def arrhenius(seed: int = 1, stages: int = 5):
    rng = np.random.default_rng(seed)
    kelvin, ln_tau, errors, line = (np.full(16, np.nan) for _ in range(4))
    kelvin[:stages] = 633 + 10.0 * np.arange(stages)
    truth = np.log(1000) + 97e3 / 8.314 * (1 / kelvin - 1 / 633)
    errors[:stages] = 0.06
    ln_tau[:stages] = truth[:stages] + rng.normal(0, 0.06, stages)
    line[:stages] = truth[:stages]
    two = stages > 1
    arrays = {
        "temperature": kelvin, "ln_tau": ln_tau, "ln_tau_errors": errors,
        "energy": 94.6 if two else np.nan, "energy_errors": 7.8 if two else np.nan,
        "energy_unweighted": 98.2 if two else np.nan,
        "energy_unweighted_errors": 9.1 if two else np.nan,
        "ln_tau_inf": -11.1 if two else np.nan, "line": line if two else np.full(16, np.nan),
    }  # fmt: skip
    units = {"temperature": "K", "energy": "kJ/mol", "energy_errors": "kJ/mol"}
    fields = {n: daq.Field("<f8", np.shape(v), units.get(n, "")) for n, v in arrays.items()}
    return stream("arrhenius.fit", fields), record("arrhenius.fit", arrays)


def sectors(seed: int = 1):
    rng = np.random.default_rng(seed)
    ln_tau, _, _, vacuum = glass(seed)
    pair = np.stack([ln_tau + 0.4 * smooth(rng, SHAPE, 4) for _ in range(2)])[None]
    flag = np.zeros(pair.shape, np.uint8)
    flag[pair > np.log(3000)] = 1
    pair[flag == 1] = 30.0
    flag[0, :, vacuum] = 4
    fields = {
        "ln_tau": daq.Field("<f8", pair.shape), "flag": daq.Field("|u1", pair.shape),
        "scan": daq.Field("<i8"), "stage": daq.Field("<i8"),
    }  # fmt: skip
    return stream("ecm.sectors", fields), record(
        "ecm.sectors", {"ln_tau": pair, "flag": flag, "scan": 17, "stage": 0}
    )


EVERY = (
    maps, order, profile, pattern, correlation, points, relation, arrhenius, summary, shifts, ageing,
    two_time, sectors,
)  # fmt: skip
