"""Contact resonance on simulated specimens: spreads, lengths, moduli, and bad lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import Records, check_analysis, record_source, run_analysis
from daq_afm.contact_resonance import ContactResonance
from daq_simulators.afm_beam import ContactBeam
from daq_simulators.afm_contact_resonance import AfmContactResonance
from tests.daq_afm.made_lines import scan_lines, smooth_field

BEAM = ContactBeam(40.0, 300e3, 165.0, 500.0)


def hz(modulus: float) -> float:
    return float(BEAM.frequency(BEAM.stiffness(modulus, 10.0)))


def references(error: float = 0.0) -> list[dict[str, float]]:
    return [{"frequency": hz(m), "modulus": m, "modulus_error": error} for m in (75.0, 130.0)]


def simulated(**config: Any) -> Records:
    lines = record_source(AfmContactResonance, {"retrace": False, "speed": 0, **config})
    (records,) = lines.values()
    return records


def run(records: Records, **config: Any) -> Any:
    return run_analysis(
        ContactResonance, {records.name: records.stream}, records.batches(9), config
    )


def frequency_lines(scans: int = 1, shape: tuple[int, int] = (24, 20), **options: Any) -> Records:
    maps = np.stack([9e5 + 300 * smooth_field(shape, 3.0, s) for s in range(scans)])
    return scan_lines({"frequency": maps}, step=(2.0, 2.0), **options)


@pytest.mark.parametrize(
    ("fluctuation", "length", "step", "limits"),
    [(300.0, 7.5, 2.0, (5, 10)), (700.0, 40.0, 8.0, (30, 50)), (1200.0, 150.0, 30.0, (80, 250))],
)
def test_the_published_spreads_and_lengths_are_found(
    fluctuation: float, length: float, step: float, limits: tuple[float, float]
) -> None:
    """Vit105, La60Cu15Al25 and La60Ni15Al25 of CR-AFM, on images of 130 lengths."""
    records = simulated(
        scan=(256, 256), step=(step, step), fluctuation=fluctuation, correlation_length=length,
        tip_radius=0.1 if length < 10 else 10.0, seed=3,
    )  # fmt: skip
    found = run(records, replicas=16, frequency_noise=30.0)
    summary, fit = found["summary"], found["length"]
    seen = summary["range_5_95"][0] * summary["sd_without_noise"][0] / summary["sd"][0]
    assert seen == pytest.approx(fluctuation, rel=0.12)
    assert fit["flag"][0] == 0
    error = float(fit["correlation_length_errors"][0])
    assert fit["correlation_length"][0] == pytest.approx(length, abs=3.5 * error + 0.05 * length)
    assert error < 0.12 * length
    assert limits[0] < fit["correlation_length"][0] < limits[1]
    assert fit["noise"][0] == pytest.approx(30, abs=12)


def test_curves_give_the_truth_within_their_errors() -> None:
    config = {"scan": (16, 32), "step": (2.0, 2.0), "output": "response", "fluctuation": 1200.0,
              "correlation_length": 12.0, "sweep_points": 32, "seed": 5, "tip_radius": 0.5}  # fmt: skip
    source = AfmContactResonance()
    settings = AfmContactResonance.Config(retrace=False, speed=0, **config)
    source.open(settings)
    truth = source.truth()
    records = simulated(**config)
    found = run(records)["lines"]
    assert (found["flag"] == 0).all() and not found["failed"].any()
    for name, wanted in (("frequency", truth["frequency_map"][0]),
                         ("quality_factor", truth["quality_map"][0])):  # fmt: skip
        pulls = (found[name] - wanted) / found[f"{name}_errors"]
        assert (np.abs(pulls) < 1).mean() == pytest.approx(0.683, abs=0.06), name
    assert found["phase"].mean() == pytest.approx(-90, abs=0.5)
    polar = run(simulated(**config, response_format="polar"))["lines"]
    pulls = (polar["frequency"] - truth["frequency_map"][0]) / polar["frequency_errors"]
    assert (np.abs(pulls) < 1).mean() == pytest.approx(0.683, abs=0.06)


def test_references_make_it_a_modulus() -> None:
    settings = {"scan": (16, 24), "step": (2.0, 2.0), "fluctuation": 3000.0, "seed": 2}
    source = AfmContactResonance()
    source.open(AfmContactResonance.Config(retrace=False, speed=0, **settings))
    wanted = source.truth()["modulus_map"][0]
    found = run(simulated(**settings), references=references(2.0), frequency_noise=30.0)
    lines, summary = found["lines"], found["summary"]
    pulls = (lines["modulus"] - wanted) / lines["modulus_errors"]
    assert (np.abs(pulls) < 1).mean() == pytest.approx(0.683, abs=0.08)
    assert summary["modulus"][0] == pytest.approx(wanted.mean(), rel=0.003)
    assert 0.005 < summary["modulus_common_error"][0] < 0.05
    k = BEAM.stiffness(wanted, 10.0) / 40
    np.testing.assert_allclose(lines["stiffness"], k, rtol=3e-3)
    assert (lines["loss_tangent"] > 0).all()
    assert found["maps"]["modulus"].shape == (1, 16, 24)


def test_errors_of_the_length_cover() -> None:
    """Many smooth fields of one length; the fit knows neither their exponent nor their noise."""
    from daq_afm.characteristic_length import characteristic_length, default_lags

    where = default_lags((72, 72), (1.0, 1.0), 12.0)
    draw = np.random.default_rng(1)
    inside, sigmas = [], []
    for seed in range(24):
        image = 200 * smooth_field((72, 72), 3.5, seed) + 60 * draw.standard_normal((72, 72))
        found = characteristic_length(image, where, replicas=24, seed=seed)
        inside.append(abs(found.length - 3.5) < found.length_error)
        sigmas.append(abs(found.sigma - 200) < found.sigma_error)
    assert 11 <= sum(inside) <= 22
    assert 11 <= sum(sigmas) <= 22


def test_a_map_of_few_lengths_has_none() -> None:
    image = 9e5 + 300 * smooth_field((32, 32), 9.0, 1)[None]
    fit = run(scan_lines({"frequency": image}, step=(1.0, 1.0)), replicas=0)["length"]
    assert fit["flag"][0] == 1
    assert np.isnan(fit["correlation_length"][0])
    assert fit["size_over_length"][0] < 15


def test_profile_runs_where_it_is_told() -> None:
    y, x = np.mgrid[:20, :30]
    image = (9e5 + 100.0 * y * 2 + 10.0 * x)[None]
    records = scan_lines({"frequency": image}, step=(2.0, 1.0))
    plain = run(records, replicas=0)["summary"]
    np.testing.assert_allclose(plain["profile"][0], 9e5 + 1800 + 10.0 * np.arange(30), atol=0.1)
    slanted = run(records, replicas=0, profile_from=(0, 0), profile_to=(38, 29))["summary"]
    t = np.linspace(0, 1, 30)
    np.testing.assert_allclose(slanted["profile"][0], 9e5 + 100 * 38 * t + 290 * t, atol=0.1)
    position = slanted.stream.constants["profile_position"]
    assert position[-1] == pytest.approx(np.hypot(38, 29))
    with pytest.raises(ValueError, match="outside of the image, 38 x 29 nm"):
        run(records, profile_from=(0, 0), profile_to=(99, 0))


def test_bad_pixels_are_counted_and_the_rest_counts() -> None:
    image = 9e5 + 300 * smooth_field((16, 16), 2.0, 4)[None]
    image[0, 3], image[0, 5, 5] = np.nan, -1.0
    found = run(scan_lines({"frequency": image}, step=(1.0, 1.0)), replicas=0)
    assert found["lines"]["failed"].tolist()[3] == 16
    assert found["lines"]["flag"][5, 5] == 4
    assert found["summary"]["failed"][0] == 17
    assert found["summary"]["pixels"][0] == 239
    assert np.isnan(found["summary"]["noise"][0])


def test_the_summary_grows_with_the_image() -> None:
    found = run(frequency_lines(1, (24, 20)), every=10, replicas=0)["summary"]
    assert found["lines"].tolist() == [10, 20, 24]
    assert found["ended"].tolist() == [0, 0, 1]
    assert found["pixels"].tolist() == [200, 400, 480]
    assert np.isnan(found["profile"][0]).all() and np.isfinite(found["profile"][2]).all()


def test_keeps_its_promises() -> None:
    records = frequency_lines(3, (9, 8), attributes={"resonance_frequency": 300e3})
    config = {"replicas": 16, "references": references(), "frequency_noise": 20.0, "least_size": 0,
              "every": 4}  # fmt: skip
    found = check_analysis(ContactResonance, records, config, runs=1)
    assert len(found["summary"]) == 9


def test_curves_keep_their_promises() -> None:
    records = simulated(scan=(8, 8), output="response", sweep_points=12, places=2)
    check_analysis(ContactResonance, records, {"replicas": 0}, runs=1)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="no channel 'frequency'; it has height"):
        run(scan_lines({"height": np.zeros((1, 8, 8))}))
    with pytest.raises(ValueError, match="does not say its free resonance: give free_frequency"):
        run(frequency_lines(), references=references())
    curves = np.zeros((1, 8, 8, 5))
    with pytest.raises(ValueError, match="needs the constant sweep_frequency"):
        run(scan_lines({"response_real": curves, "response_imag": curves}))
    with pytest.raises(ValueError, match="magnitudes of resonance curves only"):
        run(scan_lines({"response_amplitude": curves}))
    with pytest.raises(daq.ConfigError, match="both or neither"):
        run(frequency_lines(), profile_from=(0, 0))
    with pytest.raises(ValueError, match="frequency is in 'V'"):
        run(frequency_lines(units={"frequency": "V"}))
