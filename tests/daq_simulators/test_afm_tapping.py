"""The simulated tapping mode: what is known comes out of the lines; faults are what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import check_source, record_source
from daq_simulators.afm_cantilever import ELECTRONVOLT, EXPONENTS, Cantilever
from daq_simulators.afm_regions import RegionLaw, draw_regions
from daq_simulators.afm_tapping import AfmTapping
from tests.daq_simulators.afm_lines import tapping_lines

QUIET = {"height_noise": 0.0, "phase_noise": 0.0, "feedback_noise": 0.0}
USUAL = Cantilever(5.0, 160e3, 160e3, 400.0, 10.0)


def configured(**values: Any) -> Any:
    return validated(AfmTapping.Config, values, "sources.afm")


def images(lines: Any, channel: str, rows: int) -> np.ndarray:
    """[scan, row, column] of whole scans, in increasing y."""
    order = np.lexsort((lines["line"], lines["scan"]))
    return np.asarray(lines[channel][order].reshape(-1, rows, lines[channel].shape[-1]))


def energy(phase: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Eq. 3-10 as it is printed, in eV."""
    joule = (np.sin(np.radians(phase)) - amplitude / 10) * (
        np.pi * 5 * amplitude * 1e-9 * 10e-9 / 400
    )
    return np.asarray(joule / 1.602176634e-19)


def test_defaults_are_those_of_the_paper() -> None:
    lines, truth = tapping_lines()
    assert lines["phase"].mean() == pytest.approx(70, abs=0.7)
    assert lines["amplitude"].mean() == pytest.approx(8.5, abs=1e-3)
    assert lines["amplitude"].std() == pytest.approx(0.02, rel=0.03)
    assert truth["dissipation_map"].mean() == pytest.approx(1.9, abs=0.05)
    assert truth["dissipation_map"].std() == pytest.approx(0.12 * 1.9, rel=0.15)
    assert lines["height"].std() == pytest.approx(0.3, rel=0.3)
    said = lines.stream.attributes
    assert said["amplitude_setpoint"] == 8.5
    assert said["phase_at_resonance"] == 90
    assert lines.stream.scan == {"shape": [128, 128], "step": [0.488, 0.488], "units": "nm"}


@pytest.mark.parametrize("regime", ["repulsive", "attractive"])
def test_the_dissipated_energy_follows_from_phase_and_amplitude(regime: str) -> None:
    lines, truth = tapping_lines(scan=(64, 64), regime=regime, phase_noise=0.0, places=2)
    found = energy(lines["phase"].astype(float), lines["amplitude"].astype(float))
    np.testing.assert_allclose(found.reshape(2, 64, 64), truth["dissipation_map"], atol=2e-5)
    assert (lines["phase"] < 90).all() == (regime == "repulsive")


def test_a_free_cantilever_dissipates_nothing() -> None:
    lines, _ = tapping_lines(scan=(16, 16), dissipation=0.0, drive_frequency=159e3, **QUIET)
    sine = np.sin(np.radians(lines["phase"].astype(float)))
    np.testing.assert_allclose(sine, 159 / 160 * 0.85, atol=1e-6)


def test_noise_is_what_it_says() -> None:
    quiet, _ = tapping_lines(**QUIET)
    noisy, _ = tapping_lines(height_noise=0.05, phase_noise=0.3, feedback_noise=0.0,
                             amplitude_noise=0.01)  # fmt: skip
    for channel, sd in (("height", 0.05), ("phase", 0.3), ("amplitude", 0.01)):
        one, other = (noisy[c] - quiet[c] for c in (channel, f"{channel}_retrace"))
        assert one.std() == pytest.approx(sd, rel=0.03)
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03
    drawn, _ = tapping_lines(**QUIET, line_noise=0.2, phase_line_noise=0.4)
    for channel, sd in (("height", 0.2), ("phase", 0.4)):
        offset = drawn[channel] - quiet[channel]
        assert np.ptp(offset, axis=1).max() < 1e-4
        assert offset[:, 0].std() == pytest.approx(sd, rel=0.2)


def test_tilt_and_bow_are_what_they_say() -> None:
    shape = {"scan": (8, 33), "step": (2.0, 0.5), "height_sigma": 0.0}
    lines, _ = tapping_lines(**shape, tilt=(0.01, 0.02), bow=0.7, **QUIET)
    height = images(lines, "height", 8)[0]
    np.testing.assert_allclose(np.diff(height[:, 16]), 0.02, atol=1e-6)
    assert height[0, -1] - height[0, 0] == pytest.approx(0.02 * 16, abs=1e-6)
    assert height[0, [0, -1]].mean() - height[0, 16] == pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize(
    ("convention", "attributes", "turned"),
    [
        ("bruker", {"phase_at_resonance": 0.0, "phase_sign": -1}, lambda phi: 90 - phi),
        ("zero", {"phase_at_resonance": 0.0, "phase_sign": 1}, lambda phi: phi - 90),
        ("unknown", {}, lambda phi: phi),
    ],
)
def test_conventions_of_controllers(convention: str, attributes: Any, turned: Any) -> None:
    lag, _ = tapping_lines(scan=(16, 16))
    shown, _ = tapping_lines(scan=(16, 16), phase_convention=convention)
    np.testing.assert_allclose(shown["phase"], turned(lag["phase"]), atol=1e-5)
    said = shown.stream.attributes
    assert {k: said[k] for k in ("phase_at_resonance", "phase_sign") if k in said} == attributes
    if attributes:
        back = 90 + said["phase_sign"] * (shown["phase"] - said["phase_at_resonance"])
        np.testing.assert_allclose(back, lag["phase"], atol=1e-5)


@pytest.mark.parametrize(("direction", "sign"), [("up", 1), ("down", -1)])
def test_structure_function_of_the_lines_is_the_formula(direction: str, sign: int) -> None:
    """With pixels that are not square and a specimen that drifts, over many places."""
    values = {"scan": (40, 64), "step": (1.0, 0.5), "drift": (9.0, 24.0), "places": 60,
              "height_correlation_length": 4.0, "height_hurst_exponent": 0.7,
              "direction": direction}  # fmt: skip
    lines, _ = tapping_lines(**values, **QUIET, retrace=False, dissipation_spread=0.0)
    height = images(lines, "height", 40).astype(float)
    # while a line is scanned the specimen goes 0.15 nm up and 0.4 nm to the right
    for i, j in ((0, 1), (0, 8), (1, 0), (4, 6), (4, -6), (12, 0)):
        one = height[:, i:, max(j, 0) : 64 + min(j, 0)]
        other = height[:, : 40 - i, max(-j, 0) : 64 - max(j, 0)]
        each = np.mean((one - other) ** 2, axis=(1, 2))
        r = np.hypot(i * (1 - sign * 0.15), j * 0.5 - sign * i * 0.4)
        wanted = 2 * 0.3**2 * (1 - np.exp(-((r / 4) ** 1.4)))
        assert each.mean() == pytest.approx(wanted, abs=3.5 * each.std() / np.sqrt(len(each)))


def test_height_and_dissipation_are_independent_or_coupled() -> None:
    values = {"scan": (40, 40), "step": (6.0, 6.0), "places": 40, "truth_maps": 40,
              "correlation_length": 6.0, "height_correlation_length": 8.0}  # fmt: skip
    for wanted in (0.0, 0.6):
        _, truth = tapping_lines(**values, height_coupling=wanted)
        each = [
            np.corrcoef(h.ravel(), e.ravel())[0, 1]
            for h, e in zip(truth["surface_map"], truth["dissipation_map"], strict=True)
        ]
        assert np.mean(each) == pytest.approx(wanted, abs=0.02)


def test_trace_and_retrace_lag() -> None:
    lines, _ = tapping_lines(scan=(20, 60), step=(1.0, 0.5), lag=2.0, **QUIET)
    for channel in ("height", "phase"):
        trace, back = lines[channel], lines[f"{channel}_retrace"]
        # a trace shows to the right what the retrace shows to the left, lag apart
        np.testing.assert_allclose(trace[:, 4:], back[:, :-4], atol=1e-4)


def test_drift_moves_a_place_from_scan_to_scan() -> None:
    # the next scan begins after a minute; it is rows of 1 nm less the drift of 0.5 s that it shows
    minute = 1 / (1 + 2 * 0.5 / 60)
    lines, _ = tapping_lines(
        scan=(40, 50), step=(1.0, 0.5), scans_per_place=2, line_time=0.5, pause=40.0,
        drift=(2.0 * minute, -1.5 * minute), **QUIET,
    )  # fmt: skip
    for channel in ("height", "phase"):
        one, other = images(lines, channel, 40)
        # the specimen went two rows up and three columns to the left
        np.testing.assert_allclose(other[2:, :-3], one[:-2, 3:], atol=1e-4)
    assert lines["place"].tolist() == [0] * 80
    assert sorted(set(lines["scan"].tolist())) == [0, 1]


def test_annealing_shrinks_and_narrows() -> None:
    printed = [6.13, 5.05, 4.28, 3.67, 2.59]
    annealed = {"annealing_temperatures": [553.0], "places": 2, "scan": (64, 64)}
    lines, truth = tapping_lines(**annealed, correlation_lengths=printed)
    np.testing.assert_allclose(truth["xi"], np.repeat(printed, 2))
    assert lines["annealing_time"][::128].tolist() == [0, 300, 1800, 10800, 43200]
    assert np.isnan(lines["annealing_temperature"][:128]).all()
    assert (lines["annealing_temperature"][128:] == 553).all()
    assert lines["sample"][::128].tolist() == list(range(5))
    assert lines["place"][::64].tolist() == list(range(10))
    spread = truth["dissipation_map"].reshape(5, -1).std(axis=1)
    assert spread[0] > spread[1] > spread[-1]
    assert (np.diff(truth["mean_dissipation"][::2]) < 0).all()

    _, truth = tapping_lines(**annealed, ln_tau=[7.5])
    left = np.exp(-((np.array([300, 1800, 10800, 43200]) / np.exp(7.5)) ** 0.28))
    np.testing.assert_allclose(truth["xi"][2::2], 6.13 * left ** (1 / 3))
    # what is printed gives these two numbers
    np.testing.assert_allclose(truth["xi"][::2], printed, rtol=0.06)


def test_places_of_a_sample_may_differ() -> None:
    _, truth = tapping_lines(scan=(8, 8), step=(9.0, 9.0), places=200, place_spread=0.1,
                             truth_maps=0,
                             retrace=False)  # fmt: skip
    assert np.std(truth["xi"]) == pytest.approx(0.613, rel=0.15)
    assert truth["dissipation_map"].shape == (0, 8, 8)


def test_a_tip_wears_faster_below_the_set_point_and_shows_less() -> None:
    # an hour of scanning at each ratio
    worn = {"scan": (64, 64), "step": (0.5, 0.5), "line_time": 3600 / 64, "scans_per_place": 2,
            "tip_wear": 1.5, "correlation_length": 2.0, "mechanism": "constant"}  # fmt: skip
    _, truth = tapping_lines(**worn, amplitude_ratios=[(1, 0.75)], truth_maps=2, dissipation=1.0)
    radius = truth["radius"]
    assert radius[0] == 1
    np.testing.assert_allclose(np.diff(radius[:64]), 1.5 / 64)
    np.testing.assert_allclose(np.diff(radius[64:]), 1.5 * np.e / 64)
    rough = [np.mean(np.diff(m, axis=1) ** 2, axis=1) for m in truth["dissipation_map"]]
    assert np.mean(rough[1]) < 0.3 * np.mean(rough[0])
    assert np.mean(rough[0][:16]) > 2 * np.mean(rough[0][-16:])
    assert truth["ratio"].tolist() == [0.85, 0.75]


def test_amplitude_follows_its_set_point_while_the_stream_says_the_first() -> None:
    lines, truth = tapping_lines(scan=(32, 32), places=3, amplitude_ratios=[(1, 0.6), (2, 0.9)])
    means = images(lines, "amplitude", 32).mean(axis=(1, 2))
    np.testing.assert_allclose(means, [8.5, 6, 9], atol=0.01)
    assert lines.stream.attributes["amplitude_setpoint"] == 8.5
    found = energy(*(images(lines, c, 32).astype(float) for c in ("phase", "amplitude")))
    np.testing.assert_allclose(found.mean((1, 2)), truth["dissipation_map"].mean((1, 2)), atol=0.01)


@pytest.mark.parametrize("mechanism", ["viscoelasticity", "hysteresis", "long_range"])
def test_dissipation_follows_its_mechanism(mechanism: Any) -> None:
    ratios = np.linspace(0.1, 0.95, 18)
    known = np.array([0.5, 1.9])
    found = np.array([USUAL.dissipation(known, 0.85, r, mechanism) for r in ratios])
    p, q = EXPONENTS[mechanism]
    sine = found / USUAL.energy(ratios * 10)[:, None] + ratios[:, None]
    assert (sine < 1).all()
    factor = found / (ratios[:, None] ** p * (1 - sine**2) ** (q / 2))
    np.testing.assert_allclose(factor, np.broadcast_to(factor[0], factor.shape), rtol=1e-6)
    at = USUAL.dissipation(known, 0.85, 0.85 + 1e-9, mechanism)
    np.testing.assert_allclose(at, known, rtol=1e-6)


def test_energy_scale_is_that_of_the_paper() -> None:
    assert float(USUAL.energy(8.5)) == pytest.approx(np.pi * 5 * 8.5e-9 * 1e-8 / 400 / ELECTRONVOLT)
    assert USUAL.phase(1.9, 8.5) == pytest.approx(70, abs=0.4)
    # at this ratio nothing is dissipated at 58 and 122 degrees
    assert USUAL.phase(0, 8.5) == pytest.approx(58, abs=0.3)
    assert USUAL.phase(0, 8.5, "attractive") == pytest.approx(122, abs=0.3)
    assert USUAL.phase(USUAL.most(0.85), 8.5) == pytest.approx(90, abs=1e-5)


def test_regions_are_where_the_truth_says() -> None:
    lines, truth = tapping_lines(
        scan=(256, 256), region_fraction=0.05, dissipation_spread=0.02, region_dissipation=0.8,
        region_edge=0.05, phase_noise=0.0, feedback_noise=0.0, retrace=False,
    )  # fmt: skip
    found = energy(*(images(lines, c, 256).astype(float) for c in ("phase", "amplitude")))[0]
    high = found > 1.9 + 0.4
    assert high.mean() == pytest.approx(0.05, abs=0.012)
    regions = truth["regions"]
    area = np.pi * regions[:, 3] * regions[:, 4]
    assert np.sqrt(area / np.pi).mean() == pytest.approx(2.0, abs=0.1)
    np.testing.assert_allclose(regions[:, 3] / regions[:, 4], 2)
    y, x = np.indices(high.shape) * 0.488
    drawn = np.zeros(high.shape, bool)
    for _, cy, cx, a, b, angle in regions:
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        u, v = (x - cx) * c + (y - cy) * s, (y - cy) * c - (x - cx) * s
        drawn |= (u / a) ** 2 + (v / b) ** 2 < 1
    assert (drawn != high).mean() < 0.002


def law(**values: Any) -> RegionLaw:
    usual = {"area_fraction": 0.05, "radius": 2.0, "radius_sd": 0.4, "exponent": None,
             "largest_radius": 20.0, "aspect": 2.0, "angle": None, "angle_sd": 5.0,
             "edge": 0.3}  # fmt: skip
    return RegionLaw(**{**usual, **values})  # type: ignore[arg-type]


def test_regions_obey_their_law() -> None:
    extent, draw = ((0.0, 400.0), (0.0, 400.0)), np.random.default_rng(1)
    regions = draw_regions(law(), extent, draw)
    radius = np.sqrt(regions[:, 2] * regions[:, 3])
    assert radius.mean() == pytest.approx(2, abs=0.06)
    assert radius.std() == pytest.approx(0.4, rel=0.15)
    # any direction: neither lobe of the double nor of the fourfold angle
    for order in (2, 4):
        assert abs(np.exp(1j * order * np.radians(regions[:, 4])).mean()) < 3 / np.sqrt(len(radius))
    y, x = regions[:, 0], regions[:, 1]
    apart = np.hypot(y[:, None] - y, x[:, None] - x) - regions[:, 2] - regions[:, 2][:, None]
    assert apart[~np.eye(len(y), dtype=bool)].min() > 0
    # turned after plastic flow
    turned = draw_regions(law(angle=45.0, aspect=2.4, radius=4.0), extent, draw)
    assert turned[:, 4].mean() == pytest.approx(45, abs=1.5)
    assert turned[:, 4].std() == pytest.approx(5, rel=0.3)
    # sizes without a scale, from 1 to 50 nm: the mean of ln R says the exponent
    scaleless = law(exponent=1.7, radius=1.0, largest_radius=50.0, area_fraction=0.1)
    power = draw_regions(scaleless, ((0.0, 1500.0), (0.0, 1500.0)), draw)
    logs = np.log(power[:, 2] * power[:, 3]) / 2
    rest = 50**-0.7
    wanted = 1 / 0.7 - np.log(50) * rest / (1 - rest)
    assert logs.mean() == pytest.approx(wanted, abs=3 * logs.std() / np.sqrt(len(logs)))
    assert len(logs) > 500


def test_anisotropy_is_seen_in_the_dissipation_only() -> None:
    _, truth = tapping_lines(scan=(128, 128), step=(1.0, 1.0), anisotropy=1.0, anisotropy_order=4,
                             anisotropy_angle=45.0, correlation_length=4.0, places=4)  # fmt: skip
    ky, kx = np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128), indexing="ij")
    ring = (np.hypot(ky, kx) > 0.03) & (np.hypot(ky, kx) < 0.2)
    angle = np.arctan2(ky, kx)[ring]
    lobes = []
    for name in ("dissipation_map", "surface_map"):
        field = truth[name] - truth[name].mean(axis=(1, 2), keepdims=True)
        power = (np.abs(np.fft.fft2(field * np.outer(*2 * [np.hanning(128)]))) ** 2).mean(axis=0)
        weight = power[ring] * np.hypot(ky, kx)[ring] ** 3
        lobes.append(2 * np.mean(weight * np.cos(4 * (angle - np.pi / 4))) / weight.mean())
    assert lobes[0] == pytest.approx(1, abs=0.15)
    assert abs(lobes[1]) < 0.1


def test_lines_come_in_the_order_and_at_the_times_that_are_said() -> None:
    up, _ = tapping_lines(scan=(5, 4), places=2, line_time=2.0, pause=3.0)
    alternate, _ = tapping_lines(scan=(5, 4), places=2, line_time=2.0, pause=3.0,
                                 direction="alternate")  # fmt: skip
    down, _ = tapping_lines(scan=(5, 4), places=2, direction="down")
    assert up["line"].tolist() == [0, 1, 2, 3, 4] * 2
    assert down["line"].tolist() == [4, 3, 2, 1, 0] * 2
    assert alternate["line"].tolist() == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]
    np.testing.assert_allclose(up["y"], up["line"] * 0.488)
    seconds = (up["time"] - up["time"][0]) / 1e9
    np.testing.assert_allclose(seconds, [0, 2, 4, 6, 8, 13, 15, 17, 19, 21])
    assert up["time"][0] == np.datetime64("2026-01-01", "ns").astype(int)
    # without drift an image does not depend on the order in which it is scanned
    np.testing.assert_array_equal(images(down, "phase", 5), images(up, "phase", 5))


def test_faults_are_what_they_say() -> None:
    shape = {"scan": (6, 8), "places": 3}
    whole, _ = tapping_lines(**shape)
    faulty, truth = tapping_lines(
        **shape, nan_lines=[(0, 2)], broken_off=[(0, 4)], restarted=[(1, 2)], rewound=[(2, 3)],
    )  # fmt: skip
    assert faulty["scan"].tolist() == [0] * 4 + [1] * 2 + [2] * 6 + [3] * 9
    assert faulty["place"].tolist() == [0] * 4 + [1] * 8 + [2] * 9
    assert faulty["line"].tolist() == [0, 1, 2, 3, 0, 1, *range(6), 0, 1, 2, *range(6)]
    lost = np.isnan(faulty["phase"]).all(axis=1)
    assert np.flatnonzero(lost).tolist() == [2]
    assert np.isnan(faulty["height_retrace"]).any(axis=1).tolist() == lost.tolist()
    # the same place, with other noise
    quiet, _ = tapping_lines(**shape, restarted=[(1, 2)], **QUIET)
    np.testing.assert_allclose(quiet["phase"][6:8], quiet["phase"][8:10], atol=1e-5)
    assert (faulty["phase"][4:6] != faulty["phase"][6:8]).all()
    np.testing.assert_array_equal(faulty["phase"][:2], whole["phase"][:2])
    assert len(truth["xi"]) == 4
    assert len(truth["radius"]) == len(faulty)


def test_trace_and_retrace_can_be_swapped() -> None:
    lines, _ = tapping_lines(scan=(4, 8), places=2, lag=1.0)
    swapped, _ = tapping_lines(scan=(4, 8), places=2, lag=1.0, swapped=[1])
    for one, other in (("phase", "phase_retrace"), ("height_retrace", "height")):
        np.testing.assert_array_equal(swapped[one][:4], lines[one][:4])
        np.testing.assert_array_equal(swapped[one][4:], lines[other][4:])


@pytest.mark.parametrize("start", [1, 17, 40, 63])
def test_goes_on_anywhere_with_the_same_lines(start: int) -> None:
    values = {
        "scan": (16, 8),
        "step": (4.0, 4.0),
        "places": 4,
        "restarted": [(1, 5)],
        "batch": 7,
        "speed": 0,
    }
    whole, _ = tapping_lines(**values)
    source = AfmTapping()
    source.open(configured(**values))
    rest = [batch.raw["phase"] for batch in source.batches({"": start})]
    np.testing.assert_array_equal(np.concatenate(rest), whole["phase"][start:])


def test_keeps_the_promises_of_a_source() -> None:
    check_source(
        AfmTapping, {"scan": (16, 8), "step": (4.0, 4.0), "places": 2, "speed": 0, "batch": 5,
                     "region_fraction": 0.1,
                     "annealing_temperatures": [553], "ln_tau": [7.5]}, records=90,
    )  # fmt: skip
    records = record_source(AfmTapping, {"scan": (8, 4), "speed": 0}, name="probe")["probe"]
    assert records["phase"].shape == (8, 4)
    assert records["phase"].dtype == np.float32


def test_keeps_its_pace() -> None:
    source = AfmTapping()
    source.open(configured(scan=(8, 4), line_time=2.0, speed=10.0, places=2, pause=5.0))
    until: list[float] = []

    class Waiting(daq.SourceContext):
        def wait_until(self, monotonic: float) -> bool:
            until.append(monotonic)
            return False

    source.context = Waiting()
    assert len(list(source.batches({"": 3}))) == 13
    np.testing.assert_allclose(np.diff(until), [0.2] * 4 + [0.7] + [0.2] * 7, atol=1e-6)


def test_is_registered() -> None:
    import daq_simulators

    assert AfmTapping in daq_simulators.daq_sources()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dissipation": 4.0}, "at A/A0 0.85 at most 3.13 eV"),
        ({"amplitude_ratios": [(2, 0.5), (1, 0.4)]}, "in order"),
        ({"amplitude_ratio": 0.9, "drive_frequency": 180e3}, "cannot be at w/w0 1.125"),
        ({"annealing_temperatures": [553.0]}, "ln_tau: one for each"),
        ({"annealing_temperatures": [553.0], "correlation_lengths": [6.0]}, "there are 5 pieces"),
        (
            {"annealing_temperatures": [553.0], "ln_tau": [7.0], "annealing_times": []},
            "at least one",
        ),
        ({"correlation_lengths": [6.0], "ln_tau": [7.0]}, "either these or ln_tau"),
        ({"region_exponent": 1.7, "region_radius": 30.0}, "not over region_radius"),
        ({"nan_lines": [(0, 512)]}, "512 lines, counted from 0"),
        ({"broken_off": [(0, 512)]}, "after fewer lines"),
        ({"rewound": [(0, 5), (0, 6)]}, "each scan once"),
        ({"swapped": [0], "retrace": False}, "nothing to swap"),
        ({"drift": (20.0, 0.0)}, "half a line"),
        ({"drift": (1.0, 0.0), "direction": "alternate", "scans_per_place": 2}, "same direction"),
        ({"scan": (1, 5)}, "at least 2 rows"),
        ({"correlation_lenght": 5.0}, "did you mean 'correlation_length'"),
    ],
)
def test_refuses_what_cannot_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(daq.ConfigError, match=said):
        configured(**values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"restarted": [(3, 5)]}, "restarted: scan 3, but there are 1"),
        (
            {"height_coupling": 0.9, "height_correlation_length": 100.0, "step": (10, 10)},
            "correlate by",
        ),
    ],
)
def test_refuses_on_opening_what_only_the_scans_tell(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AfmTapping().open(configured(scan=(16, 16), **values))
