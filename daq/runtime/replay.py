"""A recorded run as sources: the same records, at their own pace or as fast as it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daq.config import Config as BaseConfig
from daq.config import ConfigError, setting
from daq.source import Source
from daq.streams import NO_TIME, Batch, Missing, Stream

if TYPE_CHECKING:
    from daq.recording.reader import RunReader
    from daq.runtime.experiment import Experiment


class ReplaySource(Source):
    """Gives the streams of one source of a recorded run again, gaps and time stamps included."""

    name = "replay"

    class Config(BaseConfig):
        """What ``[sources.NAME]`` with ``type = "replay"`` may say."""

        path: Path = setting(..., "", "run folder or its .nxs")
        source: str = setting(..., "", "name of the recorded source")
        speed: float = setting(
            0.0, "", "1: at its own pace, 10: ten times faster; 0: as fast as it goes", ge=0
        )
        batch: int = setting(64, "", "records that travel together, at most", ge=1, le=65536)

    def open(self, config: Any) -> Sequence[Stream]:
        """Open the run; raises ValueError where it has no stream of that source."""
        from daq.recording.reader import RunReader

        self._config = config
        self._reader: RunReader = RunReader(config.path)
        own = config.source
        self._streams = {
            name: stream
            for name, stream in self._reader.streams.items()
            if name == own or name.startswith(f"{own}.")
        }
        if not self._streams:
            known = ", ".join(sorted(self._reader.streams))
            raise ValueError(f"{config.path} has no stream of a source {own!r}; it has {known}")
        return [stream.renamed(self._short(name)) for name, stream in self._streams.items()]

    def batches(self, start: Mapping[str, int]) -> Iterator[Batch | Missing]:
        """Yield the streams merged by time, as they came."""
        pending = {
            name: self._items(name, start.get(self._short(name), 0)) for name in self._streams
        }
        heads = {name: next(items, None) for name, items in pending.items()}
        began, first_time = time.monotonic(), None
        last = dict.fromkeys(pending, NO_TIME)
        while any(head is not None for head in heads.values()):
            waiting = [name for name, head in heads.items() if head is not None]
            name = min(waiting, key=lambda n: _time_of(heads[n], last[n]))
            item = heads[name]
            assert item is not None
            last[name] = _time_of(item, last[name])
            if self._config.speed and last[name] != NO_TIME:
                first_time = last[name] if first_time is None else first_time
                due = (last[name] - first_time) / 1e9 / self._config.speed
                if self.context.wait_until(began + due):
                    return
            if self.context.stopping:
                return
            yield item
            heads[name] = next(pending[name], None)

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_reader"):
            self._reader.close()

    def truth(self) -> Mapping[str, Any]:
        """Return the truth of the recorded source, where it was simulated."""
        name = f"truth.{self._config.source}"
        if self._reader.streams.get(name) is None or not self._reader.count(name):
            return {}
        batch = self._reader.read(name, 0, 1)
        return {key: array[0] for key, array in batch.raw.items() if key != "time"}

    def _short(self, name: str) -> str:
        return name[len(self._config.source) :].lstrip(".")

    def _items(self, name: str, first: int) -> Iterator[Batch | Missing]:
        reader, short = self._reader, self._short(name)
        lost = {f: (n, reason) for f, n, reason in reader.missing(name)}
        count = reader.count(name)
        edges = sorted({e for f, (n, _) in lost.items() for e in (f, f + n)} | {count})
        while first < count:
            inside = next(((f, n, r) for f, (n, r) in lost.items() if f <= first < f + n), None)
            if inside is not None:
                n = inside[0] + inside[1] - first
                yield Missing(short, n, inside[2], first)
            else:
                n = min(self._config.batch, min(e for e in edges if e > first) - first)
                batch = reader.read(name, first, n)
                yield Batch(short, batch.raw, first, batch.valid)
            first += n


def replay_experiment(
    path: Path,
    config: Path | None = None,
    speed: float | None = None,
    overrides: Sequence[str] = (),
) -> Experiment:
    """Return the experiment that replays a recorded run or a foreign file.

    A run is replayed through the analyses that it was recorded with, changed while running at
    the same indices; ``config`` names other analyses. A foreign file needs ``config`` for them,
    or is only shown and recorded. ``speed`` None or 0 is as fast as it goes.
    """
    from daq.runtime.experiment import Experiment, load_tables

    if not path.exists():
        raise ConfigError(f"{path}: no such file or run")
    tables = load_tables(config) if config is not None else {}
    if _is_run(path):
        recorded, changes = _recorded(path)
        sources = {
            name: {"type": "replay", "path": str(path), "source": name, "speed": speed or 0.0}
            for name in recorded.get("sources", {})
        }
        if not sources:
            raise ConfigError(f"{path}: the run names no source to replay")
        tables = {**recorded, **tables, "sources": sources}
    else:
        tables["sources"] = {"camera": {"type": "file", "path": str(path)}}
        changes = []
    title = tables.get("run", {}).get("title") or path.stem
    tables["run"] = {
        **tables.get("run", {}),
        "title": f"replay of {title}".replace("replay of replay", "replay"),
    }
    tables.pop("bus", None)
    return Experiment.from_dict(tables, overrides=overrides, reconfigurations=changes)


def _is_run(path: Path) -> bool:
    """Tell a run, also a damaged one, from a foreign file, and from a folder that is one."""
    from daq.runtime.readers import Readers

    if path.is_dir():
        return not Readers().have_ending(path)
    if path.suffix != ".nxs":
        return False
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("creator") == "glasswatch")
    except OSError:
        return True  # the reader of runs says what is wrong


def _recorded(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the configuration of a run as resolved, and what was changed while it ran."""
    from daq.recording.reader import RunReader

    reader = RunReader(path)
    try:
        tables = {
            key: value
            for key, value in reader.run.config.items()
            if key in ("run", "sources", "analyses", "recorder", "viewer")
        }
        changes: list[dict[str, Any]] = []
        if "run.log" in reader.streams and (count := reader.count("run.log")):
            records = reader.read("run.log", 0, count).raw
            changes = [
                {
                    "analysis": records["origin"][number].decode(),
                    "stream": records["stream"][number].decode(),
                    "index": int(records["index"][number]),
                    "config": json.loads(records["message"][number].decode()),
                }
                for number in np.flatnonzero(records["event"] == b"reconfigure")
            ]
        return tables, changes
    finally:
        reader.close()


def _time_of(item: Batch | Missing | None, last: int) -> int:
    if isinstance(item, Batch):
        return int(item.time[0])
    return last
