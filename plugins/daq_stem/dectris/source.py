"""The source type ``dectris``: frames of a DECTRIS camera, as it streams them."""

from __future__ import annotations

import itertools
import logging
import os
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.dectris.compression import Unpacker, warm_up
from daq_stem.dectris.connection import Connection
from daq_stem.dectris.messages import DamagedError, End, Image, Message, Packed, Start
from daq_stem.dectris.rest import Simplon, SimplonError
from daq_stem.dectris.series import Kept, Memory, Numbering, Tally

log = logging.getLogger("dectris")

PORTS: Final = {"cbor": 31001, "legacy": 9999}

IDLE: Final = 0.1
"""s; how long to wait for a message before looking whether the source shall end."""

HOLD: Final = 0.02
"""s; frames wait at most so long for others that travel with them."""

ARMED: Final = 20.0
"""s; an armed camera says so within this time."""

GRACE: Final = 2.0
"""s; to connect, however impatient the configuration is."""

QUIET: Final = 2.0
"""s; after this the control unit is asked what it does, and an `end` that did not come is given up."""

BATCH_BYTES: Final = 16 << 20
"""A batch holds at most this much, and at least one frame."""

NO_STREAM: Final = (
    'is the stream enabled there, its format "{format}", and no other program connected to it?'
)

Item = daq.Batch | daq.Missing


class Dectris(daq.Source):
    """Frames of the series that a DECTRIS camera records; it is only listened to, or armed from here.

    One record is one image: the field ``frame`` [y, x], unsigned, counts, and its time: that of the
    camera (beginning of the exposure), or of arrival. Index is the image's number in its series,
    plus all of the series before: images whose numbers do not come are `daq.Missing`, and so
    are those that cannot be decoded. Numbers that came before are dropped and counted.

    Several channels (``channels = "all"``, or a list) are a stream each, named as the channel,
    since each has a flat field of its own. Bad pixels and flat field of the start message
    are the stream's ``mask`` and ``gain``; ``gain`` only where the camera has not applied it.

    Series follow on each other in one stream, as long as shape, type and corrections are the same;
    each begins with a whole scan. ZeroMQ gives each image to one client only: where another
    program is connected, it takes every second one.

    See ``docs/explanation/dectris.md``. Tried with simulators and with messages that a
    camera recorded, on no camera.
    """

    name = "dectris"

    class Config(daq.Config):
        """What ``[sources.NAME]`` with ``type = "dectris"`` may say."""

        host: str = daq.setting("localhost", "", "of the detector control unit", min_length=1)
        format: Literal["cbor", "legacy"] = daq.setting(
            "cbor", "", "of the stream: cbor is version 2, legacy version 1"
        )
        port: int | None = daq.setting(
            None, "", "of the stream; by default 31001 (cbor) or 9999 (legacy)", ge=1, le=65535
        )
        control: Literal["listen", "arm"] = daq.setting(
            "listen", "", "listen: others arm the camera; arm: it is set up, armed and aborted here"
        )
        channels: Literal["first", "all"] | tuple[str, ...] = daq.setting(
            "first", "", 'first, "all", or names such as ["threshold_1"]'
        )
        series: pydantic.PositiveInt | None = daq.setting(
            None, "", "how many to take; by default one if armed here, else all until it is stopped"
        )
        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "positions, [y, x], fast axis last; by default `scan` in the user_data"
        )
        step: float | None = daq.setting(None, "nm", "distance of two positions", gt=0)
        centre: tuple[float, float] | None = daq.setting(None, "px", "[y, x] of the direct beam")
        pixel_size: float | None = daq.setting(None, "1/nm", "size of a pixel; Q is 1/d", gt=0)
        counts_per_electron: float | None = daq.setting(
            None, "counts", "what one electron adds", gt=0
        )
        flatfield: Literal["auto", "apply", "ignore"] = daq.setting(
            "auto", "", "auto: multiply by it unless the camera says that it has"
        )
        clock: Literal["camera", "arrival"] = daq.setting(
            "camera", "", "time of a record: what the camera says, or when it arrived"
        )
        reconnect: float = daq.setting(
            600.0, "s", "how long a camera that is away is waited for; 0: not at all", ge=0
        )
        silence: float | None = daq.setting(
            None, "s", "longest pause within a series; by default there is none", gt=0
        )
        different: Literal["end", "skip"] = daq.setting(
            "end", "", "what to do with a series of another shape: end, or wait for the next"
        )
        # for control = "arm"
        control_port: int = daq.setting(80, "", "of the control unit", ge=1, le=65535)
        trigger_mode: Literal["ints", "inte", "exts", "exte"] = daq.setting(
            "exte", "", "as SIMPLON calls it: internal or external, series or each image"
        )
        images: pydantic.PositiveInt | None = daq.setting(
            None, "", "of a series; by default one for each position of the scan"
        )
        count_time: float | None = daq.setting(None, "s", "exposure of an image", gt=0)
        frame_time: float | None = daq.setting(None, "s", "from image to image", gt=0)
        settings: dict[str, Any] = daq.setting(
            {}, "", 'of the detector besides, set first: { roi_mode = "merge2x2" }'
        )
        # how it is received
        batch: int = daq.setting(64, "", "frames that travel together, at most", ge=1, le=4096)
        threads: pydantic.PositiveInt | None = daq.setting(
            None, "", "that decode; by default one for each core, at most 8"
        )
        queue: int = daq.setting(1000, "", "messages that may wait to be decoded", ge=1)

        @pydantic.model_validator(mode="after")
        def _possible(self) -> Dectris.Config:
            if self.control == "arm" and self.images is None and self.scan is None:
                raise ValueError('control = "arm" needs images, or scan')
            if isinstance(self.channels, tuple) and not self.channels:
                raise ValueError('channels: at least one, or "first"')
            return self

    def __init__(self) -> None:
        super().__init__()
        self._connection: Connection | None = None
        self._camera: Simplon | None = None
        self._unpacker: Unpacker | None = None
        self._triggers: threading.Thread | None = None
        self._trouble: list[str] = []
        self._tally = Tally(log)
        self._running = False
        """Images of the present series may come."""
        self._triggered = False
        self._active = False
        """The camera was armed from here, and the series has not ended."""

    # -- the interface of a source --------------------------------------------------------------

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Wait for the start of a series, or arm the camera, and describe what comes.

        Returns nothing where the run is ended before. Raises ValueError where there is no camera, it
        refuses something, or a channel is not there.
        """
        try:
            return self._opened(config)
        except BaseException:
            self.close()
            raise

    def _opened(self, config: Any) -> Sequence[daq.Stream]:
        self._config = config
        self._decoder: Any = _decoder(config.format)
        self._unpacker = Unpacker(config.threads or min(8, os.cpu_count() or 1))
        self._memory = Memory(self.context.memory)
        self._wanted = config.series or (1 if config.control == "arm" else None)
        if config.control == "arm":
            self._camera = Simplon(config.host, config.control_port)
        port = config.port or PORTS[config.format]
        self._connection = Connection(config.host, port, config.queue)
        warm_up()
        self._start_messages: list[list[bytes]] = []
        self._clock: list[int | None] = []
        kept = self._memory.load()
        if kept is not None:
            start = self._begun_before(kept)
        else:
            self._set_up()
            start = self._armed() if self._camera is not None else self._first_start()
        if start is None:
            return []
        self._first = start
        self._channels = self._chosen(start)
        self._decoder.channels = self._channels
        scan = config.scan or _scan_of(start.user_data)
        if kept is None:
            self._numbering = Numbering(start.series, start.images, scan)
            self._running = True
            self._keep()
        self._streams = [self._stream(start, channel, scan) for channel in self._channels]
        self._expects = self._streams[0].expect is not None
        return self._streams

    def batches(self, start: Mapping[str, int]) -> Iterator[Item]:
        """Yield frames as they come, until all series are there or the source is to stop."""
        self._upto = min(start.get(stream.name, 0) for stream in self._streams)
        self._pending: list[tuple[int, int, Image]] = []
        self._since = 0.0
        self._offset: int | None = None
        self._quiet = 0.0
        self._asked = time.monotonic()
        frame = self._first.dtype.itemsize * self._first.shape[0] * self._first.shape[1]
        self._at_once = max(1, min(self._config.batch, BATCH_BYTES // frame))
        if self._wanted is not None and self._numbering.done >= self._wanted:
            return  # in an earlier life
        try:
            if self._running:
                self._trigger()
            yield from self._listen()
        except _GiveUpError as error:
            yield from self._flush()
            log.error("%s", error)
            raise daq.Aborted(str(error)) from None
        except SimplonError as error:
            yield from self._flush()
            raise ValueError(str(error)) from None

    def close(self) -> None:
        """Abort what was armed here, disconnect, and say how often something went wrong."""
        self._running = False
        if self._camera is not None and self._active:
            self._active = False
            self._abort(self._camera)
        if self._triggers is not None:
            self._triggers.join(2.0)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._unpacker is not None:
            self._unpacker.close()
        self._tally.report()

    # -- before the first series ----------------------------------------------------------------

    def _set_up(self) -> None:
        """Set the camera up as configured."""
        if (camera := self._camera) is None:
            return
        config = self._config
        where = f"{config.host}:{config.control_port}"
        try:
            state = camera.state()
            if state == "na":
                raise ValueError(f"the detector at {where} is not initialized: do that first")
            if state not in ("idle", "error"):
                log.warning("the detector is in state %r: aborted", state)
                camera.command("abort")
            for name, value in self._settings().items():
                camera.set("detector", name, value)
            for name, value in (
                ("mode", "enabled"), ("format", config.format), ("header_detail", "all"),
            ):  # fmt: skip
                camera.set("stream", name, value)
        except OSError as error:
            raise ValueError(
                f"no detector control unit at {where}: {error}; is it on, and are host and "
                "control_port right?"
            ) from None

    def _settings(self) -> dict[str, Any]:
        """Return the settings of the detector in the order in which they are made."""
        config = self._config
        images = config.images or config.scan[0] * config.scan[1]
        each = config.trigger_mode in ("inte", "exte")
        found = {**config.settings, "trigger_mode": config.trigger_mode}
        found |= {"nimages": 1 if each else images, "ntrigger": images if each else 1}
        # the exposure first: the other way round it may not fit
        for name in ("count_time", "frame_time"):
            if (value := getattr(config, name)) is not None:
                found[name] = value
        return found

    def _armed(self) -> Start | None:
        """Arm the camera and return its start message; None where the source is to stop."""
        assert self._camera is not None
        try:
            series = self._camera.command("arm", timeout=120.0)
        except OSError as error:
            raise ValueError(f"the detector cannot be armed: {error}") from None
        self._active = True
        until = time.monotonic() + ARMED
        while not self.context.stopping:
            message = self._message(IDLE)
            if isinstance(message, Start) and series in (None, message.series):
                return message
            if message is not None:
                self._tally.add("messages of earlier series dropped", str(message)[:60])
            if time.monotonic() > until:
                raise ValueError(self._nothing_begins())
        return None

    def _nothing_begins(self) -> str:
        asked = NO_STREAM.format(format=self._config.format)
        return f"the detector is armed, but no series begins at {self._where}; {asked}"

    def _begun_before(self, kept: Kept) -> Start | None:
        """Take up a series that began in an earlier life; return the first start message."""
        start = None
        for parts in kept.messages:
            message = self._decoder.message(parts)
            start = message if isinstance(message, Start) else start
        self._decoder.resume(kept.clock)
        self._clock = kept.clock
        self._numbering = kept.numbering
        self._running = not kept.ended
        if (camera := self._camera) is not None:
            try:
                state = camera.state()
                if kept.ended and state == "idle" and kept.numbering.done < (self._wanted or 0):
                    camera.command("arm", timeout=120.0)
            except OSError as error:
                raise ValueError(f"no detector control unit: {error}") from None
            self._active = True
            self._triggered = state != "ready"
        return start

    def _first_start(self) -> Start | None:
        """Wait for a series to begin; None where the source is to stop."""
        assert self._connection is not None
        log.info("waiting for a series to begin at %s", self._where)
        said = False
        while not self.context.stopping:
            message = self._message(IDLE)
            if isinstance(message, Start):
                return message
            if isinstance(message, Image) and not said:
                said = True
                log.warning(
                    "series %d is under way and its beginning was not heard: it is left out, the "
                    "next one is taken", message.series,
                )  # fmt: skip
            if message is None and self._tally.counts.get(DAMAGED, 0) >= 10:
                raise ValueError(f"{self._where}: {self._tally.examples[DAMAGED]}")
            self._check_away()
        return None

    def _chosen(self, start: Start) -> tuple[str, ...]:
        config = self._config
        if config.channels == "first":
            return start.channels[:1]
        if config.channels == "all":
            return start.channels
        for channel in config.channels:
            if channel not in start.channels:
                raise ValueError(
                    f"no channel {channel!r}; the camera has {', '.join(start.channels)}"
                )
        return tuple(config.channels)

    def _stream(self, start: Start, channel: str, scan: tuple[int, int] | None) -> daq.Stream:
        config = self._config
        attributes = {
            "instrument": f"DECTRIS {start.attributes.get('detector_description', 'camera')}",
            "channel": channel,
            **start.attributes,
        }
        if (count_time := start.attributes.get("count_time")) is not None:
            attributes["dwell_time"] = count_time
        for name in ("centre", "pixel_size", "counts_per_electron"):
            if (value := getattr(config, name)) is not None:
                attributes[name] = list(value) if isinstance(value, tuple) else value
        centre = config.centre or [(length - 1) / 2 for length in start.shape]
        axes = [{"name": name, "units": "px", "offset": 0, "step": 1} for name in "yx"]
        if (size := config.pixel_size) is not None:
            axes = [
                {"name": f"q_{name}", "units": "1/nm", "offset": -middle * size, "step": size}
                for name, middle in zip("yx", centre, strict=True)
            ]
        grid: dict[str, Any] | None = None
        if scan is not None:
            grid = {"shape": list(scan)} | ({"step": config.step} if config.step else {})
        expect = None
        if self._wanted is not None:
            whole = -(-start.images // self._numbering.unit) * self._numbering.unit
            expect = (self._wanted - 1) * whole + start.images
        return daq.Stream(
            "" if len(self._channels) == 1 else re.sub(r"[^A-Za-z0-9_-]", "_", channel),
            {"frame": daq.Field(start.dtype.str, start.shape, "counts", "pattern")},
            {"frame": axes}, grid, attributes, expect, self._constants(start, channel),
        )  # fmt: skip

    def _constants(self, start: Start, channel: str) -> dict[str, npt.NDArray[Any]]:
        """Return mask and gain of a channel, and as they were sent: ``pixel_mask``, ``flatfield``."""
        found: dict[str, npt.NDArray[Any]] = {}
        bad = np.zeros(start.shape, bool)
        bits, flat = start.mask.get(channel), start.gain.get(channel)
        for name, array in (("pixel_mask", bits), ("flatfield", flat)):
            if array is not None and array.shape != start.shape:
                raise ValueError(
                    f"the {name} is {array.shape[0]} x {array.shape[1]}, the images are "
                    f"{start.shape[0]} x {start.shape[1]}"
                )
        if bits is None:
            log.warning(
                "the start message has no pixel mask (set header_detail to all in the camera): pixels "
                "that count nothing, or %d, are taken as they come", np.iinfo(start.dtype).max,
            )  # fmt: skip
        else:
            found["pixel_mask"] = bits
            bad |= bits != 0
        if flat is not None:
            found["flatfield"] = flat
            if self._applies(start):
                useless = ~np.isfinite(flat) | (flat <= 0)
                bad |= useless
                found["gain"] = np.where(useless, np.float32(1), flat).astype(np.float32)
        if bad.any():
            found["mask"] = bad
        return found

    def _applies(self, start: Start) -> bool:
        """Tell whether frames are multiplied by the flat field here."""
        how = self._config.flatfield
        return bool(how == "apply" or (how == "auto" and not start.flat))

    # -- listening ------------------------------------------------------------------------------

    def _listen(self) -> Iterator[Item]:
        while not self.context.stopping:
            began = time.monotonic()
            wait = self._since + HOLD - began if self._pending else IDLE
            message = self._message(max(0.0, wait))
            if message is None:
                # what passed while others were slow is no silence of the camera's
                self._quiet += time.monotonic() - began
                yield from self._flush()
                if self._is_over():
                    return
                continue
            self._quiet = 0.0
            if isinstance(message, Image):
                yield from self._image(message)
            elif isinstance(message, Start):
                if (yield from self._next_series(message)):
                    return
            elif self._running and message.series == self._numbering.series:
                yield from self._flush()
                if self._ended():
                    return
        yield from self._flush()

    def _message(self, wait: float) -> Message | None:
        """Return the next message, None where none comes; one that is damaged is counted."""
        assert self._connection is not None
        parts = self._connection.receive(wait)
        if parts is None:
            return None
        try:
            message: Message | None = self._decoder.message(parts)
        except DamagedError as error:
            self._tally.add(DAMAGED, str(error))
            return None
        if isinstance(message, Start) or message is None:
            self._start_messages = [*self._start_messages[-1:], parts]
        return message

    def _image(self, image: Image) -> Iterator[Item]:
        numbering = self._numbering
        if not self._running or image.series != numbering.series:
            self._tally.add("images of other series dropped", f"of series {image.series}")
            return
        index = numbering.index(image.number)
        if index is None:
            self._tally.add(
                "images beyond the announced number dropped",
                f"image {image.number} of a series of {numbering.images}",
            )
            return
        if index < self._upto:
            self._tally.add("images dropped that had come before", f"image {image.number}")
            return
        if index > self._upto:
            yield from self._flush()
            self._tally.add(
                "gaps", f"image {image.number} came after {image.number - index + self._upto - 1}; a "
                "second program at the same port would take every other image",
            )  # fmt: skip
            yield from self._missing(index, "images that did not arrive")
        now = time.monotonic()
        if not self._pending:
            self._since = now
        self._pending.append((index, self._time(image), image))
        if self._clock != self._decoder.clock():
            self._keep()
        self._upto = index + 1
        if len(self._pending) >= self._at_once or now - self._since > HOLD:
            yield from self._flush()

    def _time(self, image: Image) -> int:
        if image.time is None:
            return time.time_ns()
        if self._config.clock == "camera":
            return image.time
        if self._offset is None:
            self._offset = time.time_ns() - image.time
        return image.time + self._offset

    def _flush(self) -> Iterator[Item]:
        """Decode and yield the frames that wait."""
        pending, self._pending = self._pending, []
        if not pending or self._unpacker is None:
            return
        first, count = pending[0][0], len(pending)
        for stream, channel in zip(self._streams, self._channels, strict=True):
            arrays = self.context.empty(stream, count)
            frames = [image.data.get(channel, _NOTHING) for _, _, image in pending]
            good = self._unpacker.frames(frames, arrays["frame"])
            arrays["time"][:] = [stamp for _, stamp, _ in pending]
            if good.all():
                yield daq.Batch(stream.name, arrays, first)
                continue
            borders = [0, *(np.flatnonzero(np.diff(good)) + 1).tolist(), count]
            for begin, end in itertools.pairwise(borders):
                if good[begin]:
                    part = {name: array[begin:end] for name, array in arrays.items()}
                    yield daq.Batch(stream.name, part, first + begin)
                    continue
                packed = frames[begin]
                self._tally.add(
                    "images that cannot be decoded",
                    f"image {pending[begin][2].number}, {channel}: {packed.shape} {packed.dtype.str}, "
                    f"{packed.method}",
                    end - begin,
                )
                yield daq.Missing(stream.name, end - begin, "cannot be decoded", first + begin)

    def _missing(self, index: int, reason: str) -> Iterator[daq.Missing]:
        """Declare what lies before ``index``."""
        count = index - self._upto
        if count > 0:
            for stream in self._streams:
                yield daq.Missing(stream.name, count, reason, self._upto)
            self._upto = index

    # -- series ---------------------------------------------------------------------------------

    def _next_series(self, start: Start) -> Generator[Item, None, bool]:
        """Go on with another series; return whether enough came before it."""
        yield from self._flush()
        if self._running and self._ended("another one began"):
            return True
        if difference := self._differs(start):
            text = f"series {start.series} has {difference}"
            if self._config.different == "end":
                raise _GiveUpError(f"{text}: start another run for it")
            log.warning("%s: it is left out", text)
            return False
        numbering = self._numbering
        yield from self._missing(numbering.following(self._upto), "not in the series")
        numbering.next(start.series, start.images, self._upto)
        self._offset = None
        self._running, self._triggered = True, False
        self._keep()
        self._trigger()
        log.info("series %d: %d images", start.series, start.images)
        return False

    def _differs(self, start: Start) -> str:
        """Return in what a series differs from the first so that one stream cannot hold both."""
        first = self._first
        if (start.shape, start.dtype) != (first.shape, first.dtype):
            (y, x), (height, width) = start.shape, first.shape
            return f"{y} x {x} pixels {start.dtype.name}, not {height} x {width} {first.dtype.name}"
        if not set(self._channels) <= set(start.channels):
            return f"the channels {', '.join(start.channels)}"
        if self._expects and start.images != first.images:
            return f"{start.images} images, not {first.images}"
        for name in ("mask", "gain"):
            if name == "gain" and not (self._applies(first) or self._applies(start)):
                continue
            if name == "gain" and self._applies(first) != self._applies(start):
                return "a flat field that the camera applies in one and not in the other"
            for channel in self._channels:
                one, other = getattr(first, name).get(channel), getattr(start, name).get(channel)
                same = one is other or (
                    one is not None and other is not None and np.array_equal(one, other)
                )
                if not same:
                    return f"another {'pixel mask' if name == 'mask' else 'flat field'}"
        return ""

    def _ended(self, how: str = "") -> bool:
        """Note that the series has ended; tell whether it was the last one."""
        numbering = self._numbering
        self._running = False
        lost = numbering.end - self._upto
        if lost > 0:
            log.warning(
                "series %d ended%s: the last %d of its %d images did not come", numbering.series,
                f" ({how})" if how else "", lost, numbering.images,
            )  # fmt: skip
        numbering.done += 1
        self._active = False
        self._keep()
        if self._wanted is not None and numbering.done >= self._wanted:
            return True
        if self._camera is not None:
            try:
                self._camera.command("arm", timeout=120.0)
            except OSError as error:
                raise _GiveUpError(f"the detector cannot be armed again: {error}") from None
            self._active, self._quiet = True, 0.0
        return False

    def _keep(self) -> None:
        """Keep what a next life must know."""
        self._clock = self._decoder.clock()
        self._memory.save(
            self._start_messages, self._numbering, self._clock, ended=not self._running
        )

    # -- when nothing comes ---------------------------------------------------------------------

    def _is_over(self) -> bool:
        """Nothing came for a while: tell whether that is the end; raise where it must not be."""
        self._check_away()
        if self._trouble:
            raise _GiveUpError(f"the detector does not trigger: {self._trouble[0]}")
        quiet, numbering = self._quiet, self._numbering
        away = self._connection is not None and self._connection.away_since is not None
        if not self._running:
            if self._active and quiet > ARMED:
                raise _GiveUpError(self._nothing_begins())
            return False
        if quiet > QUIET and self._upto >= numbering.end:
            log.info("series %d is whole; its end message did not come", numbering.series)
            return self._ended()
        if quiet > QUIET and not away and self._camera and self._is_idle(self._camera):
            return self._ended("the detector is idle, and no end message came")
        silence = self._config.silence
        if silence is not None and quiet > silence and not away:
            raise _GiveUpError(
                f"series {numbering.series}: nothing came for {silence:g} s after "
                f"{self._upto - numbering.base} of {numbering.images} images"
            )
        return False

    def _is_idle(self, camera: Simplon) -> bool:
        now = time.monotonic()
        if now - self._asked < QUIET:
            return False
        self._asked = now
        try:
            return camera.state() in ("idle", "error", "na")
        except (OSError, SimplonError) as error:
            self._tally.add("times the detector did not say what it does", str(error))
            return False

    def _check_away(self) -> None:
        connection = self._connection
        if connection is None or connection.away_since is None:
            return
        if time.monotonic() - connection.away_since > max(GRACE, self._config.reconnect):
            raise _GiveUpError(
                f"no camera at {self._where} for {self._config.reconnect:g} s; "
                + NO_STREAM.format(format=self._config.format)
            )

    # -- triggers -------------------------------------------------------------------------------

    def _trigger(self) -> None:
        """Send the triggers that the mode wants, in a thread: each waits for its images."""
        mode, numbering, camera = self._config.trigger_mode, self._numbering, self._camera
        if camera is None or self._triggered or mode in ("exts", "exte"):
            return
        self._triggered = True
        count = numbering.end - max(self._upto, numbering.base) if mode == "inte" else 1

        def send() -> None:
            try:
                for _ in range(count):
                    if self.context.stopping or not self._running:
                        return
                    camera.command("trigger", timeout=86_400.0)
            except (OSError, SimplonError) as error:
                if self._running and not self.context.stopping:
                    self._trouble.append(str(error))

        self._triggers = threading.Thread(target=send, name="trigger", daemon=True)
        self._triggers.start()

    def _abort(self, camera: Simplon) -> None:
        """End the series that was armed here, and take what is under way of it: nobody else would."""
        try:
            camera.command("abort")
            until = time.monotonic() + QUIET
            while self._connection is not None and time.monotonic() < until:
                if isinstance(self._message(IDLE), End):
                    break
        except (OSError, SimplonError) as error:
            log.warning("the detector could not be told to abort: %s", error)

    @property
    def _where(self) -> str:
        return "" if self._connection is None else self._connection.where


DAMAGED: Final = "messages that cannot be read"

_NOTHING: Final = Packed(b"", "none", 1, np.dtype("u1"), (0, 0))
"""Stands for a channel that an image lacks; it cannot be decoded."""


class _GiveUpError(ValueError):
    """The source ends here; says why."""


def _decoder(name: str) -> Any:
    if name == "legacy":
        from daq_stem.dectris import v1 as dectris_v1

        return dectris_v1.Decoder()
    from daq_stem.dectris import v2 as dectris_v2

    try:
        return dectris_v2.Decoder()
    except ImportError:
        raise ValueError(
            "stream v2 needs the package cbor2: pip install 'glasswatch[dectris]'"
        ) from None


def _scan_of(user_data: Any) -> tuple[int, int] | None:
    """Return the shape of the scan that the user data tell: ``{"scan": [y, x]}``."""
    shape = user_data.get("scan") if isinstance(user_data, Mapping) else None
    if (
        isinstance(shape, list) and len(shape) == 2
        and all(isinstance(length, int) and length > 0 for length in shape)
    ):  # fmt: skip
        return shape[0], shape[1]
    return None
