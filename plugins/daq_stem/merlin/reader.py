"""Reader of Merlin .mib files: single and quad, 1, 6, 12 and 24 bit, and RAW with an extra."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.merlin.header import (
    LEAD,
    MAGIC,
    Clock,
    FrameHeader,
    parse_first,
    parse_hdr,
    scan_shape,
    sequence_and_fixed,
    time_zone,
)
from daq_stem.merlin.pixels import unpack
from daq_stem.merlin.raw import check_installed
from daq_stem.merlin.sequence import LARGEST_GAP, NOT_ALIKE, NumberColumns, in_order

log = logging.getLogger(__name__)

BATCH_BYTES = 8 << 20
"""A batch holds at most this much, and at least one frame."""


class MerlinReader(daq.Reader):
    """Frames of a .mib file: stream ``""`` with the field ``frame`` [y, x], unsigned, counts.

    The file begins with the bottom row; here the top row comes first, as in rosettasciio (the
    digits of the camera's test pattern can be read; LiberTEM keeps the order of the file). Pixels
    come in the byte order of this machine; the file holds them big endian.

    The index of a frame is its sequence number less that of the first: numbers that are not there
    are `daq.Missing`, a number that came before is dropped and counted (``repeats``). The time is
    that of the header, see `daq_stem.merlin.header.Clock`. Where the last frame is cut off, the
    whole ones are given, and then ValueError says so.

    The scan is that of the configuration, or, where the camera was triggered once a line, that of
    the .hdr file beside the .mib.
    """

    name = "merlin"
    suffixes = (".mib",)

    class Config(daq.Config):
        """What ``[sources.NAME]`` may say about a .mib file."""

        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "shape of the scan, [y, x], fast axis last; by default from the .hdr file"
        )
        step: float | None = daq.setting(None, "nm", "distance of two scan positions", gt=0)
        timezone: str = daq.setting(
            "UTC", "", "of the camera's clock, for files whose headers hold no time in UTC"
        )

    def __init__(self) -> None:
        self.repeats = 0
        """Frames dropped because their number had come before."""
        self._frames: npt.NDArray[np.uint8] | None = None

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read the first header and map the file into memory."""
        self._path, self._config = path, config
        time_zone(config.timezone)
        status = path.stat()
        self._size, self._changed = status.st_size, status.st_mtime_ns
        with path.open("rb") as file:
            lead = file.read(1 << 16)
        if not lead:
            raise ValueError(f"{path}: the file is empty")
        try:
            self._header = _first_header(lead)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        frame_bytes = self._header.frame_bytes
        self._count, self._rest = divmod(self._size, frame_bytes)
        if not self._count:
            raise ValueError(
                f"{path}: no whole frame: {self._size} bytes, and a frame has {frame_bytes}"
            )
        if self._header.raw:
            try:
                check_installed()
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
        self._frames = np.memmap(path, np.uint8, "r", shape=(self._count, frame_bytes))
        self._columns = NumberColumns(self._frame_header(0), self._header)
        if self._count > 1:
            self._number(1)  # a header that lies about the size shows in the next frame
        return [self._stream(parse_hdr(path.with_suffix(".hdr")))]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the frames from ``start`` on; raise ValueError where the file is damaged."""
        assert self._frames is not None
        begin = start.get("", 0)
        clock = Clock(
            self._header.attributes["exposure_time"], self._changed, self._config.timezone
        )
        base, following = self._number(0), 0
        self.repeats = 0
        at_once = max(1, min(256, BATCH_BYTES // self._header.frame_bytes))
        offset = self._header.offset
        try:
            for first in range(0, self._count, at_once):
                frames = self._frames[first : first + at_once]
                numbers = self._columns.numbers(frames[:, :offset])
                bad = np.flatnonzero(numbers == NOT_ALIKE)
                good = int(bad[0]) if len(bad) else len(frames)
                frames, numbers = frames[:good], numbers[:good] - base
                runs = list(in_order(numbers, following))
                self._drop_repeats(first, np.arange(good), runs)
                for index, positions in runs:
                    if index > following:
                        yield from self._gap(following, index, begin, first + int(positions[0]))
                    times = clock.stamps(frames[positions, :offset])
                    yield from self._batch(index, frames, positions, times, begin)
                    following = index + len(positions)
                if len(bad):
                    self._number(first + good)  # says what is wrong with it
        finally:
            self._report(clock)
        if self._rest:
            raise ValueError(
                f"{self._path}: the last frame is cut off after {self._rest} of "
                f"{self._header.frame_bytes} bytes; the {self._count} whole ones before it are taken"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._frames = None

    def _stream(self, hdr: dict[str, str]) -> daq.Stream:
        shape = self._config.scan or scan_shape(hdr)
        scan: dict[str, Any] | None = None
        if shape is not None:
            scan = {"shape": list(shape)}
            if self._config.step is not None:
                scan["step"] = self._config.step
        try:
            expect: int | None = self._number(self._count - 1) - self._number(0) + 1
        except ValueError:
            expect = None  # `batches` will say where the file is damaged
        if expect is not None and not 0 < expect <= self._count + LARGEST_GAP:
            expect = None
        pixels = [{"name": name, "units": "px", "offset": 0, "step": 1} for name in ("y", "x")]
        attributes = {**self._header.attributes, "file": self._path.name}
        if hdr:
            attributes["hdr"] = hdr
        field = daq.Field(
            self._header.dtype.newbyteorder("<").str, self._header.shape, "counts", "pattern"
        )
        return daq.Stream("", {"frame": field}, {"frame": pixels}, scan, attributes, expect)

    def _frame_header(self, position: int) -> bytes:
        assert self._frames is not None
        return self._frames[position, : self._header.offset].tobytes()

    def _number(self, position: int) -> int:
        """Sequence number of a frame, whose header is checked against the first."""
        try:
            number, fixed, _ = sequence_and_fixed(self._frame_header(position)[:LEAD])
        except ValueError:
            raise ValueError(
                f"{self._path}: no frame header at byte {position * self._header.frame_bytes}, "
                f"where frame {position} should begin: the file is damaged, or its first header lies"
            ) from None
        if fixed != self._header.fixed:
            raise ValueError(
                f"{self._path}: frame {position} has another size or type than the first"
            )
        return number

    def _drop_repeats(
        self,
        first: int,
        positions: npt.NDArray[np.int64],
        runs: Sequence[tuple[int, npt.NDArray[np.int64]]],
    ) -> None:
        """Count the frames that are in no run; refuse those that come once for each of two counters.

        A counter that alternates from number to number is read on (continuous acquisition).
        """
        taken = np.concatenate([run for _, run in runs]) if runs else positions[:0]
        for position in (first + np.setdiff1d(positions, taken)).tolist():
            (before, _, one), (number, _, other) = (
                sequence_and_fixed(self._frame_header(at)[:LEAD]) for at in (position - 1, position)
            )
            if number == before and one != other:
                raise ValueError(
                    f"{self._path}: frame {position} has the number of the one before it and is of "
                    "another counter; files of two counters are not read"
                )
            self.repeats += 1

    def _gap(self, following: int, number: int, begin: int, position: int) -> Iterator[daq.Missing]:
        if number - following > LARGEST_GAP:
            raise ValueError(
                f"{self._path}: the number of frame {position} is {number - following} beyond the "
                "one before it: a damaged header"
            )
        first = max(following, begin)
        if first < number:
            reason = f"{self._path.name}: numbers not in the file"
            yield daq.Missing("", number - first, reason, first)

    def _batch(
        self,
        index: int,
        frames: npt.NDArray[np.uint8],
        positions: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
        begin: int,
    ) -> Iterator[daq.Batch]:
        """Give the frames at ``positions``, of which the first has ``index``, from ``begin`` on."""
        skipped = min(max(0, begin - index), len(positions))
        positions = positions[skipped:]
        if not len(positions):
            return
        if positions[-1] - positions[0] + 1 == len(positions):
            chosen = frames[positions[0] : positions[-1] + 1]
        else:
            chosen = frames[positions]
        pixels = np.empty((len(positions), *self._header.shape), self._header.dtype)
        unpack(self._header, chosen, pixels)
        yield daq.Batch("", {"frame": pixels, "time": times[skipped:]}, index + skipped)

    def _report(self, clock: Clock) -> None:
        if self.repeats:
            log.warning("%s: %d repeated frames dropped", self._path.name, self.repeats)
        if clock.unreadable:
            log.warning(
                "%s: %d frames without a readable time stamp", self._path.name, clock.unreadable
            )


def _first_header(lead: bytes) -> FrameHeader:
    """Return what the first header says; the header after it tells whether U01 is packed."""
    if not lead.startswith(MAGIC):
        return parse_first(lead[:LEAD])
    offset = lead.split(b",", 3)[2:3]
    first = lead[: int(offset[0])] if offset and offset[0].isdigit() else lead[:LEAD]
    header = parse_first(first)
    if header.fixed[4] == b"U01":
        stored = (header.frame_bytes - header.offset) // 8
        whole = header.offset + stored
        if len(lead) == whole or lead[whole:].startswith(MAGIC):
            return parse_first(first, stored)
    return header
