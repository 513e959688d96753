"""A Nanonis controller that scans an invented surface, for clients of its two network interfaces.

    python -m daq_simulators.nanonis_controller --lines 256 --pixels 256 --line-time 0.5

It listens on this machine only: the programming interface (``--port``, 6501) and the stream of the TCP
logger (``--logger-port``, 6590). The scan starts at once, and goes on until Ctrl-C. The bytes are those of the
protocol description of SPECS (TCPProtocol_SPM); which commands it knows: `Controller.COMMANDS`.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

SIGNALS: Final = {0: "Current (A)", 14: "Z (m)", 24: "Phase (deg)", 25: "Amplitude (m)"}
"""Names of signals by index; the others are called Input 1 (V) and so on."""

SIGNAL_COUNT: Final = 128

LOGGER_RATE: Final = 20_000.0
"""Samples per second of the controller, before oversampling."""

RUNNING, IDLE = 4, 1


class ScanEngine:
    """The scan: where it is at a moment, and what its buffer holds then.

    Row 0 of the buffer is the top; a scan upwards begins with the last row. In a line the forward
    movement comes first. The surface is a sum of waves, other ones for each scan; the retrace is the
    trace, plus noise of its own.

    Parameters
    ----------
    rows, columns
        Of the image.
    line_time
        Seconds of a line, forward and backward together.
    size
        Width and height of the image, m.
    channels
        Indices of the signals that are recorded.
    upwards
        Direction of the first scan.
    continuous
        Begin the next scan when one has ended, ``turnaround`` seconds later.
    bouncy
        The next one goes the other way.
    clear
        Blank the buffer (NaN) when a scan begins; else old rows stay until they are scanned over.
    seed
        Of surface and noise.
    clock
        Gives seconds; by default time.monotonic.
    """

    def __init__(
        self,
        rows: int = 256,
        columns: int = 256,
        *,
        line_time: float = 0.5,
        size: tuple[float, float] = (250e-9, 250e-9),
        channels: tuple[int, ...] = (14, 24, 25),
        upwards: bool = False,
        continuous: bool = True,
        turnaround: float = 0.5,
        bouncy: bool = False,
        clear: bool = True,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rows, self.columns = rows, columns
        self.line_time, self.size, self.channels = line_time, size, channels
        self.upwards, self.continuous, self.bouncy, self.clear = upwards, continuous, bouncy, clear
        self.centre, self.angle = (0.0, 0.0), 0.0
        self.scan = -1
        """Number of the scan that runs or has run."""
        self._seed, self._clock, self._turnaround = seed, clock, turnaround
        self._before = 0.0
        self._since: float | None = None
        self._images: dict[tuple[int, int, int], npt.NDArray[np.float32]] = {}
        self._old: dict[tuple[int, int], npt.NDArray[np.float32]] = {}

    @property
    def running(self) -> bool:
        """Whether the scan moves now."""
        self._advance()
        return self._since is not None

    def start(self, upwards: bool | None = None) -> None:
        """Begin a scan from its first line, also in the middle of another one."""
        self.pause()
        self._keep()
        if upwards is not None:
            self.upwards = upwards
        self.scan += 1
        self._before, self._since = 0.0, self._clock()

    def pause(self) -> None:
        """Stop moving; what is there stays."""
        self._advance()
        self._before, self._since = self._position(), None

    def resume(self) -> None:
        """Go on after a pause."""
        if self._since is None and self.scan >= 0 and self._before < self.rows:
            self._since = self._clock()

    def image(self, scan: int, channel: int, direction: int) -> npt.NDArray[np.float32]:
        """Return what a scan gives when it is whole: [rows, columns], the top row first, SI units."""
        key = (scan, channel, direction)
        if key not in self._images:
            self._images[key] = self._surface(scan, channel, direction)
        return self._images[key]

    def buffer(self, channel: int, direction: int) -> npt.NDArray[np.float32]:
        """Return the buffer as it is now; rows that were not scanned are NaN."""
        self._advance()
        blank = np.full((self.rows, self.columns), np.nan, np.float32)
        held = self._old.get((channel, direction), blank).copy()
        if self.scan < 0:
            return held
        whole = self.image(self.scan, channel, direction)
        position = self._position()
        lines = min(math.floor(position), self.rows)
        part = position - lines
        rows = slice(self.rows - lines, self.rows) if self.upwards else slice(0, lines)
        held[rows] = whole[rows]
        if lines < self.rows and part > 0:
            # forward in the first half of the line time, backward in the second
            share = min(1.0, 2 * part) if direction else max(0.0, 2 * part - 1)
            pixels = math.floor(share * self.columns)
            columns = slice(0, pixels) if direction else slice(self.columns - pixels, self.columns)
            row = self.rows - 1 - lines if self.upwards else lines
            held[row, columns] = whole[row, columns]
        return held

    def _position(self) -> float:
        """Return how many lines of this scan there are."""
        since = 0.0 if self._since is None else self._clock() - self._since
        return min(self._before + since / self.line_time, float(self.rows))

    def _advance(self) -> None:
        """Begin the scans that are due; end the one that has no successor."""
        while self._since is not None:
            left = (self.rows - self._before) * self.line_time
            over = self._clock() - self._since - left
            if over < 0:
                return
            if not self.continuous:
                self._before, self._since = float(self.rows), None
                return
            if over < self._turnaround:
                return
            began = self._clock() - over + self._turnaround
            self._before, self._since = float(self.rows), None
            self._keep()
            self.upwards ^= self.bouncy
            self.scan += 1
            self._before, self._since = 0.0, began

    def _keep(self) -> None:
        """Keep what the next scan finds in the buffer; nothing moves now."""
        self._old = {} if self.clear else {
            (channel, direction): self.buffer(channel, direction)
            for channel in self.channels for direction in (0, 1)
        }  # fmt: skip
        self._images = {key: image for key, image in self._images.items() if key[0] >= self.scan}

    def _surface(self, scan: int, channel: int, direction: int) -> npt.NDArray[np.float32]:
        waves = np.random.default_rng([self._seed, scan, channel])
        y, x = np.mgrid[0 : self.rows, 0 : self.columns]
        values = np.zeros((self.rows, self.columns))
        for _ in range(6):
            ky, kx = waves.uniform(-0.15, 0.15, 2) * 2 * math.pi
            values += waves.normal() * np.sin(ky * y + kx * x + waves.uniform(0, 2 * math.pi))
        noise = np.random.default_rng([self._seed, scan, channel, direction])
        values += 0.02 * noise.standard_normal(values.shape)
        name = signal_names()[channel]
        scale, mean = {"(m)": (0.3e-9, 0.0), "(deg)": (1.5, 70.0)}.get(name.split()[-1], (1.0, 0.0))
        if name == SIGNALS[25]:
            scale, mean = 0.02e-9, 8.5e-9
        return (mean + scale * values).astype(np.float32)


class CommandError(Exception):
    """What the controller answers instead of a result."""


class Controller:
    """Both servers. `close` it, or use it with ``with``.

    Parameters
    ----------
    engine
        The scan.
    port, logger_port
        To listen on; 0 takes a free one, and `port` and `logger_port` tell which.
    logger_rate
        Samples per second before oversampling.
    """

    def __init__(
        self,
        engine: ScanEngine,
        port: int = 0,
        logger_port: int = 0,
        logger_rate: float = LOGGER_RATE,
    ) -> None:
        self.engine = engine
        self.logger = LoggerStream(logger_port, logger_rate)
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", port))
        self._clients: list[socket.socket] = []
        self._closing = False
        self.requests = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Port of the programming interface."""
        return int(self._socket.getsockname()[1])

    @property
    def logger_port(self) -> int:
        """Port of the logger's stream."""
        return self.logger.port

    def __enter__(self) -> Controller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up on everybody."""
        self._closing = True
        for each in (self._socket, *self._clients):
            _hang_up(each)
        self.logger.close()

    # -- commands: the body of a request to the body of its reply -------------------------------

    def _action(self, body: bytes) -> bytes:
        action, upwards = struct.unpack(">HI", body)
        if action == 0:
            self.engine.start(bool(upwards))
        elif action in (1, 2):
            self.engine.pause()
        elif action == 3:
            self.engine.resume()
        else:
            raise CommandError(f"Scan action {action} is not supported")
        return b""

    def _status(self, _: bytes) -> bytes:
        return struct.pack(">I", self.engine.running)

    def _frame(self, _: bytes) -> bytes:
        return struct.pack(">5f", *self.engine.centre, *self.engine.size, self.engine.angle)

    def _set_frame(self, body: bytes) -> bytes:
        x, y, width, height, angle = struct.unpack(">5f", body)
        self.engine.centre, self.engine.size, self.engine.angle = (x, y), (width, height), angle
        return b""

    def _buffer(self, _: bytes) -> bytes:
        engine = self.engine
        return _integers(engine.channels) + struct.pack(">ii", engine.columns, engine.rows)

    def _speed(self, _: bytes) -> bytes:
        half = self.engine.line_time / 2
        speed = self.engine.size[0] / half
        return struct.pack(">4fHf", speed, speed, half, half, 1, 1.0)

    def _properties(self, _: bytes) -> bytes:
        engine = self.engine
        flags = struct.pack(">3I", engine.continuous, engine.bouncy, 2)
        return (flags + _text("simulated") + _text("") + _texts([]) + _integers(())
                + struct.pack(">iiI", 0, 0, 3))  # fmt: skip

    def _grab(self, body: bytes) -> bytes:
        channel, direction = struct.unpack(">II", body)
        if channel not in self.engine.channels:
            raise CommandError(f"Channel {channel} is not among the acquired channels")
        values = self.engine.buffer(channel, int(direction > 0)).astype(">f4")
        head = _text(signal_names()[channel]) + struct.pack(">ii", *values.shape)
        return head + values.tobytes() + struct.pack(">I", self.engine.upwards)

    def _names(self, _: bytes) -> bytes:
        return _texts(signal_names())

    def _slots(self, _: bytes) -> bytes:
        slots = list(range(24))
        return _texts([signal_names()[index] for index in slots]) + _integers(slots)

    def _logger_channels(self, body: bytes) -> bytes:
        channels = struct.unpack(f">{len(body) // 4}i", body)
        if len(channels) != channels[0] + 1 or not 0 < channels[0] <= 24:
            raise CommandError("The number of channels is wrong")
        self.logger.channels = channels[1:]
        return b""

    def _logger_oversampling(self, body: bytes) -> bytes:
        (self.logger.oversampling,) = struct.unpack(">i", body)
        return b""

    def _logger_start(self, _: bytes) -> bytes:
        self.logger.start()
        return b""

    def _logger_stop(self, _: bytes) -> bytes:
        self.logger.stop()
        return b""

    def _logger_status(self, _: bytes) -> bytes:
        return struct.pack(">i", RUNNING if self.logger.running else IDLE)

    COMMANDS: Final[dict[str, Callable[[Controller, bytes], bytes]]] = {
        "Scan.Action": _action, "Scan.StatusGet": _status, "Scan.FrameGet": _frame,
        "Scan.FrameSet": _set_frame, "Scan.BufferGet": _buffer, "Scan.SpeedGet": _speed,
        "Scan.PropsGet": _properties, "Scan.FrameDataGrab": _grab, "Signals.NamesGet": _names,
        "Signals.InSlotsGet": _slots, "TCPLog.ChsSet": _logger_channels,
        "TCPLog.OversamplSet": _logger_oversampling, "TCPLog.Start": _logger_start,
        "TCPLog.Stop": _logger_stop, "TCPLog.StatusGet": _logger_status,
    }  # fmt: skip
    """What it answers."""

    EMPTY: Final[dict[str, bytes]] = {"Scan.FrameDataGrab": bytes(16)}
    """Results that stand before an error: nothing, in their places."""

    # -- the server -----------------------------------------------------------------------------

    def answer(self, name: str, body: bytes) -> bytes:
        """Return the whole reply to a request."""
        try:
            command = self.COMMANDS.get(name)
            if command is None:
                raise CommandError(f"Unknown command {name!r}")
            with self._lock:
                self.requests += 1
                result = command(self, body) + struct.pack(">Ii", 0, 0)
        except (CommandError, struct.error) as error:
            text = str(error).encode()
            result = self.EMPTY.get(name, b"") + struct.pack(">Ii", 1, len(text)) + text
        return struct.pack(">32sii", name.encode(), len(result), 0) + result

    def _accept(self) -> None:
        for client in _clients(self._socket):
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while not self._closing:
                head = _receive(client, 40)
                name, size, _, _ = struct.unpack(">32siHH", head)
                body = _receive(client, size)
                client.sendall(self.answer(name.rstrip(b"\0").decode("latin-1"), body))


class LoggerStream:
    """The TCP logger: a packet per sample to whoever is connected.

    A packet: channels (uint32), oversampling (float32), counter (uint64), state (uint16), values (float32).
    The first packet of a start has the counter 0. Sample n of channel c is n + c / 1000, so that a client can be
    held to it. ``skip`` leaves samples out, as a full buffer does.
    """

    def __init__(self, port: int, rate: float) -> None:
        self.channels: tuple[int, ...] = (14,)
        self.oversampling = 10
        self.running = False
        self._rate = rate
        self._socket = socket.create_server(("127.0.0.1", port))
        self._clients: list[socket.socket] = []
        self._counter = 0
        self._since = 0.0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._stream, daemon=True).start()

    @property
    def port(self) -> int:
        """Port of the stream."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to count from 1, after a packet 0; goes on where it is running."""
        with self._lock:
            if not self.running:
                self._counter, self._since, self.running = 0, time.monotonic(), True
                self._send(self.packets(0, 1))

    def stop(self) -> None:
        """Stop counting."""
        self.running = False

    def skip(self, count: int) -> None:
        """Lose so many samples."""
        with self._lock:
            self._counter += count

    def hang_up(self) -> None:
        """Close the connections to all clients; they may come again."""
        with self._lock:
            for client in self._clients:
                _hang_up(client)
            self._clients.clear()

    def close(self) -> None:
        """End the stream."""
        self._closing.set()
        _hang_up(self._socket)
        self.hang_up()

    def packets(self, first: int, count: int) -> bytes:
        """Return the packets of samples from ``first`` on."""
        form = np.dtype([("channels", ">u4"), ("oversampling", ">f4"), ("counter", ">u8"),
                         ("state", ">u2"), ("values", ">f4", (len(self.channels),))])  # fmt: skip
        packets = np.zeros(count, form)
        number = np.arange(first, first + count)
        packets["channels"], packets["oversampling"] = len(self.channels), self.oversampling
        packets["counter"], packets["state"] = number, RUNNING
        packets["values"] = number[:, None] + np.array(self.channels) / 1000
        return packets.tobytes()

    def _accept(self) -> None:
        for client in _clients(self._socket):
            with self._lock:
                self._clients.append(client)

    def _stream(self) -> None:
        while not self._closing.wait(0.01):
            with self._lock:
                if not self.running:
                    continue
                now = time.monotonic()
                count = int((now - self._since) * self._rate / max(1, self.oversampling))
                if count:
                    self._since = now
                    self._send(self.packets(self._counter + 1, count))
                    self._counter += count

    def _send(self, data: bytes) -> None:
        for client in list(self._clients):
            try:
                # a client that does not read is dropped, not waited for
                if not select.select([], [client], [], 0)[1]:
                    raise OSError("it does not read")
                client.sendall(data)
            except OSError:
                self._clients.remove(client)
                _hang_up(client)


def signal_names() -> list[str]:
    """Return the names of all signals, by index."""
    return [SIGNALS.get(index, f"Input {index} (V)") for index in range(SIGNAL_COUNT)]


def _text(text: str) -> bytes:
    return struct.pack(">i", len(text.encode())) + text.encode()


def _texts(texts: list[str]) -> bytes:
    parts = b"".join(map(_text, texts))
    return struct.pack(">ii", len(parts), len(texts)) + parts


def _integers(values: Any) -> bytes:
    return struct.pack(f">i{len(values)}i", len(values), *values)


def _receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the client has gone")
        data += part
    return data


def _clients(server: socket.socket) -> Iterator[socket.socket]:
    """Yield clients until the server is closed."""
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


def _hang_up(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def main(arguments: list[str] | None = None) -> None:
    """Run the controller until Ctrl-C."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("daq_simulators.nanonis_controller", description=summary)
    parser.add_argument("--port", type=int, default=6501, help="of the programming interface")
    parser.add_argument("--logger-port", type=int, default=6590, help="of the TCP logger")
    parser.add_argument("--lines", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=256, help="in a line")
    parser.add_argument("--line-time", type=float, default=0.5, help="s, there and back")
    parser.add_argument("--size", type=float, default=250.0, help="nm, of the image")
    parser.add_argument("--up", action="store_true", help="begin at the bottom")
    parser.add_argument("--bouncy", action="store_true", help="the next scan goes the other way")
    parser.add_argument("--once", action="store_true", help="one scan, not one after the other")
    parser.add_argument("--keep-old", action="store_true", help="do not clear the buffer")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    engine = ScanEngine(
        given.lines, given.pixels, line_time=given.line_time,
        size=(given.size * 1e-9, given.size * 1e-9), upwards=given.up, bouncy=given.bouncy,
        continuous=not given.once, clear=not given.keep_old, seed=given.seed,
    )  # fmt: skip
    with Controller(engine, given.port, given.logger_port) as controller:
        engine.start()
        print(f"programming interface 127.0.0.1:{controller.port}, "
              f"TCP logger 127.0.0.1:{controller.logger_port}; Ctrl-C ends it", flush=True)  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
