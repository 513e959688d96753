"""Names and units of channels, as controllers and files write them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from daq_afm.channels import Channel, find_channels
from daq_afm.settings import FileSettings


@pytest.mark.parametrize(
    ("label", "name", "unit", "direction"),
    [
        ("Z (m)", "Z", "m", "trace"),
        ("OC M1 Freq. Shift (Hz)", "OC M1 Freq. Shift", "Hz", "trace"),
        ("Current (A)", "Current", "A", "trace"),
        ("Phase (lock-in)", "Phase (lock-in)", "", "trace"),
        ("HeightRetrace", "Height", "", "retrace"),
        ("NapPotentialTrace", "NapPotential", "", "trace"),
        ("Phase [Bwd]", "Phase", "", "retrace"),
        ("Height retrace", "Height", "", "retrace"),
        ("Scan backward (Z-Axis)", "Z-Axis", "", "retrace"),
        ("Scan forward (Z-AxisSensor)", "Z-AxisSensor", "", "trace"),
        ("Topography", "Topography", "", "trace"),
    ],
)  # fmt: skip
def test_labels(label: str, name: str, unit: str, direction: str) -> None:
    assert Channel.labelled(label) == Channel(name, unit, direction)  # type: ignore[arg-type]


def fields(labels: list[tuple[str, str]], **said: Any) -> dict[str, tuple[int, str, float]]:
    channels = [
        Channel(one.name, unit or one.unit, one.direction)
        for one, unit in ((Channel.labelled(label), unit) for label, unit in labels)
    ]
    wanted, units, only = (said.get(key, {}) for key in ("channels", "units", "only"))
    found = find_channels(channels, wanted, units, tuple(only))
    return {name: (entry.index, entry.units, entry.factor) for name, entry in found.items()}


def test_known_quantities_and_others() -> None:
    labels = [("HeightTrace", "m"), ("HeightRetrace", "m"), ("PhaseTrace", "rad"),
              ("NapPotentialTrace", "V"), ("QFactorTrace", "1"), ("Frequency", "kHz")]  # fmt: skip
    found = fields(labels)
    assert found["height"] == (0, "nm", 1e9)
    assert found["height_retrace"] == (1, "nm", 1e9)
    assert found["phase"][1:] == ("deg", pytest.approx(57.29577951308232, abs=1e-12))
    assert found["nap_potential"] == (3, "V", 1.0)
    assert found["quality_factor"] == (4, "", 1.0)
    assert found["frequency"] == (5, "Hz", 1e3)
    assert list(fields(labels, only=["phase"])) == ["phase"]


def test_of_a_nanonis() -> None:
    labels = [("Z (m)", ""), ("OC M1 Phase (deg)", ""), ("OC M1 Amplitude (m)", ""),
              ("OC M1 Freq. Shift (Hz)", ""), ("Scan (V)", ""), ("time (s)", "s")]  # fmt: skip
    assert list(fields(labels)) == [
        "height", "phase", "amplitude", "oc_m1_freq_shift", "channel_scan", "channel_time",
    ]  # fmt: skip


def test_the_configuration_says_which_channel_is_the_height() -> None:
    labels = [("Height", "m"), ("ZSensor", "m"), ("Phase", "deg")]
    found = fields(labels, channels={"height": "ZSensor"})
    assert {name: entry[0] for name, entry in found.items()} == {
        "other_height": 0, "height": 1, "phase": 2,
    }  # fmt: skip
    assert fields(labels, channels={"height": 1})["height"][0] == 1
    assert fields([("Friction", "V"), ("Friction", "V")]).keys() == {"friction", "friction_2"}


@pytest.mark.parametrize(
    ("labels", "said", "message"),
    [
        ([("Height", "")], {}, "'Height' (height) has no unit; say units = { \"Height\" = \"...\" } with"),
        ([("Height", "deg")], {}, "has the unit 'deg'; say"),
        ([("Lift", "")], {}, '("1" for a number)'),
        ([("Height", "m")], {"channels": {"phase": "Phaze"}}, "no channel 'Phaze' for phase; there are Height"),
        ([("Height", "m")], {"channels": {"phase": 3}}, "there are 1, from 0: Height"),
        ([("Height", "m")], {"only": ["phase"]}, "no channel 'phase'; there are height"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said(
    labels: list[tuple[str, str]], said: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fields(labels, **said)


def test_a_unit_can_be_told_and_a_channel_left_out() -> None:
    labels = [("Height", ""), ("Lift", "")]
    assert fields(labels, units={"Height": "um"}, only=["height"])["height"][2] == 1e3
    assert fields(labels, units={"height": "V", "Lift": "1"})["height"][1] == "V"


def test_history_in_names() -> None:
    say = r"_(?P<annealing_temperature_degC>\d+)C_(?P<annealing_time_min>\d+)min(_p(?P<place>\d+))?"
    settings = FileSettings(from_name=say)
    assert settings.history("film_280C_30min_p2.ibw") == {
        "annealing_temperature": pytest.approx(553.15), "annealing_time": 1800.0, "place": 2.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match="finds no place"):
        settings.history("film_280C_30min.ibw")
    found = FileSettings(from_name=r"_(?P<annealing_time_h>\d+)h").history("as_made.ibw")
    assert found["annealing_time"] != found["annealing_time"]
    with pytest.raises(ValueError, match="the groups are"):
        FileSettings(from_name="(?P<time>.)")
    with pytest.raises(ValueError, match="no time zone"):
        FileSettings(timezone="Mars")
