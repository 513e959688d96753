"""Scans of a Nanonis controller, line by line, through its programming interface."""

from __future__ import annotations

import json
import logging
import math
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_afm.channels import Channel, Found, find_channels
from daq_afm.nanonis_connection import BACKWARD, FORWARD, Connection
from daq_afm.nanonis_lines import LineFinder
from daq_afm.nanonis_protocol import BadReplyError, Buffer, ControllerError, Frame
from daq_afm.settings import CantileverSettings

log = logging.getLogger(__name__)

RETRY: Final = (0.2, 5.0)
"""Seconds between two attempts to connect: at first, and at most."""

MIRROR_LINES: Final = 16
"""Lines after which trace and retrace are compared."""


class Nanonis(daq.Source):
    """Lines of the scans that a Nanonis controller records; the scan is started there, not here.

    The scan buffer is looked at twice a line (``interval``), more often near the end of an image: every channel in both directions (Scan.FrameDataGrab),
    whether the scan runs (Scan.StatusGet), its frame and shape. Which lines are whole: see
    `daq_afm.nanonis_lines.LineFinder`. One that ends while nobody looks is given at the next look; what a
    scan overwrote before a look is lost.

    One record is one line: a field for each channel of the buffer (float32; nm, deg, Hz, others as they are) and its
    ``_retrace``; ``line`` (0 the lowest: the buffer has the top row first), ``scan`` (from 0, one more for each
    start), ``y`` (nm above the lowest line), ``place`` (number of the frame's centre and angle, in order of appearance).
    The time is when the line was seen whole; of several seen at once, those before the last are set back by
    the time of a line.

    Size and shape of the scan hold for the stream. Scans of another size or shape are left out, with a
    word in the log, until the first one is set again. A controller that goes away is looked for until it is back.
    The phase is kept as it is unless the configuration says its convention: what a Nanonis shows at resonance
    depends on the reference phase that the user set.

    Tried with the controller of `daq_simulators` only, on no hardware. That unscanned rows are NaN and that row 0 is
    the top in both directions is what users of a controller saw; whether a retrace is mirrored nobody tells, so trace and
    retrace are compared, and a doubt is logged (``backward_columns``).
    """

    name = "nanonis"

    class Config(CantileverSettings):
        """What ``[sources.NAME]`` with ``type = "nanonis"`` may say."""

        host: str = daq.setting("localhost", "", "of the Nanonis software")
        port: int = daq.setting(6501, "", "one of 6501 to 6504, free", ge=1, le=65535)
        retrace: bool = daq.setting(True, "", "take the backward lines too")
        backward_columns: Literal["position", "time"] = daq.setting(
            "position",
            "",
            'order of pixels in backward lines: as forward ones, or "time": mirrored',
        )
        interval: pydantic.PositiveFloat | None = daq.setting(
            None, "s", "between two looks; by default half the time of a line, 0.05 to 2 s"
        )
        existing: bool = daq.setting(
            False, "", "take the image that is in the buffer though no scan runs"
        )
        scans: int | None = daq.setting(None, "", "end after so many images", ge=1)
        timeout: float = daq.setting(5.0, "s", "for an answer", gt=0, le=60)
        mode: str | None = daq.setting(None, "", "tapping, contact_resonance: an attribute")

    def __init__(self) -> None:
        super().__init__()
        self._connection: Connection | None = None

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Connect, and describe the scan that is set now; ValueError where there is none."""
        self._config = config
        self._memory = _Memory(self.context.memory)
        where = f"{config.host}:{config.port}"
        try:
            self._connection = Connection(config.host, config.port, config.timeout)
            self._buffer = self._connection.buffer()
            self._frame = self._connection.frame()
            channels = self._channels()
        except OSError as error:
            raise ValueError(
                f"no Nanonis at {where}: {error}; is it running, its programming interface on (settings, "
                "TCP), and the port free?"
            ) from None
        except ValueError as error:
            raise ValueError(f"Nanonis at {where}: {error}") from None
        try:
            self._found = find_channels(channels, config.channels, config.units, config.only)
            self._convention = config.convention()
        except ValueError as error:
            raise ValueError(f"Nanonis at {where}: {error}") from None
        self._grids = [self._grid(entry, channels) for entry in self._found.values()]
        return [self._stream(channels)]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield lines as they are scanned, until the source is to stop or ``scans`` are there."""
        self._index = start.get("", 0)
        self._memory.forget_from(self._index)
        self._finder: LineFinder | None = None
        self._place: int | None = None
        self._last_time = 0
        self._fits = True
        self._doubt: list[float] = []
        self._told = ""
        wait, retry = self._interval(), RETRY[0]
        while not self.context.stopping:
            try:
                if self._connection is None:
                    self._connection = Connection(
                        self._config.host, self._config.port, self._config.timeout
                    )
                    log.warning("connected again")
                    wait, retry = self._interval(), RETRY[0]
                batch = self._look()
                self._told = ""
            except (OSError, BadReplyError) as error:
                self._disconnect()
                self._tell(f"the controller is away: {error}; looking for it")
                self.context.wait(retry)
                retry = min(2 * retry, RETRY[1])
                continue
            except ControllerError as error:
                self._tell(f"the controller says: {error}")
                batch = None
            if batch is not None:
                yield batch
            if self._enough():
                return
            self.context.wait(min(wait, self._patience()))

    def close(self) -> None:
        """Disconnect."""
        self._disconnect()

    # -- the description ------------------------------------------------------------------------

    def _channels(self) -> list[Channel]:
        """Return forward and backward channels, in the order of the buffer."""
        assert self._connection is not None
        buffer = self._buffer
        if not buffer.channels or buffer.rows < 1 or buffer.columns < 2:
            raise ValueError(
                f"the scan buffer has {len(buffer.channels)} channels of {buffer.rows} x "
                f"{buffer.columns}; set up the scan first"
            )
        channels = []
        for number in buffer.channels:
            # the reply holds the name, whether numbers are those of signals or of slots
            forward = Channel.labelled(self._connection.grab(number, FORWARD).name)
            channels.append(Channel(forward.name, forward.unit, "trace"))
            if self._config.retrace:
                channels.append(Channel(forward.name, forward.unit, "retrace"))
        return channels

    def _grid(self, entry: Found, channels: Sequence[Channel]) -> tuple[int, int]:
        """Return number and direction to grab for a field."""
        each = 2 if self._config.retrace else 1
        direction = BACKWARD if channels[entry.index].direction == "retrace" else FORWARD
        return self._buffer.channels[entry.index // each], direction

    def _stream(self, channels: Sequence[Channel]) -> daq.Stream:
        buffer, frame, config = self._buffer, self._frame, self._config
        self._dy = _nm(frame.height) / buffer.rows
        dx = _nm(frame.width) / buffer.columns
        fields = {
            entry.field: daq.Field("<f4", (buffer.columns,), entry.units, entry.long_name)
            for entry in self._found.values()
        }
        x = {"name": "x", "units": "nm", "offset": 0.0, "step": dx}
        axes = {field: [x] for field in fields}
        fields |= {
            "line": daq.Field("<i4", (), "", "row of the image, 0 the lowest"),
            "scan": daq.Field("<i4", (), "", "number of the image"),
            "y": daq.Field("<f8", (), "nm", "of the line above the lowest one"),
            "place": daq.Field("<i4", (), "", "number of the frame's centre and angle"),
        }
        attributes = {
            "instrument": "Nanonis",
            "channels": {entry.field: channels[entry.index].name for entry in self._found.values()},
            "scan_angle": frame.angle,
            **({"mode": config.mode} if config.mode else {}),
            **config.cantilever({}),
        }  # fmt: skip
        if any(name.split("_retrace")[0] == "phase" for name in self._found):
            attributes |= config.phase_attributes(self._convention)
        scan = {"shape": [buffer.rows, buffer.columns], "step": [self._dy, dx], "units": "nm"}
        return daq.Stream("", fields, axes, scan, attributes)

    # -- looking --------------------------------------------------------------------------------

    def _look(self) -> daq.Batch | None:
        """Grab everything; return the lines that are whole now, None where there is none."""
        connection = self._connection
        assert connection is not None
        running, buffer, frame = connection.running(), connection.buffer(), connection.frame()
        if not self._is_same(buffer, frame):
            return None
        now = time.time_ns()
        grabs = [connection.grab(*grid) for grid in self._grids]
        shape = (buffer.rows, buffer.columns)
        if any(grab.values.shape != shape for grab in grabs):
            return None  # nothing scanned yet, or the shape has just changed
        grids = np.stack([grab.values for grab in grabs])
        upwards = grabs[0].upwards
        if self._finder is None:
            self._finder = LineFinder()
            before = self._given_before(grids)
            seen = self._finder.begin(
                grids, running=running, existing=self._config.existing or bool(before),
                upwards=upwards,
            )  # fmt: skip
            rows = tuple(row for row in seen.rows if row not in before)
            for row in before:
                self._finder.take_as_given(row)
        else:
            seen = self._finder.look(grids, upwards=upwards)
            rows = seen.rows
        if seen.restarted:
            taken = self._memory.lines()
            if taken < buffer.rows:
                log.info("scan %d: %d of %d lines", self._memory.scan, taken, buffer.rows)
            self._memory.next_scan()
        if not rows:
            return None
        return self._lines(rows, grids, frame, now)

    def _lines(
        self, rows: Sequence[int], grids: npt.NDArray[np.float32], frame: Frame, now: int
    ) -> daq.Batch:
        index = np.array(rows)
        arrays: dict[str, npt.NDArray[Any]] = {}
        for entry, (_, direction), grid in zip(
            self._found.values(), self._grids, grids, strict=True
        ):
            values = grid[index].astype(np.float64) * entry.factor
            if direction == BACKWARD and self._config.backward_columns == "time":
                values = values[:, ::-1]
            if entry.field.split("_retrace")[0] == "phase" and self._convention is not None:
                if entry.units == "deg":
                    values = self._convention.to_lag(values)
            arrays[entry.field] = values.astype("<f4")
        lines = (self._buffer.rows - 1 - index).astype("<i4")
        count = len(lines)
        if self._place is None or not self._memory.lines():
            self._place = self._memory.place(frame)  # a frame set meanwhile is for the next scan
        arrays |= {
            "line": lines,
            "scan": np.full(count, self._memory.scan, "<i4"),
            "y": lines * self._dy,
            "place": np.full(count, self._place, "<i4"),
            "time": self._times(now, count),
        }
        checks = [zlib.crc32(grids[:, row].tobytes()) for row in rows]
        self._memory.given(self._index, lines.tolist(), checks)
        self._watch_mirror(arrays)
        batch = daq.Batch("", arrays, self._index)
        self._index += count
        return batch

    def _given_before(self, grids: npt.NDArray[np.float32]) -> set[int]:
        """Return the rows of the first look that an earlier life gave; none: another scan has begun."""
        kept, rows = self._memory.checks(), self._buffer.rows
        if not kept:
            return set()
        same = {
            rows - 1 - line
            for line, check in kept.items()
            if line < rows and zlib.crc32(grids[:, rows - 1 - line].tobytes()) == check
        }
        if not same:
            self._memory.next_scan()
        return same

    def _times(self, now: int, count: int) -> npt.NDArray[np.int64]:
        back = np.arange(count - 1, -1, -1) * int(self._line_time * 1e9)
        times = np.maximum(now - back, self._last_time)
        self._last_time = int(times[-1])
        return times.astype(np.int64)

    def _is_same(self, buffer: Buffer, frame: Frame) -> bool:
        """Tell whether the scan has the size, shape and channels of the stream; say so when that changes."""
        mine = (self._buffer.rows, self._buffer.columns, self._frame.height, self._frame.width)
        fits: bool = (buffer.rows, buffer.columns, frame.height, frame.width) == mine and set(
            self._buffer.channels
        ) <= set(buffer.channels)
        if fits != self._fits:
            self._fits = fits
            self._finder = None if fits else self._finder
            if fits:
                self._memory.next_scan()
            log.warning(
                "the scan is set as at first: its lines are taken again" if fits else
                "the scan has another size, shape or channels: left out; start another run for it, "
                "or set it back"
            )  # fmt: skip
        return fits

    def _interval(self) -> float:
        try:
            assert self._connection is not None
            speed = self._connection.speed()
            self._line_time = max(0.0, speed.forward + speed.backward)
        except ControllerError as error:
            self._tell(f"the controller says: {error}")
            self._line_time = 1.0
        return float(self._config.interval or min(2.0, max(0.05, self._line_time / 2)))

    def _patience(self) -> float:
        """Return how long to wait at most, s: the last lines may soon be overwritten."""
        left = self._buffer.rows - self._memory.lines()
        return max(0.02, self._line_time / 10) if 0 < left <= 2 else math.inf

    def _enough(self) -> bool:
        """Tell whether ``scans`` images were given, or another one has begun after them."""
        if self._config.scans is None:
            return False
        whole = self._memory.lines() == self._buffer.rows
        return bool(self._memory.scan + whole >= self._config.scans)

    def _watch_mirror(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Compare traces and retraces of the first lines; say once where a mirrored one fits better."""
        if len(self._doubt) >= MIRROR_LINES:
            return
        field = next((name for name in arrays if f"{name}_retrace" in arrays), None)
        if field is None:
            return
        for trace, retrace in zip(arrays[field], arrays[f"{field}_retrace"], strict=True):
            straight, mirrored = _correlation(trace, retrace), _correlation(trace, retrace[::-1])
            self._doubt.append(mirrored - straight)
        if len(self._doubt) >= MIRROR_LINES and np.median(self._doubt) > 0.3:
            other = "time" if self._config.backward_columns == "position" else "position"
            log.warning(
                "retraces look mirrored (%s); say backward_columns = %r if so", field, other
            )

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            log.warning("%s", text)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Memory:
    """What must outlive a restart: the number of the scan, its lines that were given, and the places."""

    def __init__(self, path: Any) -> None:
        self._path = path
        self.scan = 0
        self._given: list[tuple[int, int, int]] = []
        self._places: list[list[float]] = []
        if path is not None and path.exists():
            kept = json.loads(path.read_text())
            self.scan = kept["scan"]
            self._given = [tuple(entry) for entry in kept["given"]]
            self._places = kept["places"]

    def forget_from(self, index: int) -> None:
        """Forget lines from a record on: the bus does not have them."""
        self._given = [entry for entry in self._given if entry[0] < index]

    def next_scan(self) -> None:
        """Begin the next scan, unless nothing of this one was given."""
        if self._given:
            self.scan += 1
            self._given = []

    def given(self, index: int, lines: Sequence[int], checks: Sequence[int]) -> None:
        """Keep what is given, before it leaves."""
        self._given += [
            (index + n, line, check)
            for n, (line, check) in enumerate(zip(lines, checks, strict=True))
        ]
        if self._path is None:
            return
        text = json.dumps({"scan": self.scan, "given": self._given, "places": self._places})
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_text(text)
        beside.replace(self._path)

    def checks(self) -> dict[int, int]:
        """Return the checksum of each line of this scan that was given."""
        return {line: check for _, line, check in self._given}

    def lines(self) -> int:
        """Return how many lines of this scan were given."""
        return len(self._given)

    def place(self, frame: Frame) -> int:
        """Return the number of a frame's centre and angle."""
        here = [frame.centre_x, frame.centre_y, frame.angle]
        if here not in self._places:
            self._places.append(here)
        return self._places.index(here)


def _nm(metres: float) -> float:
    """Return a length in nm with the digits that a float32 has."""
    return float(f"{metres * 1e9:.7g}")


def _correlation(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    good = np.isfinite(one) & np.isfinite(other)
    if good.sum() < 8:
        return 0.0
    a, b = one[good] - one[good].mean(), other[good] - other[good].mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
