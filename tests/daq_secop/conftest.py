"""A node whose every line a test decides, and the simulated one in threads of the test."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daq_simulators.secop_instruments import Furnace, Instrument, Settings
from daq_simulators.secop_node import Clock, Node

DOUBLE = {"type": "double", "unit": "K"}


def module(value: Any = DOUBLE, **parameters: Any) -> dict[str, Any]:
    """The structure report of a module: datainfo by parameter."""
    accessibles = {
        name: {"description": name, "datainfo": datainfo}
        for name, datainfo in {"value": value, **parameters}.items()
    }
    return {
        "description": "a module",
        "interface_classes": ["Readable"],
        "accessibles": accessibles,
    }


class ScriptedNode:
    """Answers requests as a node does unless ``answers`` says otherwise, and says what it is told.

    ``answers`` holds lines by request line or by action; None: no answer.
    """

    def __init__(self, **modules: Any) -> None:
        self.modules = modules or {"sample": module()}
        self.equipment_id = "scripted"
        self.present: list[str] = []
        self.answers: dict[str, list[str] | None] = {}
        self.requests: list[str] = []
        self._changed = threading.Condition()
        self._connections: list[socket.socket] = []
        self._listening: socket.socket | None = None
        self.port = 0
        self.listen()

    def listen(self) -> None:
        """Be there: at the same port as before."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def drop(self) -> None:
        """Close every connection, and go on listening."""
        with self._changed:
            connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(OSError):  # It may have been left by the client.
                connection.shutdown(socket.SHUT_RDWR)

    def vanish(self) -> None:
        """Close everything."""
        if self._listening is not None:
            # A thread that waits in accept would keep the port.
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        self.drop()

    def say(self, *lines: str) -> None:
        """Send lines to everyone who is connected."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.sendall(b"".join(line.encode() + b"\n" for line in lines))

    def update(self, specifier: str, value: Any, t: float | None) -> None:
        """Send an update."""
        self.say(f"update {specifier} {json.dumps([value, {} if t is None else {'t': t}])}")

    def until_asked(self, request: str, times: int = 1) -> None:
        """Wait for a request that begins so."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: sum(r.startswith(request) for r in self.requests) >= times, 20
            ), self.requests

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._changed:
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    request = line.decode().strip()
                    answers = self._answers(request)
                    with self._changed:
                        connection.sendall(b"".join(a.encode() + b"\n" for a in answers))
                        self.requests.append(request)
                        self._changed.notify_all()
            except OSError:
                return

    def _answers(self, request: str) -> list[str]:
        action, _, rest = request.partition(" ")
        for key in (request, action):
            if key in self.answers:
                return self.answers[key] or []
        match action:
            case "*IDN?":
                return ["ISSE&SINE2020,SECoP,V2019-09-16,v1.0"]
            case "describe":
                report = {"equipment_id": self.equipment_id, "modules": self.modules}
                return [f"describing . {json.dumps(report)}"]
            case "activate":
                return [*self.present, f"active {rest}".strip()]
            case "ping":
                return [f"pong {rest} [null, {{}}]"]
            case _:
                return [f'error_{action} {rest.partition(" ")[0]} ["ProtocolError", "no", {{}}]']


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedNode]]:
    """Make scripted nodes: ``scripted(sample=module())``."""
    nodes: list[ScriptedNode] = []

    def make(**modules: Any) -> ScriptedNode:
        nodes.append(ScriptedNode(**modules))
        return nodes[-1]

    yield make
    for node in nodes:
        node.vanish()


@pytest.fixture
def simulated() -> Iterator[Callable[..., Node]]:
    """Make simulated nodes, at ``speed`` and on a simulated clock."""
    nodes: list[Node] = []

    def make(
        kind: type[Instrument] = Furnace,
        speed: float = 1000.0,
        interval: float = 1.0,
        **values: Any,
    ) -> Node:
        settings = Settings(**values)
        node = Node(kind(settings), Clock(1767225600.0, speed), interval, port=0)
        node.start()
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.close()
