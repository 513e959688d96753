"""The connection: requests and replies among updates, refusals, silence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daq_secop.client import Client, NotSecopError, SecopError, StoppedError
from daq_simulators.secop_instruments import LoadFrame

Scripted = Callable[..., Any]


@pytest.fixture
def connected() -> Iterator[Callable[..., Client]]:
    """Connect to a node; the connection is closed at the end of the test."""
    clients: list[Client] = []

    def connect(node: Any, **values: Any) -> Client:
        clients.append(Client("127.0.0.1", node.port, **{"timeout": 5.0, **values}))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def test_a_node_can_be_read_and_set(simulated: Scripted, connected: Scripted) -> None:
    node = simulated(LoadFrame, noise=0.0, start=0.0, ramp=0.0)
    client = connected(node)

    assert client.identify().split(",")[1] == "SECoP"
    assert set(client.describe()["modules"]) == {"load", "displacement"}
    assert client.read("load", "target")[0] == 0.0
    assert client.change("load", "target", 50)[0] == 50.0
    assert client.read("load", "target")[0] == 50.0
    assert client.do("load", "stop")[0] is None
    assert client.read("load", "target")[0] == 0.0


@pytest.mark.parametrize(
    ("request_line", "kind"),
    [
        (("read", "load:weight"), "NoSuchParameter"),
        (("read", "weight:value"), "NoSuchModule"),
        (("change", "load:target", "much"), "WrongType"),
        (("change", "load:target", -1), "RangeError"),
        (("change", "load:value", 1), "ReadOnly"),
        (("change", "displacement:value", 1), "ReadOnly"),
        (("do", "load:jump"), "NoSuchCommand"),
        (("activate", "weight"), "NoSuchModule"),
        (("deactivate", "x"), None),
    ],
)
def test_refusals_say_why(
    simulated: Scripted, connected: Scripted, request_line: Any, kind: str | None
) -> None:
    client = connected(simulated(LoadFrame, start=0.0))

    if kind is None:
        client.send(*request_line)
        (message,) = client.receive(5.0)
        assert message.action == "inactive"
    else:
        with pytest.raises(SecopError, match=kind) as caught:
            client.request(*request_line)
        assert caught.value.kind == kind


def test_updates_before_a_reply_are_kept_in_order(scripted: Scripted, connected: Scripted) -> None:
    node = scripted()
    node.answers["read sample:value"] = [
        "update sample:value [1, {}]",
        'error_update sample:target ["ReadFailed", "no", {}]',
        "reply sample:target [9, {}]",  # of another request
        "reply sample:value [2, {}]",
        "update sample:value [3, {}]",
    ]
    client = connected(node)

    assert client.read("sample", "value")[0] == 2
    kept = [message.action for message in client.receive(5.0)]
    assert kept == ["update", "error_update", "reply", "update"]


def test_present_values_come_before_the_reply_to_activate(
    scripted: Scripted, connected: Scripted
) -> None:
    node = scripted()
    node.present = ["update sample:value [1, {}]"]
    client = connected(node)
    before, alone = client.activate("sample")
    assert ([message.data[0] for message in before], alone) == ([1], True)
    node.answers["activate"] = ["active"]
    assert client.activate("sample") == ([], False)


def test_what_is_no_node_is_told_from_one(scripted: Scripted, connected: Scripted) -> None:
    node = scripted()
    node.answers["*IDN?"] = ["SSH-2.0-OpenSSH_9.2"]
    with pytest.raises(NotSecopError, match="it answers 'SSH-2"):
        connected(node).identify()
    node.answers["*IDN?"] = ['HTTP/1.1 400 "Bad Request']
    with pytest.raises(NotSecopError, match="cannot be read"):
        connected(node).identify()
    node.answers["*IDN?"] = [
        "update sample:value [1, {}]",
        "ISSE,SECoP,V2018-11-07,v1.0 rc",
    ]
    assert connected(node).identify() == "ISSE,SECoP,V2018-11-07,v1.0 rc"


def test_a_node_that_is_silent_or_gone_is_an_error_of_the_connection(
    scripted: Scripted, connected: Scripted
) -> None:
    node = scripted()
    node.answers["ping"] = None
    client = connected(node, timeout=0.15)
    with pytest.raises(TimeoutError, match=r"no answer to 'ping' within 0.15 s"):
        client.clock_ahead()
    node.drop()
    with pytest.raises(OSError, match="closed"):
        client.receive(5.0)
    node.vanish()
    with pytest.raises(OSError, match="refused"):
        connected(node)


def test_a_wait_can_be_ended(scripted: Scripted, connected: Scripted) -> None:
    node = scripted()
    node.answers["ping"] = None
    stop = threading.Event()
    client = connected(node, stopping=stop.is_set)
    threading.Thread(target=lambda: (node.until_asked("ping"), stop.set())).start()
    with pytest.raises(StoppedError):
        client.clock_ahead()


def test_the_clock_of_the_node_is_compared(scripted: Scripted, connected: Scripted) -> None:
    node = scripted()
    client = connected(node)
    assert client.clock_ahead() is None
    node.answers["ping"] = ['pong clock [null, {"t": 1000.0}]']
    ahead = client.clock_ahead()
    assert ahead is not None
    assert ahead < -1e9


def test_malformed_lines_are_named_and_the_others_read() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    client = Client("127.0.0.1", server.getsockname()[1])
    connection, _ = server.accept()
    lines = b"update s:v [1\nupdate s:v [2, {}]\n\xff\n" + b"x" * (17 << 20) + b"\nok\n"
    threading.Thread(target=connection.sendall, args=(lines,), daemon=True).start()
    found = []
    while not found or found[-1] != "ok":
        found += [message.action for message in client.receive(5.0)]

    assert found == ["update", "ok"]
    assert [text.partition(":")[0] for text in client.malformed] == [
        "its data are not JSON", "not UTF-8", "longer than any line may be",
    ]  # fmt: skip
    for end in (client, connection, server):
        end.close()
