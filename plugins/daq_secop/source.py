"""The source type ``secop``: what furnaces, heating holders and load frames say of themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import pydantic

import daq
from daq_secop.client import PORT, Client, SecopError, StoppedError
from daq_secop.description import Node, node_of
from daq_secop.messages import Message
from daq_secop.readings import Readings
from daq_secop.selection import Key, select
from daq_secop.status import Statuses
from daq_secop.troubles import Troubles

log = logging.getLogger("secop")

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 5.0
"""s, between two tries to reach a node that is away; each time twice as long."""

LOOK: Final = 0.05
"""s; how long to wait for an update before looking whether the source shall end."""


class Secop(daq.Source):
    """The client of a SECoP node: one stream for each module, or as ``streams`` says.

    A record is made of each update of the main value: all fields are float64, hold the last known
    values, and are NaN where none is known (``error_update``, a value that is not as described).
    Enums are their codes, which the attribute ``codes`` names; the text of a status is logged when
    it begins to be an error. Units are those of the node, nothing is converted; the offset of a module
    with the feature HasOffset is added to value and target, as the protocol wants it. ``time`` is the qualifier
    ``t`` of the update, or when it arrived.

    Other parameters, other names of fields, and modules that belong together are asked for by::

        [sources.holder.streams.specimen]
        temperature = "sample:value"        # field = "module:parameter"
        heater = "sample:_heater"
        gain = "sample:_pid.0"              # a place in a tuple, or a member of a struct

    There an update of the first field makes the record. Text cannot be a field; parameters that
    are constant stand in the attributes.

    A node that is away is waited for, at the beginning and in mid-run. One that comes back is asked
    again what it is: if what is recorded of it has changed, the source ends with a message. What
    happened meanwhile is not known; nothing is counted as missing, since records are updates. A
    source that was restarted goes on likewise.
    """

    name = "secop"

    class Config(daq.Config):
        """What ``[sources.NAME]`` with ``type = "secop"`` may say."""

        host: str = daq.setting("localhost", "", "of the node", min_length=1)
        port: int = daq.setting(PORT, "", "of the node", ge=1, le=65535)
        modules: list[str] | None = daq.setting(
            None, "", "with a stream each; by default all with a value, if there are no streams"
        )
        streams: dict[str, dict[str, str]] = daq.setting(
            {}, "", '{stream: {field: "module:parameter"}}, the first field makes the records'
        )
        clock: Literal["node", "arrival"] = daq.setting(
            "node", "", "time of a record: what the node says, or when it arrived"
        )
        clock_tolerance: float = daq.setting(
            1.0, "s", "difference of the node's clock that is not warned of", gt=0
        )
        timeout: float = daq.setting(
            10.0, "s", "a node that does not answer for so long is away", gt=0, le=3600
        )
        reconnect: float = daq.setting(
            600.0, "s", "how long a node that is away is waited for; 0: not at all", ge=0
        )
        ask_after: float | None = daq.setting(
            5.0, "s", "a main value that has not come for so long is asked for", gt=0
        )
        hold: float = daq.setting(
            0.02, "s", "what arrives so soon after the main value is in its record", ge=0, le=10
        )
        duration: float | None = daq.setting(
            None, "s", "end after so long, by the times of the records", gt=0
        )

        @pydantic.field_validator("modules")
        @classmethod
        def _some(cls, modules: list[str] | None) -> list[str] | None:
            if modules is not None and not modules:
                raise ValueError("at least one, or leave it out")
            return modules

    def __init__(self) -> None:
        super().__init__()
        self._client: Client | None = None
        self._troubles = Troubles()

    # -- the interface of a source --------------------------------------------------------------

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Reach the node, waiting if need be, and return the streams that it can give.

        Returns nothing where the run is ended before. Raises ValueError where the node did not
        come, is none, or lacks what is wanted.
        """
        self._config = config
        self._active = False
        self._away_since = time.monotonic()
        self._delay = FIRST_DELAY
        while self._client is None:
            if self.context.stopping:
                return []
            try:
                self._node = self._connect()
            except StoppedError:
                return []
            except OSError as error:
                self._wait(error)
        try:
            self._selections = select(self._node, config.modules, config.streams)
        except ValueError:
            self.close()
            raise
        self._keys = sorted({key for s in self._selections for key in s.keys})
        self._mains = {selection.main for selection in self._selections}
        self._asked: dict[Key, float] = {}
        self._pinged = 0.0
        self._statuses = Statuses({module for module, _ in self._keys}, self._troubles)
        self._readings = Readings(
            self._selections, config.hold, config.clock == "node", self._troubles
        )
        self._begin = self._began_before()
        log.info(
            "%s, %s: %d modules", self._node.equipment_id or self._where,
            self._node.firmware or "firmware unknown", len(self._node.modules),
        )  # fmt: skip
        return [selection.stream for selection in self._selections]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield records as they come; they are numbered on from ``start``."""
        self._away_since = time.monotonic()
        while not self.context.stopping and not self._over():
            try:
                if self._client is None:
                    self._return()
                if not self._active:
                    self._activate()
                self._listen()
            except StoppedError:
                break
            except OSError as error:
                self._lose(error)
                yield from self._readings.batches()
                self._wait(error)
                continue
            yield from self._readings.batches()
        # What is held after the duration is over may lack what belongs to it.
        yield from self._readings.batches(everything=not self._over())

    def close(self) -> None:
        """Disconnect, and say how often something went wrong."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._troubles.report()

    # -- the connection -------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"{self._config.host}:{self._config.port}"

    def _connect(self) -> Node:
        """Connect, and return what the node says that it is."""
        client = Client(
            self._config.host, self._config.port, timeout=self._config.timeout,
            stopping=lambda: self.context.stopping,
        )  # fmt: skip
        try:
            client.identify()
            node = node_of(client.describe())
        except SecopError as error:
            client.close()
            raise ValueError(f"{self._where}: the node does not describe itself: {error}") from None
        except ValueError as error:
            client.close()
            raise ValueError(f"{self._where}: {error}") from None
        except BaseException:
            client.close()
            raise
        self._client = client
        return node

    def _return(self) -> None:
        """Connect again, and see whether the node is what it was."""
        try:
            node = self._connect()
        except ValueError as error:
            raise ConnectionError(str(error)) from None  # It may not be up yet.
        if problem := self._changed(node):
            raise ValueError(f"{self._where}: {problem}; start another run")
        away = time.monotonic() - self._away_since
        log.warning("%s is back after %.1f s", self._where, away)

    def _changed(self, node: Node) -> str:
        """Return how a node differs from the one before in what is recorded; empty if it does not."""
        if node.equipment_id != self._node.equipment_id:
            return f"another node answers, {node.equipment_id!r}, not {self._node.equipment_id!r}"
        try:
            again = select(node, self._config.modules, self._config.streams)
        except ValueError as error:
            return f"the node has come back different: {error}"
        before = {selection.stream.name: selection for selection in self._selections}
        after = {selection.stream.name: selection for selection in again}
        for name, selection in before.items():
            if name not in after:
                return f"the node has come back without {':'.join(selection.main)}"
            if after[name].origins != selection.origins:
                return f"the node has come back with other types or units in {name}"
        return ""

    def _activate(self) -> None:
        """Have the node send updates of what is needed; its present values come first."""
        client = self._client
        assert client is not None
        self._check_clock(client)
        modules = sorted({module for module, _ in self._keys})
        try:
            for module in modules:
                present, alone = client.activate(module)
                self._present(present)
                if not alone:
                    break
        except SecopError:
            # A node that knows only all modules at once may also say so.
            try:
                present, _ = client.activate()
            except SecopError as error:
                raise ValueError(f"{self._where}: {error}") from None
            self._present(present)
        self._active = True
        self._asked = dict.fromkeys(self._mains, time.monotonic())

    def _present(self, messages: Sequence[Message]) -> None:
        self._readings.present(messages)
        for message in messages:
            self._statuses.take(message)

    def _check_clock(self, client: Client) -> None:
        try:
            ahead = client.clock_ahead()
        except SecopError:
            ahead = None
        self._readings.ahead = ahead or 0.0
        if self._begin is None:
            now = time.time() + (self._readings.ahead if self._config.clock == "node" else 0.0)
            self._keep_begin(round(now * 1e9))
        tolerance = self._config.clock_tolerance
        if ahead is None:
            log.info("%s has no clock: records have the times at which they arrive", self._where)
            return
        said = f"the clock of {self._where} is {abs(ahead):.3f} s "
        said += "ahead of this machine's" if ahead > 0 else "behind this machine's"
        if abs(ahead) <= tolerance or self._config.clock == "arrival":
            log.info("%s", said)
        else:
            log.warning('%s: set one of them, or say clock = "arrival"', said)

    def _lose(self, error: OSError) -> None:
        """Note that the node is away."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._active:
            self._active = False
            self._away_since = time.monotonic()
            log.warning(
                "%s is away (%s): waiting for it, %g s at most",
                self._where, error, self._config.reconnect,
            )  # fmt: skip
            self._readings.forget()

    def _wait(self, error: OSError) -> None:
        """Wait before the next try; raise `daq.Aborted` where that has been long enough."""
        if time.monotonic() - self._away_since >= self._config.reconnect:
            raise daq.Aborted(
                f"no SECoP node at {self._where} for {self._config.reconnect:g} s ({error}); is it "
                "running, and are host and port right?"
            )
        self.context.wait(self._delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    # -- what comes -----------------------------------------------------------------------------

    def _listen(self) -> None:
        """Take what has come, ask for what has not, and see that the node is alive."""
        client = self._client
        assert client is not None
        for message in client.receive(LOOK):
            self._take(message)
        for problem in client.malformed:
            self._troubles.add("a line that cannot be read", problem)
        client.malformed.clear()
        now = time.monotonic()
        if self._pinged <= client.heard:
            if now - client.heard > self._config.timeout / 3:
                self._pinged = now
                client.send("ping", "alive")
        elif now - self._pinged > self._config.timeout:
            raise TimeoutError(f"it has said nothing for {now - client.heard:.1f} s")
        if self._config.ask_after is None:
            return
        for key, since in self._asked.items():
            if now - since > self._config.ask_after:
                self._asked[key] = now
                client.send("read", ":".join(key))

    def _take(self, message: Message) -> None:
        self._readings.take(message)
        self._statuses.take(message)
        key = (message.module, message.parameter)
        if key in self._asked and message.action.endswith("update"):
            self._asked[key] = time.monotonic()
            self._delay = FIRST_DELAY

    def _over(self) -> bool:
        duration, latest = self._config.duration, self._readings.latest
        if duration is None or latest is None or self._begin is None:
            return False
        return bool(latest - self._begin >= duration * 1e9)

    # -- what a restart must know ---------------------------------------------------------------

    def _began_before(self) -> int | None:
        memory = self.context.memory
        if memory is None or not memory.exists():
            return None
        text = memory.read_text()
        return int(text) if text else None

    def _keep_begin(self, begin: int) -> None:
        """Keep the time, ns, from which the duration counts."""
        self._begin = begin
        if self.context.memory is not None:
            self.context.memory.write_text(str(begin))
