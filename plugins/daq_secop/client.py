"""A connection to a SECoP node: requests and their replies, and updates as they come."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from daq_secop.messages import Lines, Message, line_of, parse

PORT: Final = 10767
"""Of a SECoP node, by default."""

CONNECT_SECONDS: Final = 3.0
"""The longest wait for a connection: it cannot be ended early."""

SLICE: Final = 0.1
"""s; a wait for a reply looks this often whether it is to stop."""

REPLIES: Final = {
    "*IDN?": "*IDN?", "describe": "describing", "activate": "active", "deactivate": "inactive",
    "ping": "pong", "read": "reply", "change": "changed", "do": "done",
}  # fmt: skip


class SecopError(Exception):
    """The node has refused a request: the class of its error, and what it says."""

    def __init__(self, kind: str, text: str, request: str) -> None:
        super().__init__(f"{request}: {kind}: {text}")
        self.kind = kind
        self.text = text


class NotSecopError(ValueError):
    """What listens there does not speak SECoP."""


class StoppedError(Exception):
    """The wait was given up, since the source shall end."""


class Client:
    """One TCP connection to a node, for one thread.

    What comes while a request waits for its reply is kept for `receive`.

    Parameters
    ----------
    host, port
        Of the node.
    timeout
        Seconds within which it must answer a request.
    stopping
        Asked ten times a second while a request waits: True ends it with `StoppedError`.

    Raises
    ------
    OSError
        From any method, where the connection is not there or is lost (TimeoutError where the node
        is silent).
    """

    def __init__(
        self, host: str, port: int = PORT, *, timeout: float = 10.0,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._timeout = timeout
        self._stopping = stopping
        self._waiting: deque[Message] = deque()
        self._lines = Lines()
        self.malformed: list[str] = []
        """Why lines could not be read, since this list was emptied last."""
        self.heard = time.monotonic()
        """When something came last, by ``time.monotonic()``."""
        self._socket = socket.create_connection((host, port), min(timeout, CONNECT_SECONDS))

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    # -- requests -------------------------------------------------------------------------------

    def identify(self) -> str:
        """Ask who is there and return the answer; raise `NotSecopError` where it is not a node."""
        self.send("*IDN?")
        answer = self._reply("*IDN?", "", [], any_first=True)
        if answer.action != "*IDN?":
            said = f"{answer.action} {answer.specifier}".strip()[:60]
            raise NotSecopError(f"no SECoP node is there: it answers {said!r}")
        return str(answer.data)

    def describe(self) -> Any:
        """Return the structure report of the node: what is there, as JSON."""
        return self.request("describe").data

    def activate(self, module: str = "") -> tuple[list[Message], bool]:
        """Ask for updates of a module, or of all.

        Returns what came before the reply, the present values among it; and False where the node
        knows no single modules and has activated all of them.
        """
        self.send("activate", module)
        before: list[Message] = []
        reply = self._reply("activate", module, before)
        return before, _granted(reply, f"activate {module}").specifier == module

    def read(self, module: str, parameter: str) -> Any:
        """Return the data report of a parameter, [value, qualifiers]."""
        return self.request("read", f"{module}:{parameter}").data

    def change(self, module: str, parameter: str, value: Any) -> Any:
        """Set a parameter; return the data report of what the node has made of it."""
        return self.request("change", f"{module}:{parameter}", value).data

    def do(self, module: str, command: str, argument: Any = None) -> Any:
        """Execute a command; return the data report of its result."""
        return self.request("do", f"{module}:{command}", argument).data

    def clock_ahead(self) -> float | None:
        """Return how far the node's clock is ahead of this machine's in s; None if it has none.

        To half the time that a ping takes.
        """
        begin = time.time()
        answer = self.request("ping", "clock")
        middle = (begin + answer.arrived / 1e9) / 2
        seconds = timestamp(answer.data)
        return None if seconds is None else seconds - middle

    def request(self, action: str, specifier: str = "", data: Any = None) -> Message:
        """Send a request and return its reply; raise `SecopError` where it is refused."""
        self.send(action, specifier, data)
        before: list[Message] = []
        try:
            reply = self._reply(action, specifier, before)
        finally:
            self._waiting.extendleft(reversed(before))
        return _granted(reply, f"{action} {specifier}")

    def send(self, action: str, specifier: str = "", data: Any = None) -> None:
        """Send a message without waiting for anything."""
        self._socket.settimeout(self._timeout)
        self._socket.sendall(line_of(action, specifier, data))

    # -- what comes -----------------------------------------------------------------------------

    def receive(self, timeout: float) -> list[Message]:
        """Return the messages that are there; wait for the first at most ``timeout`` s."""
        if not self._waiting:
            self._take(timeout)
        found = list(self._waiting)
        self._waiting.clear()
        return found

    def _reply(
        self, action: str, specifier: str, before: list[Message], any_first: bool = False
    ) -> Message:
        """Return the reply to a request; what comes before it is added to ``before``."""
        deadline = time.monotonic() + self._timeout
        while True:
            while self._waiting:
                message = self._waiting.popleft()
                if _answers(message, action, specifier):
                    return message
                if any_first and message.action not in ("update", "error_update"):
                    return message
                before.append(message)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer to {action!r} within {self._timeout:g} s")
            if any_first and self.malformed:
                raise NotSecopError("no SECoP node is there: its answer cannot be read")
            if self._stopping():
                raise StoppedError
            self._take(min(left, SLICE))

    def _take(self, timeout: float) -> None:
        """Receive once, and put the messages that are whole into the queue."""
        self._socket.settimeout(max(timeout, 1e-4))
        try:
            received = self._socket.recv(1 << 16)
        except TimeoutError:
            return
        if not received:
            raise ConnectionResetError("the node has closed the connection")
        self.heard = time.monotonic()
        arrived = time.time_ns()
        too_long = self._lines.too_long
        for line in self._lines.feed(received):
            try:
                self._waiting.append(parse(line, arrived))
            except ValueError as error:
                self.malformed.append(f"{error}: {line[:60]!r}")
        for _ in range(self._lines.too_long - too_long):
            self.malformed.append("longer than any line may be")


def timestamp(report: Any) -> float | None:
    """Return the qualifier ``t`` of a data or error report, s since 1970 UTC; None if there is none.

    A time outside 1970 to 2261 is none either.
    """
    if not isinstance(report, list):
        return None
    seconds = next(
        (part["t"] for part in report[1:3] if isinstance(part, dict) and "t" in part), None
    )
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return float(seconds) if 0 < seconds < 9.2e9 else None


def error_of(report: Any) -> tuple[str, str]:
    """Return the class of an error report, without what follows a colon, and its text."""
    if isinstance(report, list) and len(report) >= 2:
        return str(report[0])[:80].partition(":")[0], str(report[1])[:200]
    return "InternalError", str(report)[:200]


def _granted(reply: Message, request: str) -> Message:
    """Return a reply; raise `SecopError` where it is a refusal."""
    if reply.action.startswith("error_"):
        raise SecopError(*error_of(reply.data), request.strip())
    return reply


def _answers(message: Message, action: str, specifier: str) -> bool:
    if message.action == f"error_{action}":
        return action == "describe" or message.specifier in (specifier, "")
    if message.action != REPLIES[action]:
        return False
    # A node that cannot activate one module says so by answering for all.
    return action in ("describe", "*IDN?", "activate") or message.specifier == specifier
