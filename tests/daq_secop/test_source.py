"""The source against a node that behaves, disappears, comes back, and lies."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import check_source, record_source
from daq_secop.messages import parse
from daq_secop.source import Secop
from daq_secop.status import Statuses
from daq_secop.troubles import Troubles
from daq_simulators.secop_instruments import LoadFrame
from tests.daq_secop.conftest import DOUBLE, ScriptedNode, module

Nodes = Callable[..., Any]


class Taking:
    """A source that is open, and the records that it gives one by one."""

    def __init__(self, node: Any, memory: Path | None = None, **values: Any) -> None:
        given = {"host": "127.0.0.1", "port": node.port, "hold": 0.0, **values}
        self.stop = threading.Event()
        self.source = Secop()
        self.source.context = daq.SourceContext(self.stop, memory=memory)
        config = validated(Secop.Config, given, "sources.holder")
        self.streams = self.source.open(config)
        self._items = self._records(self.source.batches({}))
        self._thread = threading.Thread(target=next, args=(self._items, None), daemon=True)

    def _records(self, batches: Iterator[Any]) -> Iterator[dict[str, float]]:
        for batch in batches:
            assert batch.first is None
            for at in range(len(batch)):
                yield {name: array[at].tolist() for name, array in batch.raw.items()}

    def next(self, field: str = "value") -> float:
        """The field in the next record; waits for it."""
        return next(self._items)[field]

    def rest(self) -> list[float]:
        """The main values of what is left, the source being asked to end."""
        self.stop.set()
        return [record["value"] for record in self._items]

    def start(self) -> None:
        """Listen in a thread; the next record goes to nobody."""
        self._thread.start()

    def close(self) -> None:
        self.stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.source.close()


@pytest.fixture
def taking() -> Iterator[Callable[..., Taking]]:
    made: list[Taking] = []

    def make(*arguments: Any, **values: Any) -> Taking:
        made.append(Taking(*arguments, **values))
        return made[-1]

    yield make
    for each in made:
        each.close()


def a_node(scripted: Nodes, present: float = 300.0) -> ScriptedNode:
    node: ScriptedNode = scripted(sample=module(target=DOUBLE))
    node.present = [
        f'update sample:value [{present}, {{"t": 1000.0}}]',
        'update sample:target [310, {"t": 900.0}]',
    ]
    return node


def test_it_keeps_the_promises_of_a_source(simulated: Nodes) -> None:
    node = simulated(noise=0.1, program=[(5.0, 320.0)])
    config = {"host": "127.0.0.1", "port": node.port}
    found = check_source(Secop, config, records=40, repeatable=False, name="furnace")

    assert sorted(found) == ["furnace.heater", "furnace.sample"]


def test_records_are_what_the_node_has_read(simulated: Nodes) -> None:
    node = simulated(
        LoadFrame, start=0.0, ramp=600.0, noise=0.0, program=[(2.0, 100.0)], fault=(20.0, 22.0)
    )
    streams = {"frame": {"force": "load:value", "displacement": "displacement:value",
                         "status": "load:status"}}  # fmt: skip
    config = {"host": "127.0.0.1", "port": node.port, "streams": streams, "duration": 60.0}
    records = record_source(Secop, config, name="frame")["frame.frame"]

    seconds = (records["time"] - 1767225600_000000000) / 1e9
    np.testing.assert_array_equal(seconds, np.arange(len(records)))
    assert 61 <= len(records) < 200
    force = np.clip(10 * (seconds - 2), 0, 100)
    broken = (seconds >= 20) & (seconds < 22)
    np.testing.assert_allclose(records["force"], np.where(broken, np.nan, force), atol=1e-9)
    # force and displacement of one reading are in one record
    creep = 30 * (1 - np.exp(-np.clip(seconds - 2, 0, 10) / 30))
    creep = 10 * (np.clip(seconds - 2, 0, 10) - creep)
    left = np.exp(-np.clip(seconds - 12, 0, None) / 30)
    creep = np.where(seconds > 12, 100 - (100 - creep) * left, creep)
    np.testing.assert_allclose(records["displacement"], force / 500 + creep / 1000, atol=1e-9)
    np.testing.assert_array_equal(np.unique(records["status"]), [100, 370, 400])
    assert records.stream.fields["displacement"].units == "mm"


def test_the_first_record_holds_the_present_values(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node)
    first = next(source._items)

    assert first == {"value": 300.0, "target": 310.0, "time": 1_000_000_000_000}
    node.update("sample:value", 301, 1001.0)
    assert source.next() == 301
    assert "activate sample" in node.requests


def test_a_node_that_knows_no_single_modules(scripted: Nodes, taking: Nodes) -> None:
    node = scripted(one=module(), two=module())
    node.present = ['update one:value [1, {"t": 1}]', 'update two:value [2, {"t": 1}]']
    node.answers["activate one"] = ['error_activate one ["ProtocolError", "no", {}]']
    source = taking(node)
    assert [source.next(), source.next()] == [1, 2]
    assert [r for r in node.requests if r.startswith("activate")] == ["activate one", "activate"]

    node.answers["activate one"] = [*node.present, "active"]
    source = taking(node)
    assert [source.next(), source.next()] == [1, 2]
    assert "activate two" not in node.requests


def test_a_node_that_is_late_is_waited_for(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    node.vanish()
    found: list[Taking] = []
    thread = threading.Thread(target=lambda: found.append(taking(node)), daemon=True)
    thread.start()
    node.listen()
    thread.join(20)
    assert found[0].next() == 300


def test_a_node_that_does_not_come_is_an_error(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    node.vanish()
    with pytest.raises(ValueError, match=rf"no SECoP node at 127.0.0.1:{node.port} for 0 s .*refu"):
        taking(node, reconnect=0.0)


def test_waiting_for_a_node_ends_with_the_run(scripted: Nodes) -> None:
    node = a_node(scripted)
    node.vanish()
    source = Secop()
    stop = threading.Event()
    stop.set()
    source.context = daq.SourceContext(stop)
    assert source.open(Secop.Config(host="127.0.0.1", port=node.port)) == []
    source.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"*IDN?": ["220 mail.example.org ESMTP"]}, "no SECoP node is there"),
        ({"describe": ["describing . {}"]}, "holds no modules"),
        ({"describe": ['error_describe  ["InternalError", "later", {}]']}, "InternalError: later"),
    ],
)
def test_what_is_no_node_is_refused(scripted: Nodes, taking: Nodes, answer: Any, why: str) -> None:
    node = scripted()
    node.answers |= answer
    with pytest.raises(ValueError, match=rf"127.0.0.1:{node.port}: .*{why}"):
        taking(node)


def test_it_goes_on_when_the_node_is_back(
    scripted: Nodes, taking: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    node = a_node(scripted)
    source = taking(node)
    assert source.next() == 300
    node.update("sample:value", 301, 1001.0)
    assert source.next() == 301
    node.vanish()
    # back with a value that has been there already, and one that is new
    node.present[0] = 'update sample:value [301, {"t": 1001.0}]'
    node.present[1] = 'update sample:target [330, {"t": 1001.0}]'
    node.listen()
    threading.Thread(
        target=lambda: (node.until_asked("activate", 2), node.update("sample:value", 302, 1002.0)),
        daemon=True,
    ).start()
    record = next(source._items)
    assert (record["value"], record["target"]) == (302, 330)
    said = [record.getMessage() for record in caplog.records]
    assert any("is away (" in text for text in said)
    assert any("is back after" in text for text in said)


def test_the_last_record_before_a_loss_is_not_lost(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node, hold=10.0)
    node_said = threading.Thread(
        target=lambda: (node.until_asked("activate"), node.vanish()), daemon=True
    )
    node_said.start()
    assert source.next() == 300


def test_what_is_held_at_the_end_is_given(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node, hold=10.0, timeout=0.3)
    threading.Thread(
        target=lambda: (node.until_asked("ping alive"), source.stop.set()), daemon=True
    ).start()
    assert [record["value"] for record in source._items] == [300]


def test_what_was_known_before_a_loss_is_not_known_after_it(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node)
    assert source.next("target") == 310
    node.present = ['update sample:value [305, {"t": 1005.0}]']
    node.drop()
    assert np.isnan(source.next("target"))


def test_a_node_that_stays_away_ends_the_source(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node, reconnect=0.3)
    assert source.next() == 300
    node.vanish()
    with pytest.raises(ValueError, match=r"no SECoP node at .* for 0.3 s"):
        source.next()


def _other_units(node: ScriptedNode) -> None:
    node.modules = {"sample": module({"type": "double", "unit": "degC"}, target=DOUBLE)}


def _no_sample(node: ScriptedNode) -> None:
    node.modules = {"other": module()}


def _other_node(node: ScriptedNode) -> None:
    node.equipment_id = "somebody else"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_other_units, "other types or units in sample"),
        (_no_sample, "come back without sample:value"),
        (_other_node, "another node answers, 'somebody else'"),
    ],
)
def test_a_node_that_comes_back_different_ends_the_source(
    scripted: Nodes, taking: Nodes, change: Callable[[ScriptedNode], None], why: str
) -> None:
    node = a_node(scripted)
    source = taking(node)
    assert source.next() == 300
    change(node)
    node.drop()
    with pytest.raises(ValueError, match=rf"{why}.*; start another run"):
        source.next()


def test_what_else_changes_does_not_matter(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node)
    assert source.next() == 300
    node.modules["heater"] = module()
    node.present[0] = 'update sample:value [305, {"t": 1005.0}]'
    node.drop()
    assert source.next() == 305


def test_a_node_that_starts_slowly_is_not_taken_for_another(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node)
    assert source.next() == 300
    node.answers["describe"] = ['error_describe . ["InternalError", "starting", {}]']
    node.present[0] = 'update sample:value [305, {"t": 1005.0}]'
    node.drop()
    threading.Thread(
        target=lambda: (node.until_asked("describe", 2), node.answers.clear()), daemon=True
    ).start()
    assert source.next() == 305


def test_a_silent_node_is_asked_whether_it_lives(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node, timeout=0.3, ask_after=None)
    assert source.next() == 300
    source.start()
    node.until_asked("ping alive", 2)  # it has answered the first one, and is believed
    assert sum(request.startswith("*IDN?") for request in node.requests) == 1


def test_a_node_that_hangs_is_away(
    scripted: Nodes, taking: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    node = a_node(scripted)
    source = taking(node, timeout=0.3, ask_after=None)
    assert source.next() == 300
    node.answers["ping alive"] = None
    node.present[0] = 'update sample:value [305, {"t": 1005.0}]'
    assert source.next() == 305
    assert "has said nothing for" in caplog.text


def test_a_value_that_does_not_come_is_asked_for(scripted: Nodes, taking: Nodes) -> None:
    """A node may send only what changes, and analyses wait for the next reading."""
    node = a_node(scripted)
    source = taking(node, ask_after=0.1)
    assert source.next() == 300
    node.answers["read sample:value"] = ['reply sample:value [300, {"t": 1007.0}]']
    assert next(source._items) == {"value": 300.0, "target": 310.0, "time": 1_007_000_000_000}


def test_a_node_that_lies_does_no_harm(
    scripted: Nodes, taking: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    node = a_node(scripted)
    source = taking(node)
    assert source.next() == 300
    node.say(
        "update sample:value [301",
        "update nobody:value [1, {}]",
        "update sample:nothing [1, {}]",
        "reply sample:value",
        "error_update sample:value",
        "active nobody",
        "describing . {}",
        "pong  [null]",
        "\x00\x01",
        'update sample:value ["hot", {"t": 1002.0}]',
    )
    node.update("sample:value", 303, 1003.0)
    found = [source.next() for _ in range(3)]
    np.testing.assert_array_equal(found, [np.nan, np.nan, 303])
    assert "a line that cannot be read: its data are not JSON" in caplog.text
    assert "sample:value is not as described: 'hot' is no double" in caplog.text


def test_a_flood_is_taken_whole_and_in_order(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node)
    assert source.next() == 300
    lines = [f'update sample:value [{n}, {{"t": {1001 + n}}}]' for n in range(5000)]
    threading.Thread(target=lambda: node.say(*lines), daemon=True).start()
    assert [source.next() for _ in lines] == list(range(5000))


def test_a_description_may_be_long(scripted: Nodes, taking: Nodes) -> None:
    node = scripted(**{f"m{n}": module(**{f"_p{k}": DOUBLE for k in range(40)}) for n in range(60)})
    node.present = ['update m7:value [7, {"t": 1}]']
    source = taking(node, modules=["m7"])
    assert source.next() == 7


def test_it_ends_after_its_duration_by_the_times_of_records(
    scripted: Nodes, taking: Nodes, tmp_path: Path
) -> None:
    node = a_node(scripted)
    node.answers["ping"] = ['pong clock [null, {"t": 1000.0}]']
    memory = tmp_path / "memory"
    source = taking(node, memory, duration=10.0)
    assert source.next() == 300
    for t in (1005.0, 1010.5):
        node.update("sample:value", t, t)
    assert [record["value"] for record in source._items] == [1005.0, 1010.5]
    # restarted within the run, it knows when it has begun
    assert abs(int(memory.read_text()) - 1000e9) < 5e9
    node.present[0] = 'update sample:value [300, {"t": 1020.0}]'
    assert [record["value"] for record in taking(node, memory, duration=10.0)._items] == [300]


def test_the_clock_of_the_node_is_said(
    scripted: Nodes, taking: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node = a_node(scripted)
    taking(node).next()
    assert "has no clock" in caplog.text
    node.answers["ping"] = [f'pong clock [null, {{"t": {time.time() - 3600}}}]']
    taking(node).next()
    assert "behind this machine's: set one of them" in caplog.text


def test_it_ends_while_nothing_comes(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    source = taking(node)
    assert source.next() == 300
    assert source.rest() == []


def test_unknown_keys_and_names_are_refused(scripted: Nodes, taking: Nodes) -> None:
    node = a_node(scripted)
    with pytest.raises(ValueError, match=r"sources.holder.modul: no such key; did you mean"):
        taking(node, modul=["sample"])
    with pytest.raises(ValueError, match="modules: at least one"):
        taking(node, modules=[])
    with pytest.raises(ValueError, match="did you mean 'sample'"):
        taking(node, modules=["sampel"])


def test_a_status_is_said_when_it_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    statuses = Statuses(["sample"], Troubles())
    for status in (
        [100, "ok"], [100, "fine"], [370, "ramping"], [400, "broken"], [400, "still"], [100, ""],
        0, [230, "low"], "bad", [], [None, ""], None,
    ):  # fmt: skip
        statuses.take(parse(f"update sample:status {json.dumps([status, {}])}".encode()))
        statuses.take(parse(f"update other:status {json.dumps([status, {}])}".encode()))
    assert [record.getMessage() for record in caplog.records] == [
        "sample says error (400): broken",
        "sample says disabled (0)",
        "sample says warning (230): low",
    ]


def test_what_goes_wrong_often_is_said_seldom(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    for number in range(150):
        troubles.add("sample:value is not known", f"try {number}")
    troubles.add("once", "only")
    troubles.report()
    assert [record.getMessage() for record in caplog.records] == [
        "sample:value is not known: try 0",
        "sample:value is not known: try 9 (10 times so far)",
        "sample:value is not known: try 99 (100 times so far)",
        "once: only",
        "sample:value is not known: 150 times in all",
    ]
