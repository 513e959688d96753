"""A simulated node that speaks SECoP: a furnace (or heating holder), or a load frame.

It is a program of its own, as a real node is::

    python -m daq_simulators.secop_node                          # a furnace on port 10767
    python -m daq_simulators.secop_node load_frame --port 10768
    python -m daq_simulators.secop_node furnace --program "0:633 240:653" --speed 10

Its program begins when the first client asks for updates. Reading n is at n intervals from then on and depends on
the arguments and n alone, as long as no client changes a target. Time stamps are those of this
machine, or simulated ones from ``--start`` on at ``--speed``, which another simulator can share.
"""

from __future__ import annotations

import argparse
import datetime
import json
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from daq_simulators.secop_instruments import (
    Furnace,
    Instrument,
    LoadFrame,
    RefusedError,
    Settings,
)

IDENTITY: Final = "ISSE&SINE2020,SECoP,V2019-09-16,v1.0"

SEND_SECONDS: Final = 5
"""A client that does not take what it is sent for so long is disconnected."""


class Clock:
    """The node's clock: it stands at ``start`` until it is begun, and runs at ``speed`` from then on."""

    def __init__(self, start: float | None = None, speed: float = 1.0) -> None:
        self._start, self._speed = start, speed
        self._began: float | None = None
        self.begun = threading.Event()

    def begin(self) -> bool:
        """Let it run; False where it runs already."""
        if self._began is not None:
            return False
        self._start = self.now()
        self._began = time.monotonic()
        self.begun.set()
        return True

    def now(self) -> float:
        """Return s since 1970 UTC."""
        if self._start is None:
            return time.time()
        gone = 0.0 if self._began is None else time.monotonic() - self._began
        return self._start + gone * self._speed

    def at(self, seconds: float) -> float:
        """Return the time that is ``seconds`` after the beginning, s since 1970 UTC."""
        assert self._start is not None
        return self._start + seconds

    def wait_for(self, seconds: float) -> float:
        """Return how long it is, really, until ``seconds`` after the beginning."""
        assert self._began is not None
        return self._began + seconds / self._speed - time.monotonic()


class Node:
    """Serves an instrument to any number of clients.

    Parameters
    ----------
    port
        0: any that is free, see ``self.port``.
    """

    def __init__(
        self, instrument: Instrument, clock: Clock, interval: float, *,
        host: str = "127.0.0.1", port: int = 10767,
    ) -> None:  # fmt: skip
        self.instrument, self.clock, self.interval = instrument, clock, interval
        self.lock = threading.Lock()
        self.clients: list[_Client] = []
        self.read_at = clock.now()
        self._over = threading.Event()
        self._server = _Server((host, port), _Client)
        self._server.node = self
        self.port: int = self._server.server_address[1]
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (lambda: self._server.serve_forever(0.05), self._read_on)
        ]

    def start(self) -> None:
        """Listen, in threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Disconnect everyone and stop listening."""
        self._over.set()
        self.clock.begun.set()
        self._server.shutdown()
        self._server.server_close()
        with self.lock:
            clients = list(self.clients)
        for client in clients:
            client.hang_up()
        for thread in self._threads:
            thread.join()

    def tell(self, changed: dict[tuple[str, str], Any]) -> None:
        """Send values to those who have asked for updates; the lock is held."""
        for (module, parameter), value in changed.items():
            line = self.line("update", f"{module}:{parameter}", value)
            for client in self.clients:
                if "" in client.active or module in client.active:
                    client.say(line)

    def line(self, action: str, specifier: str, value: Any) -> str:
        """Return the line of a data report; of an error report where there is no value."""
        qualifiers = {"t": self.read_at}
        if isinstance(value, RefusedError):
            report = json.dumps([value.kind, value.text, qualifiers])
            return f"error_{'read' if action == 'reply' else action} {specifier} {report}"
        return f"{action} {specifier} {json.dumps([value, qualifiers])}"

    def _read_on(self) -> None:
        """Read the instrument at every interval, and tell."""
        self.clock.begun.wait()
        reading = 0
        while not self._over.is_set():
            reading += 1
            if self._over.wait(max(0.0, self.clock.wait_for(reading * self.interval))):
                return
            with self.lock:
                before = self.instrument.values()
                self.instrument.advance(reading * self.interval)
                self.read_at = self.clock.at(reading * self.interval)
                after = self.instrument.values()
                self.tell({k: v for k, v in after.items() if k[1] == "value" or v != before[k]})


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    node: Node


class _Client(socketserver.StreamRequestHandler):
    """One connection: answers requests, and is told of updates by the node."""

    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.node = self.server.node
        self.active: set[str] = set()
        wait = struct.pack("ll", SEND_SECONDS, 0)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        self._sending = threading.Lock()
        with self.node.lock:
            self.node.clients.append(self)
        try:
            for line in self.rfile:
                if line.strip():
                    self._answer(line.decode(errors="replace").strip())
        except OSError:
            return
        finally:
            with self.node.lock:
                self.node.clients.remove(self)

    def say(self, line: str) -> None:
        """Send a line; a client that takes nothing is left behind."""
        try:
            with self._sending:
                self.request.sendall(line.encode() + b"\n")
        except OSError:
            self.active.clear()
            self.hang_up()

    def hang_up(self) -> None:
        """End the connection."""
        try:
            self.request.shutdown(2)
        except OSError:
            return

    def _answer(self, line: str) -> None:
        action, _, rest = line.partition(" ")
        specifier, _, data = rest.partition(" ")
        try:
            value = json.loads(data) if data else None
            with self.node.lock:
                self._do(action, specifier, value)
        except RefusedError as error:
            report = json.dumps([error.kind, error.text, {}])
            self.say(f"error_{action} {specifier} {report}")
        except ValueError:
            self.say(f'error_{action} {specifier} ["BadJSON", "data are not JSON", {{}}]')

    def _do(self, action: str, specifier: str, value: Any) -> None:
        node, instrument = self.node, self.node.instrument
        module, _, parameter = specifier.partition(":")
        values = instrument.values()
        match action:
            case "*IDN?":
                self.say(IDENTITY)
            case "describe":
                self.say(f"describing . {json.dumps(instrument.report())}")
            case "ping":
                self.say(f"pong {specifier} {json.dumps([None, {'t': node.clock.now()}])}")
            case "activate":
                if module and not any(key[0] == module for key in values):
                    raise RefusedError("NoSuchModule", f"no module {module!r}")
                if node.clock.begin():
                    node.read_at = node.clock.at(0.0)
                self.active.add(module)
                for key, present in values.items():
                    if module in ("", key[0]):
                        self.say(node.line("update", ":".join(key), present))
                self.say(f"active {module}".strip())
            case "deactivate":
                self.active.clear()
                self.say("inactive")
            case "read":
                self.say(node.line("reply", specifier, self._one(values, module, parameter)))
            case "change":
                self._one(values, module, parameter)
                if module != instrument.driven:
                    raise RefusedError("ReadOnly", f"{specifier} cannot be changed")
                instrument.change(parameter, value)
                self._tell_changed(values)
                now = instrument.values()[module, parameter]
                self.say(node.line("changed", specifier, now))
            case "do":
                if specifier != f"{instrument.driven}:stop":
                    raise RefusedError("NoSuchCommand", f"no command {specifier!r}")
                instrument.stop()
                self._tell_changed(values)
                self.say(node.line("done", specifier, None))
            case _:
                raise RefusedError("ProtocolError", f"no action {action!r}")

    def _one(self, values: dict[tuple[str, str], Any], module: str, parameter: str) -> Any:
        if not any(key[0] == module for key in values):
            raise RefusedError("NoSuchModule", f"no module {module!r}")
        if (module, parameter) not in values:
            raise RefusedError("NoSuchParameter", f"{module} has no parameter {parameter!r}")
        return values[module, parameter]

    def _tell_changed(self, before: dict[tuple[str, str], Any]) -> None:
        after = self.node.instrument.values()
        self.node.tell({k: v for k, v in after.items() if k[1] != "value" and v != before[k]})


INSTRUMENTS: Final[dict[str, type[Instrument]]] = {"furnace": Furnace, "load_frame": LoadFrame}


def _pairs(text: str) -> list[tuple[float, float]]:
    found = []
    for part in text.replace(",", " ").split():
        at, _, value = part.partition(":")
        found.append((float(at), float(value)))
    return found


def _start(text: str) -> float:
    start = datetime.datetime.fromisoformat(text)
    if start.tzinfo is None:
        start = start.replace(tzinfo=datetime.UTC)
    return start.timestamp()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until it is interrupted."""
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m daq_simulators.secop_node", description="A simulated SECoP node."
    )
    parser.add_argument("instrument", nargs="?", choices=INSTRUMENTS, default="furnace")
    parser.add_argument("--host", default="127.0.0.1", help="to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=10767, help="(default: %(default)s)")
    parser.add_argument("--begin", type=float, help="K or N at first (furnace: 300, frame: 0)")
    parser.add_argument("--ramp", type=float, default=defaults.ramp, help="K/min or N/min")
    parser.add_argument("--lag", type=float, default=defaults.lag, help="s, of the furnace")
    parser.add_argument("--noise", type=float, default=defaults.noise, help="K or N")
    parser.add_argument(
        "--program", type=_pairs, default=[], help='"seconds:target ..." since the first client'
    )
    parser.add_argument(
        "--fault", type=_pairs, default=[], help='"begin:end" in s: a time without a sensor'
    )
    parser.add_argument("--interval", type=float, default=defaults.interval, help="s, of readings")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated s in a second")
    parser.add_argument("--start", type=_start, help="simulated clock, 2026-01-01T00:00:00Z")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    given = parser.parse_args(arguments)
    if min(given.speed, given.interval) <= 0:
        parser.error("speed and interval: more than 0")
    begin = {"furnace": 300.0, "load_frame": 0.0}[given.instrument]
    settings = Settings(
        begin if given.begin is None else given.begin, given.ramp, given.lag, given.noise,
        given.program, given.fault[0] if given.fault else None, given.interval, given.seed,
    )  # fmt: skip
    instrument = INSTRUMENTS[given.instrument](settings)
    clock = Clock(given.start, given.speed)
    try:
        node = Node(instrument, clock, given.interval, host=given.host, port=given.port)
    except OSError as error:
        parser.exit(1, f"cannot listen at {given.host}:{given.port}: {error.strerror}\n")
    node.start()
    print(f"{instrument.equipment_id} at {given.host}:{node.port}; Ctrl-C ends it", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        node.close()


if __name__ == "__main__":
    main()
