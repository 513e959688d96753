"""Records from updates: which update makes one, what stands in it, and what is counted."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_secop.description import node_of
from daq_secop.messages import Message, parse
from daq_secop.readings import Readings
from daq_secop.selection import select
from daq_secop.troubles import Troubles

K = {"type": "double", "unit": "K"}


def report(features: tuple[str, ...] = (), **parameters: Any) -> dict[str, Any]:
    accessibles = {name: {"description": "", "datainfo": info} for name, info in parameters.items()}
    return {"accessibles": accessibles, "features": list(features)}


class Told:
    """Readings of a node, told of updates line by line on a clock that the test sets."""

    def __init__(
        self, modules: dict[str, Any] | None = None, streams: Any = None, **values: Any
    ) -> None:
        node = node_of({"modules": modules or {"sample": report(value=K, target=K)}})
        self.now = 0.0
        self.troubles = Troubles()
        settings = {"hold": 0.0, "node_time": True, **values}
        self.readings = Readings(
            select(node, None, streams or {}), troubles=self.troubles, clock=lambda: self.now,
            **settings,
        )  # fmt: skip

    def update(self, specifier: str, value: Any, t: float | None = None) -> None:
        self.line(f"update {specifier} {json.dumps([value, {} if t is None else {'t': t}])}")

    def line(self, line: str, arrived: int = 5) -> None:
        self.readings.take(parse(line.encode(), arrived))

    def rows(self, field: str = "value", everything: bool = False) -> list[float]:
        batches = list(self.readings.batches(everything))
        return [float(value) for batch in batches for value in batch.raw[field]]


def test_an_update_of_the_main_value_makes_a_record_with_what_is_known() -> None:
    told = Told()
    told.update("sample:target", 320, 1.0)
    told.update("sample:value", 300.5, 2.0)
    told.update("sample:value", 301.5, 3.0)
    (batch,) = told.readings.batches()

    assert batch.stream == "sample"
    np.testing.assert_array_equal(batch.raw["value"], [300.5, 301.5])
    np.testing.assert_array_equal(batch.raw["target"], [320, 320])
    np.testing.assert_array_equal(batch.time, [2_000_000_000, 3_000_000_000])
    told.update("sample:target", 330, 4.0)
    assert list(told.readings.batches()) == []


def test_what_arrives_together_is_in_one_record() -> None:
    modules = {"load": report(value=K), "displacement": report(value=K)}
    streams = {"frame": {"force": "load:value", "displacement": "displacement:value"}}
    told = Told(modules, streams, hold=0.02)
    for reading in range(3):
        told.update("load:value", reading, 1.0 + reading)
        told.update("displacement:value", 10 * reading, 1.0 + reading)
    assert told.rows("displacement") == [0, 10]
    told.now = 0.019
    assert told.rows("displacement") == []
    told.now = 0.02
    assert told.rows("displacement") == [20]
    assert told.troubles.counts == {}


def test_what_is_held_comes_at_the_end() -> None:
    told = Told(hold=1.0)
    told.update("sample:value", 300, 1.0)

    assert told.rows() == []
    assert told.rows(everything=True) == [300]


def test_an_error_is_a_record_without_a_value_and_counted() -> None:
    told = Told()
    told.update("sample:value", 300, 1.0)
    told.line('error_update sample:value ["HardwareError:Sensor", "broken", {"t": 2.0}]')
    told.update("sample:value", 301, 3.0)
    batches = list(told.readings.batches())

    np.testing.assert_array_equal(batches[0].raw["value"], [300, np.nan, 301])
    assert batches[0].time[1] == 2_000_000_000
    assert told.troubles.counts == {"sample:value is not known (HardwareError)": 1}


def test_an_error_of_another_parameter_holds_until_its_next_update() -> None:
    told = Told()
    told.update("sample:target", 320, 1.0)
    told.line('error_update sample:target ["ReadFailed", "no", {}]')
    told.update("sample:value", 300, 2.0)
    told.update("sample:target", 330, 3.0)
    told.update("sample:value", 300, 4.0)
    np.testing.assert_array_equal(told.rows("target"), [np.nan, 330])


@pytest.mark.parametrize("value", ["hot", None, [300], {"value": 300}, True])
def test_a_value_that_is_not_as_described_is_not_known(value: Any) -> None:
    told = Told()
    told.update("sample:value", value, 1.0)

    assert math.isnan(told.rows()[0])
    assert sum(told.troubles.counts.values()) == 1


@pytest.mark.parametrize("data", ["", " 300", " []", ' {"value": 300}', ' "x"'])
def test_a_report_that_is_none_is_not_known(data: str) -> None:
    told = Told()
    told.line(f"update sample:value{data}")

    assert math.isnan(told.rows()[0])
    assert told.troubles.counts == {"sample:value came without a value": 1}


def test_what_nobody_wants_is_left_out() -> None:
    told = Told()
    for line in (
        'update heater:value [1, {}]', 'update sample:ramp [1, {}]', 'update sample [',
        'pong 1 [null, {"t": 1}]', 'log sample:info "hello"', 'changed sample:value [1, {}]',
    ):  # fmt: skip
        try:
            told.line(line)
        except ValueError:
            continue
    assert told.rows() == []
    assert told.troubles.counts == {}


def test_the_same_value_with_the_same_time_is_one_record() -> None:
    """The answer to a read comes beside its update."""
    told = Told()
    told.update("sample:value", 300, 1.0)
    told.line('reply sample:value [300, {"t": 1.0}]')
    told.update("sample:value", 301, 1.0)
    told.update("sample:value", 301, 2.0)
    told.update("sample:value", 301, 3.0)
    assert told.rows() == [300, 301, 301, 301]


def test_a_clock_that_goes_back_is_counted_and_its_records_kept() -> None:
    told = Told()
    for t in (10.0, 11.0, 5.0, 6.0):
        told.update("sample:value", t, t)

    assert told.rows() == [10, 11, 5, 6]
    assert told.troubles.counts == {"the times of sample went back": 1}


@pytest.mark.parametrize("t", ["1.0", None, True, -5, 1e300, float("nan"), [1]])
def test_a_time_that_is_none_is_that_of_arrival_by_the_nodes_clock(t: Any) -> None:
    told = Told()
    told.readings.ahead = 2.0
    told.readings.take(Message("update", "sample:value", [300, {"t": t}], 7_000_000_000))
    (batch,) = told.readings.batches()

    assert batch.time[0] == 9_000_000_000


def test_arrival_may_be_wanted() -> None:
    told = Told(node_time=False)
    told.readings.ahead = 2.0
    told.readings.take(Message("update", "sample:value", [300, {"t": 3.0}], 7))
    (batch,) = told.readings.batches()

    assert batch.time[0] == 7


def test_the_offset_of_a_module_is_added() -> None:
    told = Told({"sample": report(("HasOffset",), value=K, target=K, offset=K)})
    told.update("sample:target", 320, 1.0)
    told.update("sample:value", 300, 1.0)
    assert math.isnan(told.rows()[0])
    told.update("sample:offset", -1.5, 1.0)
    told.update("sample:value", 300, 2.0)
    (batch,) = told.readings.batches()

    assert (batch.raw["value"][0], batch.raw["target"][0]) == (298.5, 318.5)
    assert batch.raw["offset"][0] == -1.5


def test_present_values_make_one_record_in_any_order() -> None:
    told = Told()
    lines = ['sample:value [300, {"t": 1.0}]', 'sample:target [320, {"t": 0.5}]',
             'sample:value [301, {"t": 2.0}]']  # fmt: skip
    told.readings.present([parse(f"update {line}".encode()) for line in lines])
    (batch,) = told.readings.batches()

    assert batch.raw["value"].tolist() == [301]
    assert batch.raw["target"].tolist() == [320]


def test_after_a_loss_nothing_is_known_but_what_has_begun_is_finished() -> None:
    told = Told(hold=1.0)
    told.update("sample:target", 320, 1.0)
    told.update("sample:value", 300, 1.0)
    told.readings.forget()
    assert told.rows("target") == [320]
    told.update("sample:value", 305, 9.0)
    assert math.isnan(told.rows("target", everything=True)[0])


@given(st.lists(st.tuples(st.sampled_from(["value", "target", "x"]), st.floats(-9, 9))))
def test_there_is_a_record_for_each_main_value_with_the_last_target(
    updates: list[tuple[str, float]],
) -> None:
    told, expected, target = Told(), [], math.nan
    for at, (parameter, value) in enumerate(updates):
        told.update(f"sample:{parameter}", value, 1.0 + at)
        if parameter == "target":
            target = value
        elif parameter == "value":
            expected.append((value, target))
        if at % 3 == 0:  # records may be taken at any moment
            expected_now, expected = expected, []
            for batch in told.readings.batches():
                found = np.stack([batch.raw["value"], batch.raw["target"]], axis=1)
                np.testing.assert_array_equal(found, expected_now)
                expected_now = []
            assert expected_now == []
