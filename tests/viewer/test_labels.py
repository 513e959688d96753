"""Numbers and units as people read them."""

from __future__ import annotations

import pytest

import daq
from daq.viewer import labels


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"), (0.01234, "0.0123"), (1.5, "1.50"), (99.95, "100.0"), (12034, "12\u2009034"),
        (-3.2e12, "-3.20e+12"), (3e-7, "3.00e-07"), (float("nan"), "-"),
    ],
)  # fmt: skip
def test_significant(number, said):
    assert labels.significant(number) == said


def test_labels_carry_units():
    assert labels.field_label("g2", daq.Field("<f8", (), "1", "g2 - 1")) == "g2 - 1"
    assert labels.field_label("storage_modulus", daq.Field("<f8", (), "GPa")) == (
        "storage modulus (GPa)"
    )
    assert labels.with_units("time", "min") == "time (min)"


def test_durations_and_time_units():
    assert labels.duration(0.35) == "0.35 s"
    assert labels.duration(600) == "10 min"
    assert labels.duration(36000) == "10 h"
    assert [labels.time_unit(s)[1] for s in (1e-4, 0.5, 10, 3000, 1e5)] == [
        "\u00b5s", "ms", "s", "min", "h",
    ]  # fmt: skip
