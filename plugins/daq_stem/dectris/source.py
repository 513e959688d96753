"""The source type ``dectris``: frames of a DECTRIS camera, as it streams them."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_stem.dectris.arming import Arming
from daq_stem.dectris.compression import Unpacker, warm_up
from daq_stem.dectris.connection import Connection
from daq_stem.dectris.description import chosen, described, difference, scan_of, stream_name
from daq_stem.dectris.messages import DamagedError, End, Image, Message, Packed, Start
from daq_stem.dectris.rest import SimplonError
from daq_stem.dectris.series import Kept, Memory, Numbering, Tally
from daq_stem.dectris.settings import PORTS, Settings

log = logging.getLogger("dectris")

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

    Config = Settings

    def __init__(self) -> None:
        super().__init__()
        self._connection: Connection | None = None
        self._arming: Arming | None = None
        self._unpacker: Unpacker | None = None
        self._tally = Tally(log)
        self._running = False
        """Images of the present series may come."""

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
            self._arming = Arming(config, self.context, self._tally)
        port = config.port or PORTS[config.format]
        self._connection = Connection(config.host, port, config.queue)
        warm_up()
        self._start_messages: list[list[bytes]] = []
        self._clock: list[int | None] = []
        kept = self._memory.load()
        if kept is not None:
            start = self._begun_before(kept)
        else:
            start = self._first_start() if self._arming is None else self._armed(self._arming)
        if start is None:
            return []
        self._first = start
        self._channels = chosen(start, config)
        self._decoder.channels = self._channels
        scan = config.scan or scan_of(start.user_data)
        if kept is None:
            self._numbering = Numbering(start.series, start.images, scan)
            self._running = True
            self._keep()
        alone, expect = len(self._channels) == 1, self._expected(start)
        self._streams = [
            described(start, channel, config, "" if alone else stream_name(channel), scan, expect)
            for channel in self._channels
        ]
        self._expects = self._streams[0].expect is not None
        return self._streams

    def batches(self, start: Mapping[str, int]) -> Iterator[Item]:
        """Yield frames as they come, until all series are there or the source is to stop."""
        self._upto = min(start.get(stream.name, 0) for stream in self._streams)
        self._pending: list[tuple[int, int, Image]] = []
        self._since = 0.0
        self._offset: int | None = None
        self._quiet = 0.0
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
        if self._arming is not None:
            if self._arming.abort():
                self._hear_the_end()
            self._arming.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._unpacker is not None:
            self._unpacker.close()
        self._tally.report()

    # -- before the first series ----------------------------------------------------------------

    def _armed(self, arming: Arming) -> Start | None:
        """Set up and arm the camera; return its start message, None where the source is to stop."""
        arming.set_up()
        try:
            series = arming.arm()
        except OSError as error:
            raise ValueError(f"the detector cannot be armed: {error}") from None
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
        if self._arming is not None:
            self._arming.resume(again=kept.ended and kept.numbering.done < (self._wanted or 0))
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

    def _expected(self, start: Start) -> int | None:
        """Return the number of records of a stream, None where it is open."""
        if self._wanted is None:
            return None
        whole = -(-start.images // self._numbering.unit) * self._numbering.unit
        return (self._wanted - 1) * whole + start.images

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
        if differs := difference(self._first, start, self._channels, self._config, self._expects):
            text = f"series {start.series} has {differs}"
            if self._config.different == "end":
                raise _GiveUpError(f"{text}: start another run for it")
            log.warning("%s: it is left out", text)
            return False
        numbering = self._numbering
        yield from self._missing(numbering.following(self._upto), "not in the series")
        numbering.next(start.series, start.images, self._upto)
        self._offset = None
        self._running = True
        if self._arming is not None:
            self._arming.triggered = False
        self._keep()
        self._trigger()
        log.info("series %d: %d images", start.series, start.images)
        return False

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
        if self._arming is not None:
            self._arming.ended()
        self._keep()
        if self._wanted is not None and numbering.done >= self._wanted:
            return True
        if self._arming is not None:
            try:
                self._arming.arm()
            except OSError as error:
                raise _GiveUpError(f"the detector cannot be armed again: {error}") from None
            self._quiet = 0.0
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
        quiet, numbering, arming = self._quiet, self._numbering, self._arming
        if arming is not None and arming.trouble:
            raise _GiveUpError(f"the detector does not trigger: {arming.trouble}")
        away = self._connection is not None and self._connection.away_since is not None
        if not self._running:
            if arming is not None and arming.active and quiet > ARMED:
                raise _GiveUpError(self._nothing_begins())
            return False
        if quiet > QUIET and self._upto >= numbering.end:
            log.info("series %d is whole; its end message did not come", numbering.series)
            return self._ended()
        if quiet > QUIET and not away and arming is not None and arming.is_idle():
            return self._ended("the detector is idle, and no end message came")
        silence = self._config.silence
        if silence is not None and quiet > silence and not away:
            raise _GiveUpError(
                f"series {numbering.series}: nothing came for {silence:g} s after "
                f"{self._upto - numbering.base} of {numbering.images} images"
            )
        return False

    def _check_away(self) -> None:
        connection = self._connection
        if connection is None or connection.away_since is None:
            return
        if time.monotonic() - connection.away_since > max(GRACE, self._config.reconnect):
            seconds = f"{self._config.reconnect:g} s"
            if self._running:
                numbering = self._numbering
                raise _GiveUpError(
                    f"no camera at {self._where} any more, for {seconds}: gone after "
                    f"{self._upto - numbering.base} of {numbering.images} images of series "
                    f"{numbering.series}"
                )
            raise _GiveUpError(
                f"no camera at {self._where} for {seconds}; "
                + NO_STREAM.format(format=self._config.format)
            )

    def _trigger(self) -> None:
        """Have the images of the present series triggered, as far as they did not come."""
        if self._arming is not None:
            self._arming.trigger(self._numbering.end - max(self._upto, self._numbering.base))

    def _hear_the_end(self) -> None:
        """Take what is under way of a series that was aborted: nobody else would."""
        until = time.monotonic() + QUIET
        while self._connection is not None and time.monotonic() < until:
            if isinstance(self._message(IDLE), End):
                break

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
