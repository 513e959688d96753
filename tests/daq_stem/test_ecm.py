"""`ecm`: truths recovered with errors that cover, whatever is missing, however it was batched."""

from __future__ import annotations

import numpy as np
import pytest
import speckle_camera as camera

import daq
from daq.testing import Records, check_analysis, run_analysis
from daq_stem.ecm.analysis import Ecm

SHAPE = (14, 20)
POSITIONS = 280


def run(scans, tau, config=None, others=(), usable=None, shape=SHAPE, **options):
    """Run `ecm` on speckles with the given tau; ``others`` are (stream, batches) beside the camera."""
    streams = {"camera": camera.stream(shape, scans)}
    streams |= {stream.name: stream for stream, _ in others}
    items = list(camera.batches(tau, scans, usable=usable, **options))
    items += [batch for _, batches in others for batch in batches]
    return run_analysis(Ecm, streams, items, {"replicas": 32, **(config or {})})


def spread(median, sd=0.6, seed=0, positions=POSITIONS):
    return np.exp(np.random.default_rng(seed).normal(np.log(median), sd, positions))


def last(result, name):
    return result["maps"][name][-1, 0].reshape(-1)


@pytest.mark.parametrize("ratio", [0.4, 2.0])
def test_covers_and_is_not_biased(ratio):
    scans = 20
    tau = spread(scans * 9.2 / ratio)
    result = run(scans, tau, {"replicas": 96}, seed=1)
    found, errors, flag = (last(result, name) for name in ("tau", "tau_errors", "flag"))
    determined = flag == 0
    assert determined.mean() > 0.9
    z = np.log(found / tau) / (errors / found)
    # 280 independent positions: 68 +- 3 %; where the series is short, errors hold that gamma may
    # change later, which it does not do here: 74 % on average of six seeds
    most = 0.77 if ratio > 1 else 0.82
    assert 0.59 < np.mean(abs(z[determined]) < 1) < most
    assert abs(np.median(np.log(found / tau)[determined])) < 0.06
    inside = (last(result, "tau_lower") <= tau) & (tau <= last(result, "tau_upper"))
    assert 0.59 < inside[determined].mean() < most
    summary = result["summary"]
    mean, error = (summary[k][-1, 0] for k in ("mean_ln_tau", "mean_ln_tau_errors"))
    assert abs(mean - np.log(tau).mean()) < 4 * error
    assert summary["ln_tau_sd"][-1, 0] == pytest.approx(np.log(tau).std(), abs=0.12)
    # the exponent was not told
    gamma, gamma_error = (summary[k][-1, 0] for k in ("gamma", "gamma_errors"))
    assert gamma == pytest.approx(1, abs=max(0.06, 3 * gamma_error))
    assert last(result, "gamma")[determined] == pytest.approx(gamma, abs=1e-12)
    # w^2 less what few speckles take, see `speckle`
    assert summary["beta"][-1, 0] == pytest.approx(0.85**2 * 0.95, abs=0.05)
    assert 35 < summary["independent_speckles"][-1, 0] < 50


def test_one_record_a_scan_and_flags_before_there_is_anything():
    result = run(5, spread(100.0))
    maps = result["maps"]
    assert maps["scan"].tolist() == [0, 1, 2, 3, 4]
    assert (maps["flag"][0] == 3).all()
    assert np.isnan(maps["tau"][0]).all()
    assert (maps["flag"][4] < 3).mean() > 0.8
    times = maps["time"]
    assert times.tolist() == [
        scan * camera.PERIOD + (POSITIONS - 1) * 1_000_000 for scan in range(5)
    ]
    assert np.isfinite(result["two_time"]["two_time"][4, 0, :4]).all()
    assert np.isnan(result["two_time"]["two_time"][4, 0, 4:]).all()
    assert result["summary"]["usable"].tolist() == [1.0] * 5


def test_mean_g2_and_its_errors():
    """Errors from blocks cover: tau is the same everywhere, the truth is known."""
    scans, tau = 12, 60.0
    result = run(scans, np.full(POSITIONS, tau), seed=2)
    g2 = result["g2"]
    delay = g2["delay_difference"][-1]
    known = np.isfinite(delay)
    assert delay[known][:11] == pytest.approx(9.2 * np.arange(1, 12))
    assert g2["pairs"][-1, :11].tolist() == [POSITIONS * (scans - k) for k in range(1, 12)]
    assert g2["tau"][-1, 0] == pytest.approx(tau, rel=0.06)
    assert g2["gamma"][-1, 0] == pytest.approx(1, abs=0.06)
    shape = np.exp(-2 * delay[known] / tau)
    value, errors = g2["g2"][-1, 0, known] - 1, g2["g2_errors"][-1, 0, known]
    assert (errors > 0).all()
    contrast = np.sum(value * shape / errors**2) / np.sum(shape**2 / errors**2)
    assert (abs(value - contrast * shape) < 5 * errors).all()


def test_gaps_repeats_and_order_of_time():
    scans = 16
    tau = spread(80.0, 0.4)
    everything = run(scans, tau, seed=3)
    draw = np.random.default_rng(4)
    usable = draw.random((scans, POSITIONS)) < 0.8
    usable[7] = False  # a scan that nobody saw
    with_gaps = run(scans, tau, seed=3, usable=usable)
    assert not with_gaps["maps"].valid[7]
    assert with_gaps["summary"]["usable"][6] == usable[6].mean()
    a, b = last(everything, "tau"), last(with_gaps, "tau")
    both = (last(everything, "flag") == 0) & (last(with_gaps, "flag") == 0)
    assert both.mean() > 0.85
    error = (last(with_gaps, "tau_errors") / b)[both]
    difference = np.log(b / a)[both]
    assert abs(difference.mean()) < 0.05
    assert np.sqrt(np.mean((difference / error) ** 2)) < 1  # the same speckles, fewer of them


def test_a_repeated_frame_is_left_out():
    shape, scans = (4, 5), 4
    items = list(camera.batches(np.full(20, 50.0), scans))
    changed = items[2].raw["frame"].copy(), items[2].raw["time"].copy()
    changed[0][6], changed[1][6] = changed[0][5], changed[1][5]
    items[2] = daq.Batch("camera", {"frame": changed[0], "time": changed[1]})
    result = run_analysis(Ecm, {"camera": camera.stream(shape, scans)}, items, {"replicas": 16})
    assert result["summary"]["usable"].tolist() == [1, 1, 0.95, 1]


def test_every_second_scan_gives_the_same_tau():
    scans = 24
    tau = spread(60.0, 0.3)
    half = np.ones((scans, POSITIONS), bool)
    half[1::2] = False
    a = run(scans, tau, seed=5)
    b = run(scans, tau, seed=5, usable=half)
    mean = [r["summary"]["mean_ln_tau"][r["summary"].valid][-1, 0] for r in (a, b)]
    error = b["summary"]["mean_ln_tau_errors"][b["summary"].valid][-1, 0]
    assert abs(mean[0] - mean[1]) < 3 * error


def test_half_the_dose_gives_the_same_tau():
    scans = 16
    tau = spread(80.0, 0.3)
    results = [run(scans, tau, seed=6, counts=counts) for counts in (14.0, 7.0)]
    means = [r["summary"]["mean_ln_tau"][-1, 0] for r in results]
    errors = [r["summary"]["mean_ln_tau_errors"][-1, 0] for r in results]
    assert abs(means[0] - means[1]) < 3 * np.hypot(*errors)


def test_vacuum_is_masked_and_does_not_matter():
    shape, scans = (14, 24), 10
    items = list(camera.batches(spread(60.0, 0.3, positions=336), scans, seed=7))
    column = np.arange(336) % 24
    for batch in items:
        batch.raw["frame"][column < 4] //= 30
    result = run_analysis(Ecm, {"camera": camera.stream(shape, scans)}, items, {"replicas": 16})
    flag = result["maps"]["flag"][-1, 0]
    assert (flag[:, :4] == 4).all()
    assert (flag[:, 4:] < 3).mean() > 0.9
    assert result["summary"]["share"][-1, 0, 4] == pytest.approx(4 / 24)
    assert result["summary"]["share"][-1, 0, :4].sum() == pytest.approx(1)


def test_bad_pixels_and_gain():
    """The same counts behind a gain, with dead pixels, give nearly the same maps."""
    scans = 8
    tau = spread(50.0, 0.3)
    draw = np.random.default_rng(8)
    mask = draw.random((camera.SIDE, camera.SIDE)) < 0.01
    gain = draw.uniform(0.8, 1.25, mask.shape).astype("<f4")
    items = list(camera.batches(tau, scans, seed=8))
    plain = run_analysis(Ecm, {"camera": camera.stream(SHAPE, scans)}, items, {"replicas": 16})
    stream = camera.stream(SHAPE, scans, constants={"gain": gain, "mask": mask})
    changed = []
    for number, item in enumerate(items):
        frame = np.rint(item.raw["frame"] / gain).astype(np.uint16)
        frame[:, mask] = 65535 if number % 2 else 0
        changed.append(daq.Batch("camera", {"time": item.time, "frame": frame}))
    corrected = run_analysis(Ecm, {"camera": stream}, changed, {})
    both = (last(plain, "flag") == 0) & (last(corrected, "flag") == 0)
    difference = np.log(last(plain, "tau") / last(corrected, "tau"))[both]
    assert abs(np.median(difference)) < 0.05
    assert np.std(difference) < np.median((last(plain, "tau_errors") / last(plain, "tau"))[both])
    image = corrected.get("pattern").stream.constants["annulus"]
    assert (image[mask] == 255).all()


def test_drift_is_followed():
    """The specimen moves by a position a scan: with the shifts tau is right, without it is not."""
    rows, columns, scans, tau = 12, 30, 10, 60.0
    wide = columns + scans
    items = []
    for scan, batch in enumerate(camera.batches(np.full(rows * wide, tau), scans, seed=9)):
        frames = batch.raw["frame"].reshape(rows, wide, camera.SIDE, camera.SIDE)
        # what stood at x stands at x + scan
        seen = frames[:, scans - scan : scans - scan + columns].reshape(
            -1, camera.SIDE, camera.SIDE
        )
        times = scan * camera.PERIOD + np.arange(rows * columns) * 1_000_000
        items.append(daq.Batch("camera", {"time": times, "frame": seen}))
    number = np.arange(scans)
    drift = daq.Stream(
        "drift.shifts",
        {"scan": daq.Field("<i8"), "shift_y": daq.Field("<f8"), "shift_x": daq.Field("<f8")},
    )
    shifts = daq.Batch(
        "drift.shifts",
        {"time": number * camera.PERIOD, "scan": number, "shift_y": 0.0 * number,
         "shift_x": 0.16 * number},
    )  # fmt: skip
    stream = camera.stream((rows, columns), scans)
    followed = run_analysis(
        Ecm, {"camera": stream, "drift.shifts": drift}, [*items, shifts], {"replicas": 16}
    )
    blind = run_analysis(Ecm, {"camera": stream}, items, {"replicas": 16})
    g = followed["g2"]["g2"][-1, 0] - 1
    assert g[0] > 0.4
    assert followed["g2"]["tau"][-1, 0] == pytest.approx(tau, rel=0.25)
    assert (blind["g2"]["g2"][-1, 0, :3] - 1 < 0.1).all()
    # what has left the field has fewer pairs, what came in late too
    assert followed["maps"]["flag"][-1, 0, :, :20].max() < 3


def test_stages_of_temperature():
    scans = 12
    tau = np.full(POSITIONS, 60.0)
    thermometer = daq.Stream("holder", {"temperature": daq.Field("<f8", (), "degC")})
    kelvin = np.repeat([633.0, 643.0], [7, 6])
    kelvin[6] = 638.0  # the seventh scan sees the change
    times = np.arange(13) * camera.PERIOD - 1
    readings = daq.Batch("holder", {"time": times, "temperature": kelvin - 273.15})
    result = run(scans, tau, others=[(thermometer, [readings])], seed=10)
    maps = result["maps"]
    stages = maps["stage"][maps.valid]
    assert set(stages.tolist()) == {0, 1}
    assert not maps.valid[5]  # from 633 to 638 K
    assert maps["temperature"][0] == pytest.approx(633)
    assert maps["temperature"][-1] == pytest.approx(643)
    begins = int(np.flatnonzero((maps["stage"] == 1) & maps.valid)[0])
    assert (maps["flag"][begins] == 3).all()  # nothing of the first stage is left


def test_baseline_and_gamma_free():
    scans = 40
    shape = (8, 10)
    result = run(scans, np.full(80, 25.0), {"gamma": "free", "baseline": "free"}, shape=shape)
    fitted = last(result, "flag") == 0
    assert fitted.mean() > 0.5
    assert np.median(last(result, "gamma")[fitted]) == pytest.approx(1, abs=0.2)
    assert np.median(last(result, "tau")[fitted]) == pytest.approx(25, rel=0.2)


def test_ageing_is_seen():
    """tau doubles on the way: the windows say so."""
    scans, shape = 40, (10, 20)
    halves = [
        list(camera.batches(np.full(200, tau), scans // 2, seed=seed, name="camera"))
        for tau, seed in ((40.0, 11), (120.0, 12))
    ]
    items = []
    for half, batches in enumerate(halves):
        for scan, batch in enumerate(batches):
            times = batch.time + (half * scans // 2) * camera.PERIOD
            del scan
            items.append(daq.Batch("camera", {"time": times, "frame": batch.raw["frame"]}))
    result = run_analysis(
        Ecm, {"camera": camera.stream(shape, scans)}, items, {"waiting_times": 4, "replicas": 16}
    )
    ageing = result["ageing"]
    tau, errors = ageing["tau"][-1, 0], ageing["tau_errors"][-1, 0]
    assert ageing["waiting_time"][-1] == pytest.approx(
        39 * 9.2 * np.array([1, 3, 5, 7]) / 8, rel=0.01
    )
    assert tau[0] == pytest.approx(40, abs=4 * errors[0] + 2)
    assert tau[3] == pytest.approx(120, abs=4 * errors[3] + 6)
    assert errors[0] < 10


@pytest.mark.timeout(900)  # some thirty runs
def test_promises():
    shape, scans = (4, 5), 9
    items = list(camera.batches(np.full(20, 40.0), scans, seed=13))
    arrays = {
        name: np.concatenate([item.raw[name] for item in items]) for name in ("time", "frame")
    }
    thermometer = daq.Stream("holder", {"temperature": daq.Field("<f8", (), "K")})
    times = np.arange(scans + 1) * camera.PERIOD
    drift = daq.Stream(
        "drift.shifts",
        {"scan": daq.Field("<i8"), "shift_y": daq.Field("<f8"), "shift_x": daq.Field("<f8")},
    )
    number = np.arange(scans)
    check_analysis(
        Ecm,
        [
            Records(camera.stream(shape, scans), arrays, ((27, 3),)),
            Records(thermometer, {"time": times, "temperature": np.full(scans + 1, 633.0)}),
            Records(
                drift,
                {"time": number * camera.PERIOD, "scan": number, "shift_y": 0.01 * number,
                 "shift_x": -0.05 * number},
            ),
        ],
        {"bands": [[4.2, 4.6]], "replicas": 16},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bands": [[4.6, 4.2]]}, "the inner one comes first"),
        ({"bands": [[40.0, 41.0]]}, "at least 8"),
        ({"gamma": 3.0}, "between 0.2 and 2"),
        ({"gamma": "wild"}, "gamma"),
        ({"history": 2}, "history"),
    ],
)
def test_what_does_not_fit_is_refused(config, message):
    with pytest.raises((ValueError, daq.ConfigError), match=message):
        run(4, spread(50.0), config)


def test_streams_that_do_not_fit_are_refused():
    frames = camera.stream(SHAPE, 4)
    other = daq.Stream("other", {"pressure": daq.Field("<f8")})
    with pytest.raises(ValueError, match="neither drift"):
        run_analysis(Ecm, {"camera": frames, "other": other}, [], {})
    unscanned = daq.Stream("camera", frames.fields, attributes=frames.attributes)
    with pytest.raises(ValueError, match="how it was scanned"):
        run_analysis(Ecm, {"camera": unscanned}, [], {})
    hot = daq.Stream("hot", {"temperature": daq.Field("<f8", (), "degF")})
    with pytest.raises(ValueError, match="K or degC"):
        run_analysis(Ecm, {"camera": frames, "hot": hot}, [], {})


def test_memory_formula_at_the_published_size():
    stream = daq.Stream(
        "camera", {"frame": daq.Field("<u2", (264, 264))}, expect=106 * 7200,
        scan={"shape": [60, 120], "step": 0.16},
        attributes={"pixel_size": 0.058, "centre": [131.5, 131.5]},
    )  # fmt: skip
    needed = Ecm.memory({"camera": stream}, Ecm.Config())
    assert 7200 * 106 * 212 * 4 < needed < 1.3e9
    longer = Ecm.memory({"camera": stream}, Ecm.Config(history=212))
    assert 1.8 < longer / needed < 2.1
