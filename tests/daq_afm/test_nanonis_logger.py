"""Samples of the TCP logger: whole, or declared missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import check_source
from daq_afm.nanonis_logger import NanonisLogger
from daq_simulators.nanonis_controller import Controller, ScanEngine


@pytest.fixture
def controller() -> Iterator[Controller]:
    with Controller(ScanEngine(4, 4), logger_rate=20_000) as made:
        yield made


class Live:
    """A source driven by hand."""

    def __init__(
        self, controller: Controller, start: int = 0, memory: Path | None = None, **keys: Any
    ) -> None:
        self.stop = threading.Event()
        self.source = NanonisLogger()
        self.source.context = daq.SourceContext(self.stop, None, memory)
        values = {"port": controller.logger_port, "control_port": controller.port,
                  "channels": ["Z (m)", "Phase"], "oversampling": 10} | keys  # fmt: skip
        try:
            (self.stream,) = self.source.open(validated(NanonisLogger.Config, values, ""))
        except ValueError:
            self.source.close()
            raise
        self.batches = self.source.batches({"": start})

    def until(self, count: int) -> list[daq.Batch | daq.Missing]:
        items, taken = [], 0
        for item in self.batches:
            items.append(item)
            taken += item.count
            if taken >= count:
                break
        return items

    def close(self) -> None:
        self.stop.set()
        assert next(self.batches, None) is None
        self.source.close()


def numbered(items: list[Any], name: str = "counter") -> list[int]:
    return [int(v) for item in items if isinstance(item, daq.Batch) for v in item[name]]


def test_samples_follow_each_other(controller: Controller) -> None:
    live = Live(controller)
    assert {name: field.units for name, field in live.stream.fields.items()} == {
        "z": "nm", "phase": "deg", "counter": "", "state": "", "time": "ns",
    }  # fmt: skip
    items = live.until(500)
    live.close()
    counters = numbered(items)
    assert counters[0] > 0  # packet 0 holds no samples
    assert counters == list(range(counters[0], counters[0] + len(counters)))
    phase = np.concatenate([item["phase"] for item in items])  # type: ignore[index]
    np.testing.assert_allclose(phase, np.array(counters) + 0.024, rtol=1e-6)
    z = np.concatenate([item["z"] for item in items])  # type: ignore[index]
    np.testing.assert_allclose(z, (np.array(counters) + 0.014) * 1e9, rtol=1e-6)
    assert (np.diff(numbered(items, "time")) >= 0).all()


def test_times_follow_the_counter_where_the_interval_is_known(controller: Controller) -> None:
    live = Live(controller, sample_interval=5e-4)
    times = np.array(numbered(live.until(300), "time"))
    live.close()
    np.testing.assert_allclose(np.diff(times), 500_000, atol=1)


def test_lost_samples_are_declared(controller: Controller) -> None:
    live = Live(controller)
    items = live.until(50)
    controller.logger.skip(7)
    items += live.until(400)
    live.close()
    (gap,) = [item for item in items if isinstance(item, daq.Missing)]
    assert gap.count == 7
    counters = numbered(items)
    assert counters[-1] - counters[0] + 1 == len(counters) + 7
    # the index follows the counter, gaps included
    for item in items:
        if isinstance(item, daq.Batch):
            assert item.first == int(item["counter"][0]) - counters[0]


def test_a_connection_that_breaks_and_a_source_that_is_killed(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daq_afm.nanonis_logger.RETRY_S", 0.02)
    memory = tmp_path / "memory"
    live = Live(controller, memory=memory)
    start = numbered(live.until(50))[0]
    controller.logger.hang_up()
    controller.logger.skip(9)
    items = live.until(400)
    (gap,) = [item for item in items if isinstance(item, daq.Missing)]
    assert gap.count >= 9
    last = items[-1]
    assert isinstance(last, daq.Batch) and last.first is not None
    assert last.first == int(last["counter"][0]) - start
    following = last.first + last.count
    live.source.close()
    controller.logger.skip(9)
    live = Live(controller, start=following, memory=memory)
    again = live.until(400)
    live.close()
    assert isinstance(again[0], daq.Missing)
    assert again[0].first == following
    assert isinstance(again[1], daq.Batch)
    assert again[1].first == int(again[1]["counter"][0]) - start


def test_a_logger_that_is_started_anew(
    controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    live = Live(controller)
    live.until(100)
    controller.logger.stop()
    controller.logger.start()
    items: list[Any] = []
    while 1 not in numbered(items):
        items += live.until(50)
    live.close()
    assert not [item for item in items if isinstance(item, daq.Missing)]
    assert "was started anew" in caplog.text


def test_the_promises_of_a_source(controller: Controller) -> None:
    keys = {"port": controller.logger_port, "control_port": controller.port, "channels": [14]}
    check_source(NanonisLogger, keys, records=200, repeatable=False)


def test_by_hand_and_with_slots(controller: Controller) -> None:
    live = Live(controller, channels=["Input 5 (V)", 0], numbering="slots")
    assert list(live.stream.fields)[:2] == ["input_5", "current"]
    live.until(10)
    live.close()
    live = Live(controller, control_port=0, channels=["Input 5 (V)", "Current (A)"])
    assert live.until(10)
    live.close()


def test_what_is_wrong_is_said(controller: Controller) -> None:
    with pytest.raises(ValueError, match=r"no signal 'Q'; there are Current \(A\), Input 1"):
        Live(controller, channels=["Q"])
    with pytest.raises(ValueError, match="no signal 200; there are 128"):
        Live(controller, channels=[200])
    Live(controller).close()
    live = Live(controller, control_port=0, channels=["Z (m)"])
    with pytest.raises(ValueError, match=r"streams 2 channels, not 1: its channels were"):
        live.until(10)
    live.source.close()
    with pytest.raises(ValueError, match="no Nanonis at localhost:1: "):
        Live(controller, port=1, control_port=1)
