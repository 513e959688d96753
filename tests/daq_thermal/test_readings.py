"""What a stream of readings must say, and that units and signs are the same heat."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import Records
from daq_thermal.readings import Readings, ReadingsConfig, Rows
from tests.daq_thermal.simulated import QUIET, STANDARD, changed, measured


def read(dsc: Records, **config: Any) -> Rows:
    readings = Readings(dsc.stream, ReadingsConfig(**config))
    return Rows.joined([readings.read(batch) for batch in dsc.batches(100)])


def with_stream(dsc: Records, units: dict[str, str] | None = None, **attributes: Any) -> Records:
    fields = {
        name: dataclasses.replace(field, units=(units or {}).get(name, field.units))
        for name, field in dsc.stream.fields.items()
    }
    kept = {k: v for k, v in {**dsc.stream.attributes, **attributes}.items() if v is not None}
    return Records(daq.Stream("dsc", fields, attributes=kept), dsc.arrays)


@pytest.fixture
def dsc() -> Records:
    return measured(**STANDARD, **QUIET)[0]


@pytest.mark.parametrize("units", ["W/g", "mW"])
@pytest.mark.parametrize("sign", ["endothermic_positive", "exothermic_positive"])
def test_units_and_signs_make_no_difference(dsc: Records, units: str, sign: str) -> None:
    other, _ = measured(**STANDARD, **QUIET, units=units, sign=sign, mass=7.3)
    np.testing.assert_allclose(read(other).heat_flow, dsc["heat_flow"], rtol=1e-12)


def test_a_sign_is_asked_for_and_not_guessed(dsc: Records) -> None:
    silent = with_stream(dsc, heat_flow_sign=None)
    with pytest.raises(
        ValueError, match="does not say which sign of heat_flow is endothermic: set"
    ):
        read(silent)
    plain = read(silent, heat_flow_sign="endothermic_positive")
    turned = read(silent, heat_flow_sign="exothermic_positive")
    np.testing.assert_array_equal(plain.heat_flow, -turned.heat_flow)
    with pytest.raises(ValueError, match="one of them is wrong"):
        read(dsc, heat_flow_sign="exothermic_positive")
    with pytest.raises(ValueError, match="heat_flow_sign 'up'"):
        read(with_stream(dsc, heat_flow_sign="up"))


@pytest.mark.parametrize(
    ("units", "attributes", "said"),
    [
        ({"temperature": "degC"}, {}, "temperature is in 'degC', 'K' is needed"),
        ({"temperature": ""}, {}, "temperature is in 'no units'"),
        ({"heat_flow": "mcal/s"}, {}, "heat_flow is in 'mcal/s'; known are W/g"),
        ({"heating_rate": "K/s"}, {}, "'K/min' is needed"),
        ({"annealing_time": "min"}, {}, "'s' is needed"),
        ({"heat_flow": "mW"}, {"mass_mg": None}, "say the mass of the sample"),
    ],
)
def test_units_are_asked_for(
    dsc: Records, units: dict[str, str], attributes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        read(with_stream(dsc, units, **attributes))


def test_a_mass_comes_from_the_configuration_the_record_or_the_stream(dsc: Records) -> None:
    powers = with_stream(dsc, {"heat_flow": "mW"}, mass_mg=None)
    np.testing.assert_allclose(read(powers, mass=5.0).heat_flow, dsc["heat_flow"] / 5)
    masses = np.full(len(dsc), 4.0)
    masses[3] = np.nan
    stream = daq.Stream(
        "dsc", {**powers.stream.fields, "mass": daq.Field("<f8", (), "mg")},
        attributes=powers.stream.attributes,
    )  # fmt: skip
    found = read(Records(stream, {**dsc.arrays, "mass": masses}))
    assert 3 not in found.index
    np.testing.assert_allclose(found.heat_flow, np.delete(dsc["heat_flow"], 3) / 4)


def test_other_streams_are_refused() -> None:
    stream = daq.Stream("camera", {"frame": daq.Field("<u2", (4, 4))})
    with pytest.raises(ValueError, match=r"no field 'temperature' .* it has frame"):
        Readings(stream, ReadingsConfig())


def test_what_is_not_a_number_is_left_out(dsc: Records) -> None:
    flow, T = dsc["heat_flow"].copy(), dsc["temperature"].copy()
    flow[5], T[7], T[9] = np.nan, np.inf, -1.0
    valid = np.ones(len(dsc), bool)
    valid[20:23] = False
    found = read(dataclasses.replace(changed(dsc, heat_flow=flow, temperature=T), valid=valid))
    assert set(range(len(dsc))) - set(found.index.tolist()) == {5, 7, 9, 20, 21, 22}


def test_history_may_be_an_attribute(dsc: Records) -> None:
    plain = changed(dsc, drop=("annealing_temperature", "annealing_time", "segment", "sample"))
    found = read(with_stream(plain, annealing_temperature_K=553, annealing_time_s=60))
    assert (found.annealing_temperature == 553).all()
    assert (found.annealing_time == 60).all()
    assert (found.segment == -1).all()
    assert np.isnan(read(plain).annealing_temperature).all()
