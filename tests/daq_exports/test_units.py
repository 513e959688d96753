"""Units and the names of columns."""

from __future__ import annotations

import math

import pytest

from daq_exports.units import UNITS, conversion, mass_mg, split_label


@pytest.mark.parametrize(
    ("label", "name", "unit"),
    [
        ("Temp./°C", "Temp.", "°C"),
        ("Time/min", "Time", "min"),
        ("DSC/(mW/mg)", "DSC", "mW/mg"),
        ("Sensit./(uV/mW)", "Sensit.", "uV/mW"),
        ("Gas Flow(purge1)/(ml/min)", "Gas Flow(purge1)", "ml/min"),
        ("Heat Flow (mW)", "Heat Flow", "mW"),
        ("Heat Flow (Normalized) (W/g)", "Heat Flow (Normalized)", "W/g"),
        ("Storage Modulus [MPa]", "Storage Modulus", "MPa"),
        ("Tan(delta)", "Tan(delta)", ""),
        ("Oscillation strain (cmd)", "Oscillation strain (cmd)", ""),
        ("1/temperature", "1/temperature", ""),
        (' "Temperature (°C)" ', "Temperature", "°C"),
        ("f", "f", ""),
    ],
)
def test_labels_hold_name_and_unit(label: str, name: str, unit: str) -> None:
    assert split_label(label) == (name, unit)


@pytest.mark.parametrize(
    ("dimension", "unit", "value", "expected"),
    [
        ("temperature", "°C", 25.0, 298.15),
        ("temperature", "º C", 25.0, 298.15),
        ("temperature", "°F", 212.0, 373.15),
        ("temperature", "K", 300.0, 300.0),
        ("frequency", "rad/s", 2 * math.pi, 1.0),
        ("pressure", "N/mm²", 2.0, 2e6),
        ("pressure", "GPa", 2.0, 2e9),
        ("time", "h", 1.0, 3600.0),
        ("ratio", "%", 1.0, 0.01),
        ("specific power", "mW/g", 1.0, 1e-3),
        ("power", "μW", 1.0, 1e-3),
        ("rate", "K/s", 1.0, 60.0),
    ],
)
def test_conversions(dimension: str, unit: str, value: float, expected: float) -> None:
    factor, offset = conversion(dimension, unit, "x")
    assert factor * value + offset == pytest.approx(expected, rel=1e-12)


def test_no_unit_is_guessed() -> None:
    with pytest.raises(
        ValueError, match=r"the unit of column 'T' is not given; say units = { \"T\""
    ):
        conversion("temperature", "", "T")
    with pytest.raises(ValueError, match="column 'T': 'Pa' is no unit of temperature"):
        conversion("temperature", "Pa", "T")
    assert "" not in UNITS["temperature"] | UNITS["power"] | UNITS["pressure"] | UNITS["frequency"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("28.0000\tmg", 28.0),
        ("0,0105 g", 10.5),
        ("0.0000 mg", None),
        ("heavy", None),
        ("3 lb", None),
    ],
)
def test_masses(text: str, value: float | None) -> None:
    assert mass_mg(text) == value
