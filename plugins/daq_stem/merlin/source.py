"""The source type ``merlin``: frames of a Merlin camera as they are taken, over the network."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.merlin.acquisitions import BEYOND, Acquisitions
from daq_stem.merlin.commands import IDLE, RefusedError
from daq_stem.merlin.control import LOOK, Control, EndedEarlyError, in_words
from daq_stem.merlin.header import (
    LEAD,
    Clock,
    FrameHeader,
    frames_expected,
    parse_first,
    parse_hdr_text,
    scan_shape,
    sequence_and_fixed,
)
from daq_stem.merlin.pixels import unpack
from daq_stem.merlin.raw import check_installed
from daq_stem.merlin.sequence import NOT_ALIKE, NumberColumns, in_order
from daq_stem.merlin.settings import Settings, check_scan
from daq_stem.merlin.stream import MessageStream

log = logging.getLogger("merlin")

LATENCY: Final = 0.02
"""s; frames that have come are given on after so long, though the batch is not full."""

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 2.0
"""s, between two tries to reach a camera that is away; each time twice as long."""

ASK_AFTER: Final = 1.0
"""s without frames, after which an armed camera is asked whether it is idle."""


class Merlin(daq.Source):
    """Frames of a Merlin camera: one stream, field ``frame`` [y, x], unsigned, counts.

    Without ``arm`` it listens: whatever the microscope or the Merlin software starts is taken. With
    ``arm`` it sets what the configuration says, starts each acquisition, and triggers it where
    ``trigger = "soft"``. The stream opens with the first frame, since only its header says size and
    type; the acquisition header stands in the attribute ``hdr``.

    The top row comes first (the camera sends the bottom row first), pixels in the byte order of this
    machine. RAW (R64) frames need the extra ``raw``. Time is that of the header, see
    `daq_stem.merlin.header.Clock`.

    Row equals number: frame n of acquisition k, of N frames each, has the index ``k N + n - 1``. A number
    that does not come is `daq.Missing`; one that came before is dropped. An acquisition that is cut
    off is missing from there on when the next one begins. Where the acquisition is open (N = 0), the
    next one begins after the last frame, at a whole scan.

    The scan is that of the configuration, or ScanX and ScanY of the acquisition header, or a line
    for each trigger.

    Frames of an acquisition that began before the source are left out. A camera that is away in
    mid-run is waited for (``reconnect``). Where the acquisition ends early, the stream ends as
    ``aborted`` with what came. A source that was restarted goes on where the camera is. Tried with
    simulated cameras only.
    """

    name = "merlin"

    Config = Settings

    def __init__(self) -> None:
        super().__init__()
        self._stream: MessageStream | None = None
        self._control = Control(Settings(), self.context)
        self._clock: Clock | None = None
        self._counts: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._acquisitions = Acquisitions(None)
        self._triggered: int | None = None
        self._coming: bytes | None = None
        self._held: npt.NDArray[np.uint8] | None = None
        self._started = -1
        self._idle = 0
        self._left_out = self._over = self._stalled = False

    # -- the interface of a source --------------------------------------------------------------

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Connect, start the camera if it is ours, and wait for the first frame.

        Returns nothing where the run is ended before. Raises ValueError in one line where there is
        no camera, or where it refuses what the configuration says.
        """
        self._config, self._control = config, Control(config, self.context)
        if not self._recall():
            try:
                self._connect()
                if config.arm:
                    self._control.set_up()
                    self._start()
                first = self._first_frame()
            except EndedEarlyError as error:
                raise ValueError(f"Merlin at {self._config.where}: {error}") from None
            except OSError as error:
                raise ValueError(
                    f"no Merlin at {self._config.where}: {in_words(error)}; is its software running, are host and "
                    "port right, and is no other program connected?"
                ) from None
            if first is None:
                return []
            self._describe(first)
            self._held = first[None]
        if self._header.raw:
            check_installed()
        return [self._described]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield frames as they come, until the acquisitions are over or the source is to stop."""
        self._acquisitions.following = start.get("", 0)
        self._heard = self._asked = time.monotonic()
        self._away()
        if self._stream is not None:
            self._stream.expect(self._header.frame_bytes, self._config.batch)
        try:
            if self._held is not None:
                held, self._held = self._held, None
                yield from self._frames(held)
            while not (self._over or self.context.stopping):
                if self._stream is None:
                    self._return()
                else:
                    yield from self._some(self._stream)
        except (EndedEarlyError, RefusedError) as error:
            log.error("%s", error)
            raise daq.Aborted(str(error)) from None

    def close(self) -> None:
        """Stop the acquisition that this source has started, disconnect, and say what went wrong."""
        if self._started >= 0 and not self._over and self._stream is not None and self._config.arm:
            self._control.stop()
        self._control.hang_up()
        self._disconnect()
        if self._clock is not None and self._clock.unreadable:
            self._counts["frames without a readable time stamp"] = self._clock.unreadable
        for kind, count in self._counts.items():
            if count > self._told.get(kind, 0):
                log.warning("in all: %d %s", count, kind)
        self._counts.clear()

    # -- the description ------------------------------------------------------------------------

    def _first_frame(self) -> npt.NDArray[np.uint8] | None:
        """Wait for an acquisition to begin; return its first frame [byte], None where it is to stop."""
        assert self._stream is not None
        while not self.context.stopping:
            self._stream.fill(LOOK, LATENCY)
            while (message := self._stream.take()) is not None:
                if isinstance(message, bytes):
                    self._acquisition_header(message)
                elif self._coming is None:
                    self._count(
                        len(message), "frames of an acquisition that had begun before: left out"
                    )
                else:
                    first: npt.NDArray[np.uint8] = message[0].copy()
                    return first
            self._tell_skipped()
            self._not_for_ever()
        return None

    def _describe(self, frame: npt.NDArray[np.uint8]) -> None:
        """Take what the acquisition header and the first frame say for the whole stream."""
        content = frame.tobytes()
        offset = int(content.split(b",", 3)[2])
        number, _, _ = sequence_and_fixed(content[:LEAD])
        self._use(self._coming or b"", content[:offset], len(content) - offset)
        self._acquisitions.next_acquisition(number)
        self._coming = None
        self._keep()

    def _use(self, hdr: bytes, first: bytes, stored: int) -> None:
        """Describe the stream by an acquisition header and a frame header."""
        self._hdr, self._first = hdr, first
        self._header: FrameHeader = parse_first(first, stored)
        self._columns = NumberColumns(first, self._header)
        self._clock = Clock(
            self._header.attributes["exposure_time"], time.time_ns(), self._config.timezone
        )
        keys = parse_hdr_text(hdr)
        frames, shape = frames_expected(keys), self._config.scan
        if shape is None:
            shape = scan_shape(keys)
        elif frames is not None:
            check_scan(shape, frames)
        positions = 1 if shape is None else shape[0] * shape[1]
        self._acquisitions = Acquisitions(frames, positions)
        scan: dict[str, Any] | None = None
        if shape is not None:
            step = self._config.step
            scan = {"shape": list(shape), **({} if step is None else {"step": step})}
        pixels = [{"name": name, "units": "px", "offset": 0, "step": 1} for name in ("y", "x")]
        dtype = self._header.dtype.newbyteorder("<").str
        self._described = daq.Stream(
            "", {"frame": daq.Field(dtype, self._header.shape, "counts", "pattern")},
            {"frame": pixels}, scan, {**self._header.attributes, "hdr": keys}, self._expected(),
        )  # fmt: skip

    def _expected(self) -> int | None:
        """Return the number of frames of the whole stream, None where it is open."""
        frames = self._acquisitions.frames
        return None if frames is None else frames * self._config.acquisitions or None

    # -- what comes -----------------------------------------------------------------------------

    def _some(self, stream: MessageStream) -> Iterator[daq.Batch | daq.Missing]:
        """Receive, and yield the frames that have come."""
        lost: OSError | None = None
        try:
            stream.fill(LOOK, LATENCY)
        except OSError as error:
            lost = error  # what came before it is whole
        nothing = True
        while not self._over and (message := stream.take()) is not None:
            nothing, self._heard, self._idle, self._stalled = False, time.monotonic(), 0, False
            if isinstance(message, bytes):
                self._acquisition_header(message)
            else:
                yield from self._frames(message)
            if lost is None:
                break  # more may have come meanwhile: larger batches cost less
        self._tell_skipped()
        if self._over:
            return
        if lost is not None:
            self._lose(lost)
        elif nothing:
            self._watch()

    def _acquisition_header(self, hdr: bytes) -> None:
        """Note that an acquisition begins; trigger it if that is ours to do."""
        if self._coming is None and self._is_last():
            acquisitions = self._acquisitions
            if acquisitions.frames is not None:
                raise EndedEarlyError(
                    f"the acquisition ended after {acquisitions.came} of {acquisitions.frames} frames, "
                    "and another one has begun"
                )
            self._over = True
            return
        self._coming, self._left_out = hdr, False
        if self._config.arm and self._config.trigger == "soft":
            self._control.trigger()
            self._triggered = self._config.together()

    def _frames(self, frames: npt.NDArray[np.uint8]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield frames [frame, byte] of the present acquisition, or of the one that begins."""
        acquisitions, header = self._acquisitions, self._header
        if frames.shape[1] == header.frame_bytes:
            numbers = self._columns.numbers(frames[:, : header.offset])
        else:
            numbers = np.full(len(frames), NOT_ALIKE)
        alike = numbers != NOT_ALIKE
        if not alike.all():
            self._other_frames(frames[~alike])
            frames, numbers = frames[alike], numbers[alike]
        if not len(frames):
            return
        if self._left_out:
            self._count(len(frames), "frames left out")
            return
        if self._coming is not None:
            self._begin(int(numbers[0]))
        indices = acquisitions.indices(numbers)
        if (beyond := indices == BEYOND).any():
            self._count(int(beyond.sum()), "frames with a number that is not of their acquisition")
            frames, indices = frames[~beyond], indices[~beyond]
        runs = list(in_order(indices, acquisitions.following))
        self._drop_repeats(frames, indices, runs)
        for first, positions in runs:
            yield from self._missing(first, "numbers that did not come")
            yield self._batch(first, frames, positions)
        if acquisitions.whole:
            self._next_one()
        elif self._triggered is not None and acquisitions.came >= self._triggered:
            self._triggered += self._config.together() or 0
            self._control.trigger()

    def _batch(
        self, first: int, frames: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]
    ) -> daq.Batch:
        """Return the frames at ``positions``, the first of which has the index ``first``."""
        if positions[-1] - positions[0] + 1 == len(positions):
            frames = frames[positions[0] : positions[-1] + 1]
        else:
            frames = frames[positions]
        assert self._clock is not None
        arrays = self.context.empty(self._described, len(frames))
        arrays["time"][:] = self._clock.stamps(frames[:, : self._header.offset])
        unpack(self._header, frames, arrays["frame"])
        self._acquisitions.following = first + len(frames)
        return daq.Batch("", arrays, first)

    def _missing(self, until: int, reason: str) -> Iterator[daq.Missing]:
        following = self._acquisitions.following
        if until > following:
            self._acquisitions.following = until
            yield daq.Missing("", until - following, reason, following)

    def _drop_repeats(
        self,
        frames: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.int64],
        runs: Sequence[tuple[int, npt.NDArray[np.int64]]],
    ) -> None:
        """Count the frames that are in no run; refuse those that come once for each of two counters."""
        taken = np.concatenate([run for _, run in runs]) if runs else np.empty(0, np.int64)
        repeats = np.setdiff1d(np.arange(len(frames)), taken)
        for position in repeats[repeats > 0].tolist():
            if indices[position] == indices[position - 1]:
                _, _, one = sequence_and_fixed(frames[position - 1, :LEAD].tobytes())
                _, _, other = sequence_and_fixed(frames[position, :LEAD].tobytes())
                if one != other:
                    raise EndedEarlyError(
                        "each number comes once for each of two counters, and two are not read: set "
                        "ENABLECOUNTER1 to 0"
                    )
        if len(repeats):
            self._count(
                len(repeats), "frames whose number, or a later one, had come before: dropped"
            )

    def _other_frames(self, frames: npt.NDArray[np.uint8]) -> None:
        """Leave out frames that are not as those of the stream, or end."""
        content, mine = frames[0].tobytes(), self._header
        try:
            _, fixed, _ = sequence_and_fixed(content[:LEAD])
            offset = int(fixed[0])
            other = parse_first(content[:offset], len(content) - offset)
        except (ValueError, IndexError):
            self._count(len(frames), "frames with a damaged header: left out")
            return
        said = (
            f"the camera now sends frames of {_size(other)}, and the stream is of {_size(mine)}: start "
            "another run for them, or set it back"
        )
        if self._config.if_changed == "end":
            raise EndedEarlyError(said)
        if not self._left_out:
            log.warning("%s; left out until then", said)
        self._left_out, self._coming = True, None

    # -- acquisitions ---------------------------------------------------------------------------

    def _begin(self, number: int) -> None:
        """Begin the acquisition whose header has come, with the number of its first frame."""
        assert self._coming is not None
        acquisitions, hdr = self._acquisitions, self._coming
        frames = frames_expected(parse_hdr_text(hdr))
        if frames != acquisitions.frames:
            raise EndedEarlyError(
                f"an acquisition of {frames or 'any number of'} frames begins, and the first one had "
                f"{acquisitions.frames or 'any number of'}: start another run for it"
            )
        if acquisitions.frames is not None and not acquisitions.whole:
            log.warning(
                "acquisition %d ended after %d of %d frames",
                acquisitions.ordinal + 1, acquisitions.came, acquisitions.frames,
            )  # fmt: skip
        self._coming = None
        acquisitions.next_acquisition(number)
        self._keep()

    def _is_last(self) -> bool:
        """Tell whether no acquisition is to come after the present one."""
        return bool(0 < self._config.acquisitions == self._acquisitions.ordinal + 1)

    def _next_one(self) -> None:
        """End, or start the next acquisition if that is ours to do; the present one is over."""
        if self._is_last():
            self._over = True
        elif self._config.arm and self._started <= self._acquisitions.ordinal:
            self._start()

    def _watch(self) -> None:
        """See whether an acquisition of which nothing comes is over."""
        now, config, acquisitions = time.monotonic(), self._config, self._acquisitions
        silent = now - self._heard
        if config.arm and self._started > acquisitions.ordinal and self._coming is None:
            if silent > config.timeout:
                raise EndedEarlyError(
                    f"acquisition {self._started + 1} started, and no acquisition header came within "
                    f"{config.timeout:g} s"
                )
            return
        if config.arm and silent > ASK_AFTER and now - self._asked > ASK_AFTER:
            self._asked = now
            # once more: it may become idle before all that it sent has come
            self._idle = self._idle + 1 if self._control.status() == IDLE else 0
            if self._idle > 1:
                self._cut_off("the camera is idle")
        elif config.stall is not None and silent > config.stall and not self._stalled:
            # what has not begun, or is whole, does not stall
            if self._coming is None and not acquisitions.whole:
                self._stalled = True
                self._cut_off(f"no frame for {config.stall:g} s")

    def _cut_off(self, why: str) -> None:
        """The present acquisition is over though frames of it are to come."""
        acquisitions = self._acquisitions
        self._heard, self._idle = time.monotonic(), 0
        if self._coming is not None:
            raise EndedEarlyError(
                f"acquisition {acquisitions.ordinal + 2} ended before its first frame: {why}"
            )
        if acquisitions.frames is not None and not acquisitions.whole:
            said = f"the acquisition ended after {acquisitions.came} of {acquisitions.frames} frames: {why}"
            if self._is_last():
                raise EndedEarlyError(said)
            log.warning("%s", said)
        if self._config.arm and not self._is_last():
            self._control.stop()
        self._next_one()

    def _start(self) -> None:
        """Start an acquisition."""
        self._started += 1
        self._control.start()
        self._heard = self._since = time.monotonic()

    def _not_for_ever(self) -> None:
        """Raise ValueError where an acquisition that we started does not begin."""
        config = self._config
        if not config.arm:
            return
        waited = time.monotonic() - self._since
        exposure = config.acquisition_period or config.acquisition_time or 0.0
        if self._coming is None and waited > config.timeout:
            what = "no acquisition header came"
        elif config.trigger in ("soft", "internal") and waited > config.timeout + exposure:
            what = "no frame came, though it was triggered"
        else:
            return  # a trigger from outside may be long in coming
        raise ValueError(
            f"Merlin at {self._config.where}: acquisition started, and {what} within {config.timeout:g} s; does "
            "another program hold the data socket?"
        )

    # -- the connection -------------------------------------------------------------------------

    def _connect(self) -> None:
        config = self._config
        self._stream = MessageStream(config.host, config.port, config.timeout)
        self._skipped = 0

    def _away(self) -> None:
        """Note that the camera is away from now on."""
        self._away_since, self._delay = time.monotonic(), FIRST_DELAY

    def _lose(self, error: OSError) -> None:
        self._disconnect()
        self._away()
        self._control.hang_up()
        if self._config.reconnect:
            log.warning(
                "%s is away (%s): waited for, %g s at most",
                self._config.where, in_words(error), self._config.reconnect,
            )  # fmt: skip
        else:
            self._gone(error)

    def _gone(self, error: OSError) -> None:
        acquisitions = self._acquisitions
        raise EndedEarlyError(
            f"the camera at {self._config.where} is gone ({in_words(error)}) after {acquisitions.came}"
            f"{'' if acquisitions.frames is None else f' of {acquisitions.frames}'} frames of acquisition "
            f"{acquisitions.ordinal + 1}"
        )

    def _return(self) -> None:
        """Connect again, or wait for the next try; raise `EndedEarlyError` when it takes too long."""
        try:
            self._connect()
        except OSError as error:
            if time.monotonic() - self._away_since >= self._config.reconnect:
                self._gone(error)
            self.context.wait(self._delay)
            self._delay = min(2 * self._delay, LONGEST_DELAY)
            return
        assert self._stream is not None
        self._stream.expect(self._header.frame_bytes, self._config.batch)
        self._heard, self._idle = time.monotonic(), 0
        log.warning("connected to %s", self._config.where)

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _tell_skipped(self) -> None:
        if self._stream is not None and (more := self._stream.skipped - self._skipped):
            self._skipped = self._stream.skipped
            self._count(more, f"bytes skipped that are no message ({self._stream.trouble})")

    def _count(self, count: int, kind: str) -> None:
        """Count what goes wrong; the first of a kind is logged."""
        if kind not in self._counts:
            self._told[kind] = count
            log.warning("%d %s", count, kind)
        self._counts[kind] = self._counts.get(kind, 0) + count

    # -- what a restart must know ---------------------------------------------------------------

    def _keep(self) -> None:
        """Keep what describes the stream, and where the acquisition stands in it."""
        if self.context.memory is None:
            return
        acquisitions = self._acquisitions
        kept = {
            "hdr": self._hdr.decode("latin-1"),
            "first": self._first.decode("latin-1"),
            "stored": self._header.frame_bytes - self._header.offset,
            "ordinal": acquisitions.ordinal,
            "begin": acquisitions.begin,
            "base": acquisitions.base,
        }
        self.context.memory.write_text(json.dumps(kept))

    def _recall(self) -> bool:
        """Take up what an earlier life has kept; False where there was none."""
        memory = self.context.memory
        if memory is None or not memory.exists():
            return False
        try:
            kept = json.loads(memory.read_text())
        except ValueError:
            return False
        self._use(kept["hdr"].encode("latin-1"), kept["first"].encode("latin-1"), kept["stored"])
        acquisitions = self._acquisitions
        acquisitions.ordinal = self._started = kept["ordinal"]
        acquisitions.begin, acquisitions.base = kept["begin"], kept["base"]
        return True


def _size(header: FrameHeader) -> str:
    """Return size and type in words."""
    kind, layout, select = (word.decode("ascii", "replace").strip() for word in header.fixed[4:7])
    return f"{header.shape[0]} x {header.shape[1]} ({kind}, {layout}, chips {select})"
