"""A Merlin camera that takes invented or recorded frames, for clients of its two sockets.

    python -m daq_simulators.merlin_detector --shape 256 256 --free-running

It listens on this machine only: commands (``--command-port``, 6341) and data (``--data-port``, 6342). With
``--free-running`` it begins an acquisition whenever a client listens, as if someone pressed start; otherwise
it waits for STARTACQUISITION. Which parameters it knows: `PARAMETERS`.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

DEPTHS: Final = {1: "U08", 6: "U08", 12: "U16", 24: "U32"}
"""Type of the pixels by counter depth."""

KINDS: Final = {"U01": "u1", "U08": "u1", "U16": ">u2", "U32": ">u4", "U64": ">u8"}

PARAMETERS: Final[dict[str, tuple[str, Callable[[float], bool]]]] = {
    "COUNTERDEPTH": ("12", lambda value: value in DEPTHS),
    "NUMFRAMESTOACQUIRE": ("100", lambda value: value >= 0),
    "NUMFRAMESPERTRIGGER": ("1", lambda value: value >= 1),
    "ACQUISITIONTIME": ("1", lambda value: value > 0),
    "ACQUISITIONPERIOD": ("1", lambda value: value > 0),
    "TRIGGERSTART": ("0", lambda value: value in range(6)),
    "TRIGGERSTOP": ("0", lambda value: value in range(6)),
    "CONTINUOUSRW": ("0", lambda value: value in (0, 1)),
    "HVBIAS": ("120", lambda value: 0 <= value <= 200),
    "THRESHOLD0": ("40", lambda value: 0 <= value <= 999),
    "THRESHOLD1": ("511", lambda value: 0 <= value <= 999),
    "FILEENABLE": ("0", lambda value: value in (0, 1)),
}
"""What may be set, with its first value (times in ms), and which values are in range."""

INTERNAL: Final = 0
"""TRIGGERSTART of an acquisition that needs no trigger."""

IDLE, BUSY, ARMED = 0, 1, 4
DONE, SAID_BUSY, UNKNOWN, OUT_OF_RANGE = 0, 1, 2, 3

Fault = Callable[[int, bytes], "bytes | None"]


class Images:
    """Frames made of images [frame, y, x], one after the other and again.

    Parameters
    ----------
    images
        Counts; clipped to what the pixels can hold.
    kind
        ``U01`` (packed) to ``U64``; by default as the counter depth has it.
    utc
        Whether headers have the extension MQ1A, with the time in UTC.
    """

    count = None

    def __init__(
        self, images: npt.NDArray[Any], kind: str | None = None, *, utc: bool = True
    ) -> None:
        self._images, self._kind, self._utc = images, kind, utc

    def frame(self, number: int, depth: int, exposure: float, time_ns: int) -> bytes:
        """Return header and pixels of a frame, exposure in s."""
        image = self._images[(number - 1) % len(self._images)]
        height, width = image.shape
        kind = self._kind or DEPTHS[depth]
        # the camera sends the bottom row first
        pixels = np.ascontiguousarray(image[::-1])
        if kind == "U01":
            payload = np.packbits(pixels.astype(bool)).tobytes()
        else:
            payload = pixels.astype(KINDS[kind]).tobytes()
        seconds, rest = divmod(time_ns, 10**9)
        stamp = datetime.fromtimestamp(seconds, UTC)
        header = (
            f"MQ1,{number:06d},00384,01,{width:04d},{height:04d},{kind},   1x1,01,"
            f"{stamp:%Y-%m-%d %H:%M:%S}.{rest // 1000:06d},{exposure:.6f},0,0,0,"
             "2.000000E+0,5.110000E+2," + "0.000000E+0," * 6 + "3RX," + "011," * 27
        )  # fmt: skip
        if self._utc:
            header += (
                f"MQ1A,{stamp:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z,{round(exposure * 1e9)}ns,{depth},"
            )
        return header.encode().ljust(384, b"\0") + payload


class Recording:
    """Frames of a .mib file as they are there, one acquisition."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        words = content[:512].split(b",", 10)
        second = re.search(rb"MQ1,\d{6},%b,%b," % (words[2], words[3]), content[4:])
        size = second.start() + 4 if second else len(content)
        self._frames = [content[at : at + size] for at in range(0, len(content) - size + 1, size)]
        self.count = len(self._frames)

    def frame(self, number: int, depth: int, exposure: float, time_ns: int) -> bytes:
        """Return header and pixels of a frame."""
        return self._frames[number - 1]


class MerlinDetector:
    """The camera: two sockets, and threads that serve them until it is closed.

    Parameters
    ----------
    frames
        What it sends.
    command_port, data_port
        0: any that is free, see the attributes of these names.
    free_running
        Begin acquisitions by itself while a client listens.
    speed
        Frames come so many times faster than ACQUISITIONPERIOD says; 0: as fast as it goes.
    fault
        ``(number, message) -> bytes`` changes what is sent for a frame; None ends the connection.
    header
        More lines of the acquisition header, by key.
    """

    def __init__(
        self,
        frames: Images | Recording,
        command_port: int = 0,
        data_port: int = 0,
        *,
        free_running: bool = False,
        speed: float = 1.0,
        fault: Fault | None = None,
        header: dict[str, str] | None = None,
    ) -> None:
        self.frames, self.free_running, self.speed, self.fault = frames, free_running, speed, fault
        self.header = header or {}
        self.parameters = {name: first for name, (first, _) in PARAMETERS.items()}
        if frames.count is not None:
            self.parameters["NUMFRAMESTOACQUIRE"] = str(frames.count)
        self.said: list[str] = []
        """Requests in the order in which they came."""
        self.status = IDLE
        self.triggers = 0
        """Triggers that were given and have no frames yet."""
        self._changed = threading.Condition()
        self._start = self._stop = self._closed = False
        self._clients: list[socket.socket] = []
        self._commands = socket.create_server(("127.0.0.1", command_port))
        self._data = socket.create_server(("127.0.0.1", data_port))
        self.command_port = self._commands.getsockname()[1]
        self.data_port = self._data.getsockname()[1]
        self._threads = [
            threading.Thread(target=self._accept, args=(self._commands, self._answer), daemon=True),
            threading.Thread(target=self._accept, args=(self._data, self._send), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> MerlinDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect everyone, and be gone."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            clients = list(self._clients)
        for one in (self._commands, self._data, *clients):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for one in (self._commands, self._data):
            one.close()
        for thread in self._threads:
            thread.join(5.0)

    def trigger(self) -> None:
        """Give a trigger, whichever the camera waits for."""
        with self._changed:
            self.triggers += 1
            self._changed.notify_all()

    def _accept(self, server: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        """Serve one client after the other."""
        while not self._closed:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with self._changed:
                self._clients.append(client)
            with client, contextlib.suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                serve(client)
            with self._changed:
                self._clients.remove(client)

    # -- commands -------------------------------------------------------------------------------

    def _answer(self, client: socket.socket) -> None:
        with client.makefile("rb") as requests:
            while len(prefix := requests.read(15)) == 15:
                body = requests.read(int(prefix[4:14]) - 1).decode("ascii")
                with self._changed:
                    self.said.append(body)
                    kind, name, value, *_ = [*body.split(","), "", ""]
                    answer = f"{kind},{name}"
                    if kind == "GET":
                        answer += f",{self._get(name)}"
                    code = self._done(kind, name.upper(), value)
                    self._changed.notify_all()
                answer += f",{code}"
                client.sendall(f"MPX,{len(answer) + 1:010d},{answer}".encode())

    def _get(self, name: str) -> str:
        if name.upper() == "DETECTORSTATUS":
            return str(self.status)
        return self.parameters.get(name.upper(), "0")

    def _done(self, kind: str, name: str, value: str) -> int:
        """Do what is asked; return the code of the answer."""
        if kind == "GET":
            return DONE if name in self.parameters or name == "DETECTORSTATUS" else UNKNOWN
        if kind == "SET" and name in self.parameters:
            if self.status != IDLE:
                return SAID_BUSY
            try:
                if not PARAMETERS[name][1](float(value)):
                    return OUT_OF_RANGE
            except ValueError:
                return OUT_OF_RANGE
            self.parameters[name] = value
            return DONE
        match kind, name:
            case "CMD", "STARTACQUISITION":
                if self.status != IDLE or self._start:
                    return SAID_BUSY
                self._start, self._stop, self.triggers = True, False, 0
                self.status = ARMED
            case "CMD", "STOPACQUISITION":
                self._stop, self._start = True, False
            case "CMD", "SOFTTRIGGER":
                self.triggers += 1
            case _:
                return UNKNOWN
        return DONE

    # -- data -----------------------------------------------------------------------------------

    def _send(self, client: socket.socket) -> None:
        while not self._closed:
            with self._changed:
                if self._start or self.free_running:
                    self._start, self._stop = False, False
                    self.status = BUSY if self._value("TRIGGERSTART") == INTERNAL else ARMED
                else:
                    if self._stop:
                        self.status = IDLE
                    self._changed.wait(0.02)
            if self.status == IDLE or self._start:
                if _gone(client):
                    return
                continue
            try:
                if not self._acquisition(client):
                    return
            finally:
                with self._changed:
                    self.status = IDLE

    def _acquisition(self, client: socket.socket) -> bool:
        """Send one acquisition; False where the connection is to be ended."""
        keys = {
            "Counter Depth (number)": self.parameters["COUNTERDEPTH"],
            "Frames in Acquisition (Number)": self.parameters["NUMFRAMESTOACQUIRE"],
            "Frames per Trigger (Number)": self.parameters["NUMFRAMESPERTRIGGER"],
            **self.header,
        }
        lines = "".join(f"{key}:\t{value}\r\n" for key, value in keys.items())
        client.sendall(_message(f"HDR,\t\r\n{lines}End\t".encode("latin-1").ljust(2048)))
        depth = int(self._value("COUNTERDEPTH"))
        exposure, period = (
            self._value("ACQUISITIONTIME") / 1e3,
            self._value("ACQUISITIONPERIOD") / 1e3,
        )
        count, each = (
            int(self._value("NUMFRAMESTOACQUIRE")),
            int(self._value("NUMFRAMESPERTRIGGER")),
        )
        number, began, due = 0, time.time_ns(), time.monotonic()
        while not count or number < count:
            if self._value("TRIGGERSTART") != INTERNAL and number % each == 0:
                if not self._triggered(client):
                    return not self._closed and not _gone(client)
                began, due = time.time_ns() - round(number * period * 1e9), time.monotonic()
            if self._stop or self._closed:
                return not self._closed
            number += 1
            message = _message(
                self.frames.frame(
                    number, depth, exposure, began + round((number - 1) * period * 1e9)
                )
            )
            sent = message if self.fault is None else self.fault(number, message)
            if sent is None:
                return False
            if self.speed:
                due += period / self.speed
                if (left := due - time.monotonic()) > 0:
                    time.sleep(left)
            client.sendall(sent)
        return True

    def _triggered(self, client: socket.socket) -> bool:
        """Wait for a trigger; False where there will be none."""
        while True:
            with self._changed:
                if self._stop or self._closed:
                    return False
                if self.triggers:
                    self.triggers -= 1
                    self.status = BUSY
                    return True
                self._changed.wait(0.02)
            if _gone(client):
                return False

    def _value(self, name: str) -> float:
        return float(self.parameters[name])


def rings(shape: tuple[int, int], count: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Return ``count`` patterns of an amorphous film, Poisson counts: [frame, y, x]."""
    y, x = np.indices(shape)
    radius = np.hypot(y - shape[0] / 2, x - shape[1] / 2) / min(shape)
    mean = 20 * np.exp(-((radius / 0.05) ** 2)) + 2 * np.exp(-(((radius - 0.25) / 0.03) ** 2)) + 0.1
    return np.random.default_rng(seed).poisson(mean, (count, *shape)).astype(np.uint16)


def _message(payload: bytes) -> bytes:
    return b"MPX,%010d," % (len(payload) + 1) + payload


def _gone(client: socket.socket) -> bool:
    """Tell whether a client has left; clients of the data socket say nothing."""
    readable, _, _ = select.select([client], [], [], 0)
    return bool(readable) and not client.recv(1)


def _free_running(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    yield "COUNTERDEPTH", str(options.depth)
    yield "ACQUISITIONTIME", f"{options.period * 1e3:g}"
    yield "ACQUISITIONPERIOD", f"{options.period * 1e3:g}"
    if options.file is None:
        yield "NUMFRAMESTOACQUIRE", str(options.frames)


def main() -> None:
    """Run the camera until Ctrl-C."""
    parser = argparse.ArgumentParser(description="a simulated Merlin camera")
    parser.add_argument("--command-port", type=int, default=6341, help="0: any that is free")
    parser.add_argument("--data-port", type=int, default=6342, help="0: any that is free")
    parser.add_argument("--shape", type=int, nargs=2, default=(256, 256), metavar=("Y", "X"))
    parser.add_argument("--depth", type=int, default=12, choices=list(DEPTHS))
    parser.add_argument("--frames", type=int, default=1024, help="of an acquisition; 0: no end")
    parser.add_argument("--period", type=float, default=1e-3, help="s, from frame to frame")
    parser.add_argument("--speed", type=float, default=1.0, help="0: as fast as it goes")
    parser.add_argument("--scan", type=int, nargs=2, metavar=("Y", "X"), help="said in the header")
    parser.add_argument("--file", type=Path, help="a .mib file, whose frames are sent")
    parser.add_argument("--free-running", action="store_true")
    options = parser.parse_args()
    source: Images | Recording = (
        Images(rings(tuple(options.shape), 32)) if options.file is None else Recording(options.file)
    )
    header = (
        {}
        if options.scan is None
        else dict(zip(("ScanY", "ScanX"), map(str, options.scan), strict=True))
    )
    camera = MerlinDetector(
        source, options.command_port, options.data_port,
        free_running=options.free_running, speed=options.speed, header=header,
    )  # fmt: skip
    with camera:
        camera.parameters.update(_free_running(options))
        print(
            f"listening on this machine: commands {camera.command_port}, data {camera.data_port}",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
