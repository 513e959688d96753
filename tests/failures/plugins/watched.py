"""Analyses that tests of failures watch: one that shows every slip, and some that misbehave."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

import daq

EVERY = 16


class Watched(daq.Analysis):
    """Each record's sum, a sum over all before, and now and then a large image.

    One record lost, repeated or taken out of order shows in ``running`` to the end.
    """

    name = "watched"

    class Config(daq.Config):
        """What the configuration may say."""

        factor: int = daq.setting(1, "", "of the sums")

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        (stream,) = streams.values()
        shape = stream.fields["frame"].shape
        self.factor, self.running, self.seen = config.factor, np.float64(0), 0
        self.total = np.zeros(shape)
        return [
            daq.Stream("rows", {key: daq.Field("<f8") for key in ("sum", "running", "index")}),
            daq.Stream("images", {"total": daq.Field("<f8", shape)}),
        ]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        for number in range(batch.count):
            yield from self.record(batch, number)

    def record(self, batch: daq.Batch, number: int) -> Iterable[daq.Batch]:
        """Take one record."""
        frame, good = batch["frame"][number], bool(batch.valid[number])
        value = np.float64(frame.sum()) * self.factor if good else np.float64(np.nan)
        self.running = self.running * 0.75 + (value if good else 1.0)
        if good:
            self.total += np.where(np.isfinite(frame), frame, 0)
        self.seen += 1
        when = batch.time[number : number + 1]
        yield daq.Batch("rows", {
            "time": when, "sum": np.array([value]), "running": np.array([self.running]),
            "index": np.array([batch.first + number], float),
        }, valid=np.array([good]))  # fmt: skip
        if self.seen % EVERY == 0:
            yield daq.Batch("images", {"time": when, "total": self.total[None].copy()})

    def reconfigure(self, config: Any) -> None:
        self.factor = config.factor


class Misbehaves(Watched):
    """Does something bad at a record: always, or only in its first life."""

    name = "misbehaves"

    class Config(daq.Config):
        """What the configuration may say."""

        factor: int = daq.setting(1, "", "of the sums")
        deed: Literal["raise", "segfault", "hang", "exit", "print", "refuse", "none"] = daq.setting(
            "none", "", "what it does"
        )
        at: int = daq.setting(0, "", "record at which it does so", ge=0)
        marker: str = daq.setting("", "", "file that tells a second life; without: always")
        always: bool = daq.setting(False, "", "at any record, and at missing ones too")

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        self.config = config
        if config.deed == "refuse":
            raise ValueError("these streams are not what it takes")
        return super().open(streams, config)

    def record(self, batch: daq.Batch, number: int) -> Iterable[daq.Batch]:
        due = batch.first + number == self.config.at and batch.valid[number]
        if due or self.config.always:
            self.act()
        yield from super().record(batch, number)

    def act(self) -> None:
        """Do it, unless it was done and was to be done once."""
        marker = self.config.marker
        if marker:
            if Path(marker).exists():
                return
            Path(marker).touch()
        match self.config.deed:
            case "raise":
                raise ArithmeticError("a bug of the plugin")
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                time.sleep(3600)
            case "exit":
                sys.exit(0)
            case "print":
                sys.stdout.write("\0\xff{no json}" * 2000 + "\n" + "x" * 200_000)
                sys.stdout.buffer.write(b"\xff\xfe\n" * 100)
                sys.stdout.flush()


class MisbehavesInBlocks(Misbehaves):
    """Likewise, with its records in blocks."""

    name = "misbehaves_in_blocks"
    block = 16


class Stalls(daq.Source):
    """Plain frames of a given dtype; may stall, jump, repeat, send NaN, or change its shape."""

    name = "stalls"

    class Config(daq.Config):
        """What the configuration may say."""

        records: int = daq.setting(200, "", "number of records", ge=1)
        batch: int = daq.setting(8, "", "records that travel together", ge=1)
        dtype: str = daq.setting("<u2", "", "of the frames")
        stall: float = daq.setting(0.0, "s", "how long it stalls in the middle", ge=0)
        deed: Literal[
            "none", "shape", "dtype", "nan", "jump", "repeat", "raise", "abort", "hang"
        ] = daq.setting("none", "", "what it does in the middle")

    def open(self, config: Any) -> Sequence[daq.Stream]:
        self.config = config
        return [daq.Stream("", {"frame": daq.Field(config.dtype, (20, 10))}, expect=config.records)]

    def batches(self, start: Mapping[str, int]) -> Iterable[daq.Batch]:
        config, deed = self.config, self.config.deed
        middle = config.records // 2 // config.batch * config.batch
        for first in range(start[""], config.records, config.batch):
            stop = min(first + config.batch, config.records)
            indices = np.arange(first, stop)
            frames = np.repeat(indices, 200).reshape(-1, 20, 10).astype(config.dtype)
            if first == middle:
                if config.stall and self.context.wait(config.stall):
                    return
                match deed:
                    case "shape":
                        frames = frames[:, :, :9].copy()
                    case "dtype":
                        frames = frames.astype("<f8")
                    case "nan":
                        frames[1] = np.nan
                        frames[2, 3, 4] = np.inf
                    case "jump":
                        continue
                    case "raise":
                        raise RuntimeError("the camera has gone away")
                    case "abort":
                        raise daq.Aborted("the camera was switched off")
                    case "hang":
                        time.sleep(3600)
            yield daq.Batch("", {"frame": frames, "time": indices * 1000}, first)
            if deed == "repeat" and first == middle:
                yield daq.Batch("", {"frame": frames, "time": indices * 1000}, first)


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses."""
    return [Watched, Misbehaves, MisbehavesInBlocks]


@daq.hookimpl
def daq_sources() -> list[type[daq.Source]]:
    """Return the sources."""
    return [Stalls]
