"""The simulated calorimeter: energy is conserved, histories do what they must, truth is true."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import check_source, record_source
from daq_simulators.calorimeter import Calorimeter, Dsc, ramp
from daq_simulators.glass_enthalpy import Crystallisation
from daq_simulators.tnm import R, Tnm

QUIET = {"noise": 0.0, "baseline_sd": (0.0, 0.0, 0.0), "baseline": (0.0, 0.0, 0.0)}
SHORT = {"start_temperature": 560.0, "programme": [745.0, 560.0, 830.0]}


def configured(**values: Any) -> Any:
    return validated(Calorimeter.Config, values, "sources.dsc")


@functools.lru_cache
def _measured(items: tuple[tuple[str, Any], ...]) -> tuple[dict[str, np.ndarray], Any]:
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in items}
    source = Calorimeter()
    source.open(configured(**values))
    batches = list(source.batches({}))
    fields = {name: np.concatenate([b.raw[name] for b in batches]) for name in batches[0].raw}
    return fields, source.truth()


def measured(**values: Any) -> tuple[dict[str, np.ndarray], Any]:
    return _measured(
        tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in values.items())
    )


def moynihan(model: Tnm, seconds: np.ndarray, kelvin: np.ndarray) -> np.ndarray:
    """The recursion as it is printed: each step of temperature at the beginning of its time."""
    T_f = np.empty_like(kelvin)
    T_f[0] = kelvin[0]
    xi = np.zeros_like(kelvin)
    for n in range(1, len(kelvin)):
        h = model.h_over_r
        ln_tau = np.log(model.tau_g) + h * (
            model.x * (1 / kelvin[n] - 1 / model.T_g)
            + (1 - model.x) * (1 / T_f[n - 1] - 1 / model.T_g)
        )
        xi[n] = xi[n - 1] + (seconds[n] - seconds[n - 1]) / np.exp(ln_tau)
        rest = np.exp(-((xi[n] - xi[:n]) ** model.stretch))
        T_f[n] = kelvin[0] + np.sum(np.diff(kelvin[: n + 1]) * (1 - rest))
    return T_f


def cycle(step: float) -> tuple[np.ndarray, np.ndarray]:
    kelvin = np.concatenate([np.arange(745, 640, -step), np.arange(640, 745, step)])
    return np.arange(len(kelvin)) * step * 3, kelvin


def test_fictive_temperature_is_that_of_the_printed_recursion() -> None:
    model = Tnm(695.0, 160.0, 60.0, 0.7, 0.55)
    fine = cycle(0.05)
    finest = model.fictive_temperature(*fine)[0]
    # the printed one has an error of the first order in its step, ours of the second
    np.testing.assert_allclose(finest, moynihan(model, *fine), atol=0.06)
    for step, every, error in ((0.5, 10, 0.04), (0.25, 5, 0.02)):
        found = model.fictive_temperature(*cycle(step))[0]
        np.testing.assert_allclose(found, finest[::every], atol=error)


def test_a_liquid_follows_and_a_glass_does_not() -> None:
    model = Tnm()
    seconds, kelvin = ramp(780, 300, 20)
    found = model.fictive_temperature(seconds, kelvin)[0]
    assert abs(found[kelvin > 770] - kelvin[kelvin > 770]).max() < 0.1
    assert np.ptp(found[kelvin < 450]) < 1e-3


@pytest.mark.parametrize("fragility", [40.0, 60.0])
def test_fictive_temperature_rises_with_the_cooling_rate(fragility: float) -> None:
    """d ln q / d(1/T_f) = -h/R, whatever x and stretch are (Moynihan 1974)."""
    model = Tnm(fragility=fragility)
    frozen = [model.fictive_temperature(*ramp(800, 400, rate, 0.5))[0][-1] for rate in (2.0, 200.0)]
    slope = np.log(100) / (1 / frozen[0] - 1 / frozen[1])
    assert slope == pytest.approx(model.h_over_r, rel=0.03)
    assert model.h_over_r == pytest.approx(fragility * 695 * np.log(10))


def test_a_hyperquenched_glass_has_a_high_fictive_temperature() -> None:
    _, truth = measured(quench_rate=2.4e7, beta_enthalpy=0.0, **QUIET, **SHORT)
    fictive = truth["glass_fictive_temperature"][0]
    assert 750 < fictive < 900
    expected = 0.2 * (fictive - 698.19) - 1e-4 / 2 * ((fictive - 695) ** 2 - 3.19**2)
    assert truth["excess_enthalpy"][0] == pytest.approx(expected, abs=0.01)


def test_beta_enthalpy_goes_as_it_is_said() -> None:
    times = np.array([300.0, 43200.0])
    _, truth = measured(
        annealing_temperatures=[553.0], annealing_times=times.tolist(), **QUIET, **SHORT
    )
    ln_tau = -24.2 + 26 * 695 / 553
    np.testing.assert_allclose(truth["ln_tau_beta"][1:], ln_tau)
    left = np.exp(-((times / np.exp(ln_tau)) ** 0.3))
    np.testing.assert_allclose(truth["beta_enthalpy"][1:] / 25, left, atol=1e-3)
    # what the alpha relaxation does at 553 K is small, but known too
    np.testing.assert_allclose(truth["excess_enthalpy"], truth["beta_enthalpy"], atol=1e-2)


def test_energy_is_conserved() -> None:
    """Heating it up and cooling it down gives what the states differ by, whatever the way."""
    fields, truth = measured(crystallisation_heat=0.0, **QUIET, **SHORT)
    segment, flow, T = fields["segment"], fields["heat_flow"], fields["temperature"]

    def taken_up(number: int) -> float:
        at = segment == number
        # the reading at a corner belongs to the step before it
        T_from = np.concatenate([[560.0 if number in (0, 2) else 745.0], T[at]])
        flows = np.concatenate([[flow[at][0]], flow[at]])
        return float(np.sum(np.diff(T_from) * (flows[1:] + flows[:-1]) / 2)) * 3

    first, cooling, second = taken_up(0), taken_up(1), -0.0
    at = (segment == 2) & (T <= 745)
    T_from = np.concatenate([[560.0], T[at]])
    flows = np.concatenate([[flow[at][0]], flow[at]])
    second = float(np.sum(np.diff(T_from) * (flows[1:] + flows[:-1]) / 2)) * 3
    # heat flow of a cooling is negative, and so are its steps of temperature
    assert cooling == pytest.approx(second, abs=0.05)
    assert second - first == pytest.approx(truth["excess_enthalpy"][0], abs=0.05)
    assert truth["excess_enthalpy"][0] == pytest.approx(25, abs=0.01)


def test_the_first_readings_are_heat_capacity() -> None:
    fields, _ = measured(beta_enthalpy=0.0, **QUIET, **SHORT)
    early = fields["temperature"][:40]
    c = fields["heat_flow"][:40] * 3
    np.testing.assert_allclose(c, 0.36 + 1.2e-4 * (early - 695), rtol=1e-3)


def test_crystallisation_sets_its_heat_free() -> None:
    # without a step of the heat capacity, which goes with the liquid
    glass = {"beta_enthalpy": 0.0, "c_p_step": 1e-9, "c_p_step_slope": 0.0}
    fields, truth = measured(**glass, **QUIET, **SHORT)
    plain, _ = measured(**glass, crystallisation_heat=0.0, **QUIET, **SHORT)
    heated = fields["segment"] == 2
    T = fields["temperature"][heated]
    less = (plain["heat_flow"] - fields["heat_flow"])[heated] * 3
    area = np.sum(np.diff(T) * (less[1:] + less[:-1])) / 2
    assert area == pytest.approx(60, abs=0.1)
    assert T[np.argmax(less)] == pytest.approx(truth["crystallisation_peak"][0], abs=0.6)
    assert truth["crystallisation_onset"][0] == pytest.approx(765, abs=1)


def test_crystallisation_obeys_kissinger() -> None:
    process = Crystallisation(60, 3, 3e5, 775, 20)
    peaks = []
    for rate in (5.0, 40.0):
        seconds, kelvin = ramp(650, 850, rate, 0.02)
        rate_of_change = np.diff(process.crystallised(seconds, kelvin))
        peaks.append(float(kelvin[rate_of_change.argmax()]))
    low, high = peaks
    energy = R * np.log(40 / 5 * low**2 / high**2) / (1 / low - 1 / high)
    assert energy == pytest.approx(3e5, rel=0.01)


def test_what_has_crystallised_stays_but_its_nuclei_go() -> None:
    process = Crystallisation(60, 3, 3e5, 775, 20)
    kelvin = ramp(600, 760, 20, 0.1)[1]
    twice = np.concatenate([kelvin, kelvin[-2::-1], kelvin[1:]])
    left = 1 - process.crystallised(np.arange(len(twice)) * 0.3, twice)
    assert np.all(np.diff(left) <= 0)
    top, bottom = len(kelvin) - 1, 2 * len(kelvin) - 2
    assert left[top] < 0.99
    assert left[-1] / left[bottom] == pytest.approx(left[top], abs=1e-9)


def test_standards_have_the_transition_that_is_said() -> None:
    _, truth = measured(heating_rates=[20.0], **QUIET, **SHORT)
    assert truth["onset"][0] == pytest.approx(695, abs=0.1)
    assert 700 < truth["half_step"][0] < 705
    assert truth["overshoot"][0] > 0.02


def test_units_and_signs_are_the_same_heat() -> None:
    plain, _ = measured(**SHORT)
    other, _ = measured(units="mW", mass=7.0, sign="exothermic_positive", **SHORT)
    np.testing.assert_allclose(other["heat_flow"], -7 * plain["heat_flow"], rtol=1e-12)
    source = Calorimeter()
    (stream,) = source.open(configured(units="mW", mass=7.0, sign="exothermic_positive"))
    assert stream.fields["heat_flow"].units == "mW"
    assert stream.attributes["mass_mg"] == 7
    assert stream.attributes["heat_flow_sign"] == "exothermic_positive"


def test_modulation_swings_about_the_ramp() -> None:
    values = {"modulation_amplitude": 0.5, "modulation_period": 60.0, "heating_rates": [2.0]}
    fields, _ = measured(**values, start_temperature=690.0, programme=[720.0], **QUIET)
    ramp_alone = 690 + np.arange(len(fields["temperature"])) * 1.5 * 2 / 60
    swing = fields["temperature"] - ramp_alone
    assert np.abs(swing).max() == pytest.approx(0.5, rel=0.01)
    assert np.abs(swing[::40]).max() < 1e-9


def test_baselines_and_noise_are_drawn_from_the_seed() -> None:
    quiet, _ = measured(**{**QUIET, "baseline": [0.02, 0.005, -2e-4]}, **SHORT)
    noisy, _ = measured(**{**QUIET, "baseline": [0.02, 0.005, -2e-4], "noise": 1e-4}, **SHORT)
    wander, _ = measured(**{**QUIET, "baseline": [0.02, 0.005, -2e-4],
                            "baseline_sd": [0.002, 0.001, 5e-5]}, **SHORT)  # fmt: skip
    rest = noisy["heat_flow"] - quiet["heat_flow"]
    assert rest.std() == pytest.approx(1e-4, rel=0.1)
    drawn = wander["heat_flow"] - quiet["heat_flow"]
    for number in range(3):
        at = wander["segment"] == number
        u = (wander["temperature"][at] - 600) / 100
        left = drawn[at] - np.polyval(np.polyfit(u, drawn[at], 2), u)
        assert np.abs(left).max() < 1e-12
        assert drawn[at].std() > 0


def test_history_is_recorded() -> None:
    fields, _ = measured(annealing_temperatures=[553.0], annealing_times=[300.0], **SHORT)
    second = fields["sample"] == 1
    assert np.isnan(fields["annealing_temperature"][~second]).all()
    assert (fields["annealing_time"][~second] == 0).all()
    assert (fields["annealing_temperature"][second] == 553).all()
    assert sorted(set(fields["segment"].tolist())) == list(range(6))
    assert (np.diff(fields["time"]) > 0).all()


def test_fictive_temperature_of_each_record_is_given() -> None:
    fields, truth = measured(**QUIET, **SHORT)
    assert len(truth["fictive_temperature"]) == len(fields["time"])
    hot = fields["temperature"] > 744
    assert abs(truth["fictive_temperature"] - fields["temperature"])[hot].max() < 0.1


@pytest.mark.parametrize("start", [0, 1, 300, 1500])
def test_goes_on_anywhere_with_the_same_records(start: int) -> None:
    values = {"annealing_temperatures": [553.0], "annealing_times": [300.0], **SHORT}
    whole, _ = measured(**values)
    source = Calorimeter()
    source.open(configured(**values, batch=77))
    rest = [batch.raw["heat_flow"] for batch in source.batches({"": start})]
    np.testing.assert_array_equal(np.concatenate(rest), whole["heat_flow"][start:])


def test_keeps_the_promises_of_a_source() -> None:
    check_source(Calorimeter, {"start_temperature": 690.0, "programme": [740.0], "batch": 16})


def test_keeps_its_pace() -> None:
    source = Calorimeter()
    source.open(configured(speed=10.0, interval=1.0, batch=5, **SHORT))
    until: list[float] = []

    class Waiting(daq.SourceContext):
        def wait_until(self, monotonic: float) -> bool:
            until.append(monotonic)
            return len(until) == 4

    source.context = Waiting()
    assert len(list(source.batches({}))) == 3
    np.testing.assert_allclose(np.diff(until), 0.5, atol=1e-6)


def test_is_registered_and_has_a_stream_of_its_own() -> None:
    import daq_simulators

    assert Calorimeter in daq_simulators.daq_sources()
    config = {"start_temperature": 690.0, "programme": [700.0]}
    (records,) = record_source(Calorimeter, config).values()
    assert records.stream.attributes["heat_flow_sign"] == "endothermic_positive"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"annealing_temperatures": [700.0]}, "below T_g"),
        ({"programme": [300.0]}, "another temperature"),
        ({"modulation_amplitude": 1.0, "modulation_period": 5.0}, "8 readings"),
        ({"heating_rate": 5.0}, "did you mean 'heating_rates'"),
        ({"annealing_temperatures": [500.0], "annealing_times": []}, "at least one"),
    ],
)
def test_refuses_what_cannot_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(daq.ConfigError, match=said):
        configured(**values)


def test_dsc_counts_its_readings() -> None:
    dsc = Dsc(configured(**SHORT))
    programme = (745 - 560 + 745 - 560 + 830 - 560) * 3
    assert dsc.count == int(programme / 1.5) + 1
