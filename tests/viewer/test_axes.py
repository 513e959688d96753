"""Coordinates along records and scans."""

from __future__ import annotations

import numpy as np
import pytest

import daq
from daq.viewer import axes


def test_offset_and_step():
    entry = [{"name": "Qy", "units": "1/nm", "offset": -2.0, "step": 0.5}]
    stream = daq.Stream("s", {"f": daq.Field("<f8", (5,))}, {"f": entry})
    axis = axes.record_axis(stream, "f", -1)
    assert axis.label == "Qy (1/nm)"
    assert axis.coordinates.tolist() == [-2.0, -1.5, -1.0, -0.5, 0.0]
    assert axis.edges == (-2.25, 0.25)
    assert axis.even
    assert not axis.logarithmic


def test_values_of_a_constant_may_ask_for_a_logarithm():
    delays = np.geomspace(0.1, 100, 20)
    entry = [{"name": "delay", "units": "s", "values": "delay"}]
    stream = daq.Stream(
        "s", {"g2": daq.Field("<f8", (20,))}, {"g2": entry}, constants={"delay": delays}
    )
    axis = axes.record_axis(stream, "g2", -1)
    assert (axis.coordinates == delays).all()
    assert axis.logarithmic
    assert not axis.even


@pytest.mark.parametrize(
    "entry",
    [
        [],
        [{"name": "a", "values": "nothing"}],
        [{"name": "a", "values": "short"}],
        [{"name": "a", "step": 0}],
        [{"name": "a", "step": "x"}],
        [{}, {}],
    ],
)
def test_what_does_not_fit_counts_pixels(entry):
    stream = daq.Stream(
        "s", {"f": daq.Field("<f8", (4,))}, {"f": entry}, constants={"short": np.arange(3.0)}
    )
    axis = axes.record_axis(stream, "f", -1)
    assert axis.label == "index (px)"
    assert axis.coordinates.tolist() == [0, 1, 2, 3]


def test_scan_axes_are_in_nm_where_the_step_is_known():
    fields = {"f": daq.Field("<f8")}
    stream = daq.Stream("s", fields, scan={"shape": [3, 4], "step": 0.16})
    assert axes.scan_axis(stream, -1, 4).label == "x (nm)"
    assert axes.scan_axis(stream, -1, 4).coordinates[-1] == pytest.approx(0.48)
    stream = daq.Stream("s", fields, scan={"shape": [3, 4], "step": [1.0, 2.0]})
    assert axes.scan_axis(stream, -2, 3).coordinates[1] == 1
    assert axes.scan_axis(stream, -1, 4).coordinates[1] == 2
    stream = daq.Stream("s", fields, scan={"shape": [3, 4], "step": [1, 2], "units": "um"})
    assert axes.scan_axis(stream, -2, 3).label == "y (um)"
    stream = daq.Stream("s", fields, scan={"shape": [3, 4]})
    assert axes.scan_axis(stream, -2, 3).label == "y (positions)"


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        ({"name": "channel", "values": "channel"}, True),
        ({"name": "channel", "units": "1", "values": "channel"}, True),
        ({"name": "delay", "units": "s", "values": "channel"}, False),
        ({"name": "ratio", "values": "ratio"}, False),
        ({"name": "ratio"}, False),
        ({"name": "scan"}, True),
        ({"name": "scan number"}, True),
        ({"name": "scan rate", "units": "Hz"}, False),
    ],
)
def test_what_counts(entry, counts):
    constants = {"channel": np.arange(5), "ratio": np.arange(5.0)}
    stream = daq.Stream(
        "s", {"f": daq.Field("<f8", (5,))}, {"f": [entry]}, constants=constants
    )  # fmt: skip
    assert axes.record_axis(stream, "f", -1).counts == counts


def test_pixels_and_positions_count():
    stream = daq.Stream("s", {"f": daq.Field("<f8", (5,))}, scan={"shape": [4, 6]})
    assert axes.record_axis(stream, "f", -1).counts
    assert axes.scan_axis(stream, -1, 6).counts
    stepped = daq.Stream("s", {"f": daq.Field("<f8")}, scan={"shape": [4, 6], "step": 0.3})
    assert not axes.scan_axis(stepped, -1, 6).counts
