"""A DECTRIS detector that invents its frames: stream v2 (ZeroMQ, CBOR) and SIMPLON (REST).

    python -m daq_simulators.dectris_detector --images 7200 --rate 1000 --listen 31001

It listens on this machine only. A client configures, arms and triggers it as it would the real one; with
``--series N`` it arms itself as soon as a client listens, N times, and ends. What it knows of SIMPLON:
`Detector.CONFIG`, states and commands. ``--drop``, ``--damage`` and the like make it misbehave to order.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import http.server
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq_simulators.dectris_cbor import Encoded, encode, matrix, message, tag

log = logging.getLogger(__name__)

TIME_BASE: Final = 50_000_000
"""Hz; the denominator of all times."""

POOL: Final = 64
"""Different frames; they come round again."""

NAMES: Final = {"u1": "uint8", "u2": "uint16", "u4": "uint32"}


@dataclasses.dataclass(frozen=True)
class Faults:
    """What goes wrong, by numbers of images; only in the first series, ``shape_after`` excepted.

    Parameters
    ----------
    drop, repeat
        Images that are not sent, or twice.
    damage
        Images whose compressed bytes are spoilt.
    cut
        Images whose message is cut off in the middle.
    die_after
        Number of images after which the detector is gone, without a word.
    stop_after
        Number of images after which the series ends as if aborted.
    no_end
        No end message.
    shape_after
        Shape of frames from the second series on.
    big_endian
        Pixels are sent big endian.
    """

    drop: Sequence[int] = ()
    repeat: Sequence[int] = ()
    damage: Sequence[int] = ()
    cut: Sequence[int] = ()
    die_after: int | None = None
    stop_after: int | None = None
    no_end: bool = False
    shape_after: tuple[int, int] | None = None
    big_endian: bool = False


def pattern(
    shape: tuple[int, int], dtype: str, count: int, seed: int
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return [frame, y, x] counts: a bright disc and a ring of speckles, Poisson noise."""
    draw = np.random.default_rng(seed)
    y, x = np.indices(shape)
    radius = np.hypot((y - (shape[0] - 1) / 2) / shape[0], (x - (shape[1] - 1) / 2) / shape[1])
    ring = np.exp(-((radius - 0.3) ** 2) / 0.005)
    mean = 40.0 * (radius < 0.06) + ring * draw.gamma(2.0, 0.7, (count, *shape)) + 0.05
    most = np.iinfo(dtype).max - 1
    return np.minimum(draw.poisson(mean), most).astype(dtype)


class Detector:
    """The detector: its settings, what it sends, and its two interfaces.

    Parameters
    ----------
    shape, dtype
        Of a frame [y, x]: ``u1``, ``u2`` or ``u4``.
    frames
        [frame, y, x], sent in turn; by default `pattern`. With several channels, channel n has the
        frames shifted by n pixels.
    images
        Of a series, until a client says otherwise.
    compression
        ``none``, ``lz4`` or ``bslz4``.
    channels
        Their names.
    rate
        Images per second; 0: as fast as they are taken.
    lossy
        Drop images that no client takes, as a camera does; else wait for it.
    bad
        Number of bad pixels, besides the middle lines; they read the largest value.
    user_data
        Of the start message.
    port, api_port
        To listen at; 0: any that is free, see the attributes of these names.
    """

    CONFIG: Final = (
        "trigger_mode", "nimages", "ntrigger", "count_time", "frame_time", "compression",
        "flatfield_correction_applied", "pixel_mask_applied", "roi_mode", "incident_energy",
    )  # fmt: skip

    def __init__(
        self,
        shape: tuple[int, int] = (192, 192),
        dtype: str = "u2",
        *,
        frames: npt.NDArray[Any] | None = None,
        images: int = 100,
        compression: str = "bslz4",
        channels: Sequence[str] = ("threshold_1",),
        rate: float = 1000.0,
        lossy: bool = False,
        bad: int = 4,
        flat_applied: bool = True,
        user_data: Any = None,
        faults: Faults | None = None,
        seed: int = 0,
        port: int = 0,
        api_port: int = 0,
    ) -> None:
        import zmq

        self.channels, self.seed = tuple(channels), seed
        self.rate, self._lossy, self._bad = rate, lossy, bad
        self._user_data, self.faults = user_data, faults or Faults()
        self.detector: dict[str, Any] = {
            "trigger_mode": "ints", "nimages": images, "ntrigger": 1,
            "count_time": 1 / (rate or 1000.0), "frame_time": 1 / (rate or 1000.0),
            "compression": compression, "flatfield_correction_applied": flat_applied,
            "pixel_mask_applied": True, "roi_mode": "disabled", "incident_energy": 200_000.0,
        }  # fmt: skip
        self.stream: dict[str, Any] = {"mode": "enabled", "format": "cbor", "header_detail": "all"}
        self._given = frames
        self._make(shape if frames is None else frames.shape[1:], dtype)
        self.state, self.dropped, self.series, self.sent = "idle", 0, 0, 0
        self._zmq = zmq
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.SNDHWM, 1000)
        self.port = port
        if port:
            self._socket.bind(f"tcp://127.0.0.1:{port}")
        else:
            self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self._commands: list[str] = []
        self._wake = threading.Condition()
        self._halt = threading.Event()
        self._closing = False
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", api_port), self._handler())
        self._server.daemon_threads = True
        self.api_port: int = self._server.server_address[1]
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._work, "detector"), (self._serve, "simplon"))
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Switch it off: what was not sent is lost, connections are gone."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._halt.set()
        for thread in self._threads[:1]:
            if thread is not threading.current_thread():
                thread.join()
        self._server.shutdown()
        self._server.server_close()
        self._socket.close()
        self._context.term()

    def frame(self, number: int, channel: int = 0) -> npt.NDArray[Any]:
        """Return the frame of an image as it is sent, in the byte order of this machine."""
        frame: npt.NDArray[Any] = np.roll(self.pool[number % len(self.pool)], channel, axis=1)
        frame[self.mask != 0] = np.iinfo(frame.dtype).max
        return frame

    # -- commands -------------------------------------------------------------------------------

    def command(self, name: str) -> dict[str, Any]:
        """Do what the REST interface tells; return its answer. Raise ValueError where it must not be."""
        with self._wake:
            if name == "arm":
                if self.state not in ("idle", "error"):
                    raise ValueError(f"cannot arm in state {self.state}")
                self.series += 1
                self.state = "ready"
                self._halt.clear()
                self._commands.append("arm")
            elif name == "trigger":
                if self.state != "ready":
                    raise ValueError(f"cannot trigger in state {self.state}")
                self._commands.append("trigger")
            elif name in ("abort", "cancel", "disarm"):
                self._halt.set()
                self._commands.append("disarm")
            elif name != "initialize":
                raise ValueError(f"unknown command {name}")
            self._wake.notify_all()
        if name in ("trigger", "abort", "cancel", "disarm"):
            # the real one answers when it is done
            while not self._closing and (self._commands or self.state == "acquire"):
                time.sleep(0.001)
        return {} if name in ("initialize", "trigger") else {"sequence id": self.series}

    def wait_idle(self, seconds: float = 60.0) -> None:
        """Wait until a series is over; TimeoutError where it takes longer."""
        until = time.monotonic() + seconds
        while self._commands or self.state in ("ready", "acquire"):
            if time.monotonic() > until:
                raise TimeoutError(f"still {self.state}")
            time.sleep(0.002)

    # -- the series -----------------------------------------------------------------------------

    def _make(self, shape: tuple[int, ...], dtype: str) -> None:
        """Make frames, flat field and mask, and encode them when they are needed."""
        self.shape = (shape[0], shape[1])
        self.pool = (
            pattern(self.shape, dtype, POOL, self.seed)
            if self._given is None or self._given.shape[1:] != self.shape
            else self._given
        )
        self.dtype = self.pool.dtype
        draw = np.random.default_rng(self.seed + 1)
        self.mask = np.zeros(self.shape, np.uint32)
        self.mask.flat[draw.choice(self.mask.size, self._bad, replace=False)] = 2
        self.flatfield = draw.normal(1.0, 0.02, self.shape).astype(np.float32)
        self._encoded: dict[tuple[int, str, bool], Encoded] = {}

    def _work(self) -> None:
        """Do one command after the other."""
        while True:
            with self._wake:
                while not self._commands and not self._closing:
                    self._wake.wait()
                if self._closing:
                    return
                name = self._commands[0]
                if name == "trigger":
                    self.state = "acquire"
            try:
                self._do(name)
            except _Gone:
                return
            finally:
                with self._wake:
                    if self._commands and self._commands[0] == name:
                        self._commands.pop(0)

    def _do(self, name: str) -> None:
        mode = self.detector["trigger_mode"]
        if name == "arm":
            if self.series == 2 and self.faults.shape_after is not None:
                self._make(self.faults.shape_after, self.dtype.str[1:])
            self._number = 0
            each = mode in ("inte", "exte")
            self.total = self.detector["ntrigger"] * (1 if each else self.detector["nimages"])
            self._due = self.total if mode in ("exts", "exte") else 0
            self._ends = False
            now = datetime.datetime.now(datetime.UTC).replace(microsecond=281_000)
            self._date = now.isoformat(timespec="milliseconds")
            self.unique = f"01GRXWT80JSDY2FNW8SG{self.series:06d}"
            for number in range(min(len(self.pool), self.total)):
                self._data(number)
            self._send(self._start_message())
            if self._due:
                self.state = "acquire"
                self._acquire()
        elif name == "trigger":
            self._due += 1 if mode == "inte" else self.detector["nimages"]
            self._acquire()
        elif self.state in ("ready", "acquire"):
            self._end()

    def _acquire(self) -> None:
        """Send images until those that were triggered are there, or somebody halts it."""
        faults = self.faults if self.series == 1 else Faults(big_endian=self.faults.big_endian)
        began, first = time.monotonic(), self._number
        while self._number < self._due and not self._halt.is_set():
            number = self._number
            if faults.die_after is not None and number >= faults.die_after:
                self._die()
            if faults.stop_after is not None and number >= faults.stop_after:
                self._end()
                return
            if self.rate:
                ahead = began + (number - first) / self.rate - time.monotonic()
                if ahead > 0.002 and self._halt.wait(ahead):
                    break
            self._number += 1
            if number in faults.drop:
                continue
            image = self._image_message(number, damaged=number in faults.damage)
            if number in faults.cut:
                image = image[: len(image) // 2]
            for _ in range(1 + (number in faults.repeat)):
                self._send(image)
        if self._number >= self.total or self._halt.is_set():
            self._end(silent=faults.no_end)
        else:
            self.state = "ready"

    def _end(self, *, silent: bool = False) -> None:
        if not silent:
            self._send(message({"type": "end", **self._ids()}))
        self.state = "idle"

    def _die(self) -> None:
        """Be gone, once what was sent is on its way."""
        self._closing, self.state = True, "gone"
        self._socket.close(linger=1000)
        self._server.shutdown()
        self._server.server_close()
        raise _Gone

    def _send(self, text: bytes) -> None:
        if self.stream["mode"] != "enabled":
            return
        while True:
            try:
                self._socket.send(text, self._zmq.NOBLOCK)
            except self._zmq.Again:
                if self._lossy:
                    self.dropped += 1
                    return
                if self._closing or self._halt.is_set():
                    return
                self._socket.poll(20, self._zmq.POLLOUT)
            else:
                self.sent += 1
                return

    def _ids(self) -> dict[str, Any]:
        return {"series_id": self.series, "series_unique_id": self.unique}

    def _start_message(self) -> bytes:
        detail: dict[str, Any] = {}
        if self.stream["header_detail"] == "all":
            detail = {
                "flatfield": {c: matrix(self.flatfield) for c in self.channels},
                "pixel_mask": {c: matrix(self.mask, "bslz4") for c in self.channels},
            }
        height, width = self.shape
        return message({
            "type": "start",
            "arm_date": tag(0, self._date),
            "beam_center_x": width / 2, "beam_center_y": height / 2,
            "channels": list(self.channels),
            "count_time": float(self.detector["count_time"]),
            "countrate_correction_enabled": False,
            "detector_description": "Simulated ARINA",
            "detector_serial_number": "S-01-0001",
            "detector_translation": [0.0, 0.0, 0.0],
            "flatfield_enabled": bool(self.detector["flatfield_correction_applied"]),
            "frame_time": float(self.detector["frame_time"]),
            "goniometer": {},
            "image_dtype": NAMES[self.dtype.str[1:]],
            "image_size_x": width, "image_size_y": height,
            "incident_energy": float(self.detector["incident_energy"]),
            "number_of_images": self.total,
            "pixel_mask_enabled": bool(self.detector["pixel_mask_applied"]),
            "pixel_size_x": 1e-4, "pixel_size_y": 1e-4,
            "saturation_value": int(np.iinfo(self.dtype).max) - 1,
            "sensor_material": "Si", "sensor_thickness": 4.5e-4,
            **self._ids(),
            "threshold_energy": {c: 30_000.0 * (n + 1) for n, c in enumerate(self.channels)},
            "user_data": self._user_data,
            "virtual_pixel_interpolation_enabled": True,
            **detail,
        })  # fmt: skip

    def _image_message(self, number: int, *, damaged: bool = False) -> bytes:
        period = round(TIME_BASE * self.detector["frame_time"])
        exposed = round(TIME_BASE * self.detector["count_time"])
        return message({
            "type": "image",
            **self._ids(),
            "image_id": number,
            "real_time": [exposed, TIME_BASE],
            "series_date": tag(0, self._date),
            "start_time": [number * period, TIME_BASE],
            "stop_time": [number * period + exposed, TIME_BASE],
            "user_data": None,
            "data": self._data(number, damaged=damaged),
        })  # fmt: skip

    def _data(self, number: int, *, damaged: bool = False) -> Encoded:
        """Return the map of channels, encoded once for each frame of the pool."""
        method = self.detector["compression"]
        key = (number % len(self.pool), method, damaged)
        if key not in self._encoded:
            found = {}
            for place, channel in enumerate(self.channels):
                frame = self.frame(number, place)
                if self.faults.big_endian:
                    frame = frame.astype(frame.dtype.newbyteorder(">"))
                array = matrix(frame, method)
                if damaged:
                    # from the middle on, where only data can be
                    half = len(array) // 2
                    array = Encoded(array[:half] + bytes(255 - b for b in array[half:]))
                found[channel] = array
            self._encoded[key] = Encoded(encode(found))
        return self._encoded[key]

    # -- SIMPLON --------------------------------------------------------------------------------

    def answer(self, method: str, path: str, body: Any) -> Any:
        """Answer a request; raise LookupError for what is not there, ValueError for what must not be."""
        match path.strip("/").split("/"):
            case ["detector", "api", "version"]:
                return {"value": "1.8.0", "value_type": "string"}
            case ["detector", "api", "1.8.0", "command", name] if method == "PUT":
                return self.command(name)
            case ["detector", "api", "1.8.0", "status", "state"]:
                return _value(self.state)
            case ["stream", "api", "1.8.0", "status", "state"]:
                return _value("acquire" if self.state == "acquire" else "ready")
            case ["stream", "api", "1.8.0", "status", "dropped"]:
                return _value(self.dropped)
            case ["stream", "api", "1.8.0", "config"] if method == "PUT":
                return [self._set(self.stream, name, entry) for name, entry in body.items()]
            case [module, "api", "1.8.0", "config", name] if module in ("detector", "stream"):
                settings = self.detector if module == "detector" else self.stream
                if method == "PUT":
                    return [self._set(settings, name, body)]
                return _value(self._settings(settings)[name])
        raise LookupError(path)

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        height, width = self.shape
        more = {"x_pixels_in_detector": width, "y_pixels_in_detector": height,
                "bit_depth_image": 8 * self.dtype.itemsize}  # fmt: skip
        return settings | more if settings is self.detector else settings

    def _set(self, settings: dict[str, Any], name: str, body: Any) -> str:
        if name not in settings:
            raise LookupError(name)
        value = body["value"]
        known = {"compression": ("none", "lz4", "bslz4"), "format": ("cbor",),
                 "trigger_mode": ("ints", "inte", "exts", "exte")}  # fmt: skip
        if name in known and value not in known[name]:
            raise ValueError(f"{name}: {value!r} is not among {', '.join(known[name])}")
        if name in ("nimages", "ntrigger") and not (isinstance(value, int) and value > 0):
            raise ValueError(f"{name}: {value!r} is no number of images")
        settings[name] = value
        return name

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def _handler(self) -> Callable[..., http.server.BaseHTTPRequestHandler]:
        detector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply("GET", None)

            def do_PUT(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self._reply("PUT", text)

            def _reply(self, method: str, text: bytes | None) -> None:
                try:
                    status, said = (
                        200,
                        detector.answer(method, self.path, json.loads(text or b"null")),
                    )
                except LookupError as error:
                    status, said = 404, f"Parameter {error} does not exist"
                except (ValueError, TypeError, KeyError) as error:
                    status, said = 400, str(error)
                data = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                log.debug(*arguments)

        return Handler


class _Gone(Exception):
    """The detector has died, to order."""


def _value(value: Any) -> dict[str, Any]:
    kinds = {bool: "bool", int: "uint", float: "float", str: "string"}
    return {"value": value, "value_type": kinds.get(type(value), "string")}


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("daq_simulators.dectris_detector", description=summary)
    parser.add_argument("--listen", type=int, default=31001, help="port of the stream")
    parser.add_argument(
        "--api", type=int, default=8080, help="port of SIMPLON; the real one has 80"
    )
    parser.add_argument("--shape", type=int, nargs=2, default=(192, 192), metavar=("Y", "X"))
    parser.add_argument("--dtype", choices=list(NAMES), default="u2")
    parser.add_argument("--frames", type=Path, help=".npy file [frame, y, x] to send instead")
    parser.add_argument("--images", type=int, default=1000, help="of a series")
    parser.add_argument("--compression", choices=["none", "lz4", "bslz4"], default="bslz4")
    parser.add_argument("--channels", nargs="+", default=["threshold_1"])
    parser.add_argument(
        "--rate", type=float, default=1000.0, help="images per second; 0: all it can"
    )
    parser.add_argument("--scan", type=int, nargs=2, metavar=("Y", "X"), help="told as user_data")
    parser.add_argument(
        "--lossy", action="store_true", help="drop what nobody takes, as a camera does"
    )
    parser.add_argument(
        "--flat-not-applied", action="store_true", help="leave the flat field to others"
    )
    parser.add_argument(
        "--series", type=int, default=0, help="arm and trigger itself so often, then end"
    )
    parser.add_argument("--seed", type=int, default=0)
    for name, text in (
        ("drop", "images not sent"), ("repeat", "images sent twice"),
        ("damage", "images with spoilt data"), ("cut", "images whose message is cut off"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, nargs="+", default=(), metavar="N", help=text)
    parser.add_argument("--die-after", type=int, metavar="N", help="be gone after so many images")
    parser.add_argument("--stop-after", type=int, metavar="N", help="end the series after so many")
    parser.add_argument("--no-end", action="store_true", help="send no end message")
    parser.add_argument("--shape-after", type=int, nargs=2, metavar=("Y", "X"),
                        help="of frames from the second series on")  # fmt: skip
    parser.add_argument("--big-endian", action="store_true", help="send the pixels so")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the detector until Ctrl-C, or until it has sent the series it was told to."""
    given = _arguments(arguments)
    faults = Faults(
        given.drop, given.repeat, given.damage, given.cut, given.die_after, given.stop_after,
        given.no_end, given.shape_after and tuple(given.shape_after), given.big_endian,
    )  # fmt: skip
    detector = Detector(
        tuple(given.shape), given.dtype, frames=given.frames and np.load(given.frames),
        images=given.images, compression=given.compression, channels=given.channels,
        rate=given.rate, lossy=given.lossy, flat_applied=not given.flat_not_applied,
        user_data={"scan": given.scan} if given.scan else None, faults=faults, seed=given.seed,
        port=given.listen, api_port=given.api,
    )  # fmt: skip
    with detector, contextlib.suppress(KeyboardInterrupt):
        print(f"stream tcp://127.0.0.1:{detector.port}, SIMPLON http://127.0.0.1:{detector.api_port}; "
              "Ctrl-C ends it", flush=True)  # fmt: skip
        for _ in _times(given.series):
            detector.command("arm")
            if detector.state == "ready":
                detector.command("trigger")
            detector.wait_idle(float("inf"))
        # what is under way arrives before the socket is gone
        detector._socket.set(detector._zmq.LINGER, 10_000)


def _times(count: int) -> Iterator[int]:
    if count:
        yield from range(count)
    else:
        threading.Event().wait()


if __name__ == "__main__":
    main()
