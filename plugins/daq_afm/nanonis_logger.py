"""Samples of the TCP logger of a Nanonis controller."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_afm.channels import CONVERSIONS, Channel, field_name, spelled
from daq_afm.nanonis_connection import Connection
from daq_afm.nanonis_protocol import ControllerError, logger_samples

log = logging.getLogger(__name__)

LARGEST_GAP: Final = 10_000_000
"""More lost samples than this in one place is taken for a logger that was started anew."""

RETRY_S: Final = 1.0
STATES: Final = (
    "disconnected", "idle", "start", "stop", "running", "TCP connect", "TCP disconnect",
    "buffer overflow",
)  # fmt: skip
OVERFLOW: Final = 7


class NanonisLogger(daq.Source):
    """Samples that the TCP logger streams: one record each.

    The logger is set up and started through the programming interface (``control_port``); or, with
    ``control_port = 0``, by hand, and ``channels`` then names what it streams. Fields: each channel (float32, lengths
    in nm, angles in deg, the rest as it is), ``counter`` (uint64) and ``state`` (uint16, see `STATES`).

    The counter of the controller tells what was lost: a jump is declared missing. Where it falls, the logger was
    started anew, and what it lost is not known. The first packet of a start has the counter 0 and no
    samples (seen by others on a controller), and is left out.

    Times: with ``sample_interval`` they follow the counter from the first sample of a start on; else
    samples are spread evenly up to their arrival, which is good to some ms. Tried with the controller of
    `daq_simulators` only, on no hardware.
    """

    name = "nanonis_logger"

    class Config(daq.Config):
        """What ``[sources.NAME]`` with ``type = "nanonis_logger"`` may say."""

        host: str = daq.setting("localhost", "", "of the Nanonis software")
        port: int = daq.setting(6590, "", "of the logger's stream", ge=1, le=65535)
        control_port: int = daq.setting(
            6502,
            "",
            "of the programming interface, free; 0: do not set up the logger",
            ge=0,
            le=65535,
        )
        channels: tuple[str | int, ...] = daq.setting(
            ..., "", "names such as 'Z (m)', or numbers, of signals", min_length=1, max_length=24
        )
        numbering: Literal["signals", "slots"] = daq.setting(
            "signals", "", "what numbers mean there: releases before R11798 count the 24 slots"
        )
        oversampling: int | None = daq.setting(
            None, "", "samples of the controller in one of the logger", ge=0, le=1000
        )
        sample_interval: pydantic.PositiveFloat | None = daq.setting(
            None, "s", "between two samples, where it is known well"
        )
        batch: int = daq.setting(1024, "", "samples that travel together, at most", ge=1, le=65536)
        timeout: float = daq.setting(5.0, "s", "for an answer", gt=0, le=60)

    def __init__(self) -> None:
        super().__init__()
        self._socket: socket.socket | None = None
        self._control: Connection | None = None

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Find the channels and connect; ValueError where there is no logger or no such channel."""
        self._config = config
        where = f"{config.host}:{config.control_port or config.port}"
        try:
            if config.control_port:
                self._control = Connection(config.host, config.control_port, config.timeout)
                slots = config.numbering == "slots"
                known = self._control.slot_names() if slots else self._control.signal_names()
                self._signals, names = _signals(config.channels, known)
            else:
                self._signals, names = [], [str(name) for name in config.channels]
            self._connect()
        except OSError as error:
            raise ValueError(
                f"no Nanonis at {where}: {error}; is its programming interface on, and its TCP logger open?"
            ) from None
        except ValueError as error:
            raise ValueError(f"Nanonis at {where}: {error}") from None
        self._fields: list[str] = []
        self._factors = np.ones(len(names), np.float64)
        fields: dict[str, daq.Field] = {}
        for number, label in enumerate(names):
            channel = Channel.labelled(label)
            unit, self._factors[number] = CONVERSIONS.get(
                spelled(channel.unit), (spelled(channel.unit), 1.0)
            )
            name = field_name(channel.name)
            if name in fields or name in ("counter", "state"):
                name = f"{name}_{number}"
            fields[name] = daq.Field("<f4", (), unit, channel.name)
            self._fields.append(name)
        fields["counter"] = daq.Field("<u8", (), "", "of the logger")
        fields["state"] = daq.Field("<u2", (), "", "of the logger")
        attributes = {
            "instrument": "Nanonis",
            "channels": dict(zip(self._fields, names, strict=True)),
        }
        return [daq.Stream("", fields, attributes=attributes)]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield samples as they come, until the source is to stop."""
        self._index = start.get("", 0)
        self._offset = self._kept_offset()
        self._began: tuple[int, int] | None = None
        self._last_time = self._arrived = time.time_ns()
        rest = b""
        dtype = logger_samples(len(self._fields))
        while not self.context.stopping:
            try:
                if self._socket is None:
                    self._connect()
                    rest = b""
                    log.warning("connected again")
                data = self._receive()
            except (OSError, ControllerError) as error:
                self._disconnect()
                log.warning("the TCP logger is away: %s; looking for it", error)
                self.context.wait(RETRY_S)
                continue
            if not data:
                continue
            rest += data
            count = len(rest) // dtype.itemsize
            samples = np.frombuffer(rest, dtype, count)
            rest = rest[count * dtype.itemsize :]
            yield from self._records(samples)

    def close(self) -> None:
        """Disconnect; the logger is left as it is."""
        self._disconnect()
        if self._control is not None:
            self._control.close()
            self._control = None

    def _connect(self) -> None:
        config = self._config
        self._socket = socket.create_connection((config.host, config.port), config.timeout)
        self._socket.settimeout(0.1)
        if config.control_port:
            if self._control is None:
                self._control = Connection(config.host, config.control_port, config.timeout)
            self._control.start_logger(self._signals, config.oversampling)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._control is not None:
            self._control.close()
            self._control = None

    def _receive(self) -> bytes:
        assert self._socket is not None
        try:
            data = self._socket.recv(1 << 20)
        except TimeoutError:
            return b""
        if not data:
            raise ConnectionResetError("it closed the connection")
        return data

    def _records(self, samples: npt.NDArray[Any]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield what samples of one arrival hold, in runs of gapless counters."""
        if not len(samples):
            return
        if (samples["channels"] != len(self._fields)).any():
            other = int(samples["channels"][samples["channels"] != len(self._fields)][0])
            raise ValueError(
                f"the TCP logger streams {other} channels, not {len(self._fields)}: its channels were "
                "changed, or channels = [...] does not name them all"
            )
        samples = samples[samples["counter"] > 0]
        if not len(samples):
            return
        if (samples["state"] == OVERFLOW).any():
            log.warning("the TCP logger reports a buffer overflow: samples were lost")
        counter = samples["counter"].astype(np.int64)
        if self._offset is not None and counter[0] < self._index + self._offset:
            self._began = None
        times = self._times(counter)
        cuts = np.flatnonzero(np.diff(counter) != 1) + 1
        for first, end in zip([0, *cuts], [*cuts, len(counter)], strict=True):
            yield from self._gap(int(counter[first]))
            for at in range(first, end, self._config.batch):
                yield self._batch(samples[at : min(at + self._config.batch, end)], times[at:])

    def _gap(self, counter: int) -> Iterator[daq.Missing]:
        """Declare what lies between the last record and a sample; begin anew where the counter fell."""
        gap = 0 if self._offset is None else counter - (self._index + self._offset)
        if 0 < gap <= LARGEST_GAP:
            yield daq.Missing("", gap, "the TCP logger lost samples", self._index)
            self._index += gap
        elif gap or self._offset is None:
            if self._offset is not None:
                log.warning("the TCP logger was started anew: what was lost is not known")
            self._offset = counter - self._index
            if self.context.memory is not None:
                self.context.memory.write_text(json.dumps({"offset": self._offset}))

    def _batch(self, samples: npt.NDArray[Any], times: npt.NDArray[np.int64]) -> daq.Batch:
        values = samples["values"].astype(np.float64) * self._factors
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.ascontiguousarray(values[:, number], "<f4")
            for number, name in enumerate(self._fields)
        }
        arrays["counter"] = samples["counter"].astype("<u8")
        arrays["state"] = samples["state"].astype("<u2")
        arrays["time"] = times[: len(samples)]
        batch = daq.Batch("", arrays, self._index)
        self._index += len(samples)
        return batch

    def _times(self, counter: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the time of samples that arrived now."""
        now = time.time_ns()
        count, interval = len(counter), self._config.sample_interval
        if interval is not None:
            if self._began is None or counter[0] < self._began[1]:
                self._began = (now - round((count - 1) * interval * 1e9), int(counter[0]))
            began, first = self._began
            since_first: npt.NDArray[np.int64] = np.rint(
                (counter - first) * (interval * 1e9)
            ).astype(np.int64)
            return began + since_first
        since = max(0, now - self._arrived)
        self._arrived = now
        times: npt.NDArray[np.int64] = now - np.rint(
            np.arange(count - 1, -1, -1) * (since / count)
        ).astype(np.int64)
        times = np.maximum(times, self._last_time)
        self._last_time = int(times[-1])
        return times

    def _kept_offset(self) -> int | None:
        """Return counter less index as an earlier life of the source knew it."""
        memory = self.context.memory
        if memory is None or not memory.exists():
            return None
        return int(json.loads(memory.read_text())["offset"])


def _signals(wanted: Sequence[str | int], names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return indices and full names of signals; raise ValueError with what there is."""
    found = []
    for entry in wanted:
        if isinstance(entry, int):
            if not 0 <= entry < len(names):
                raise ValueError(f"no signal {entry}; there are {len(names)}, from 0")
            found.append(entry)
            continue
        plain = [Channel.labelled(name).name for name in names]
        for candidates in (list(names), plain):
            if entry in candidates:
                found.append(candidates.index(entry))
                break
        else:
            have = ", ".join(name for name in names if name)
            raise ValueError(f"no signal {entry!r}; there are {have[:400]}")
    return found, [names[index] for index in found]
