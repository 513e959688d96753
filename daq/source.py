"""The source interface: what produces streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from daq.config import Config as BaseConfig
from daq.streams import Array, Batch, Missing, Stream


class Aborted(ValueError):
    """Raised in `Source.batches` by an instrument that has gone, or ended before its time.

    Its streams end as ``aborted`` with this message; what came before is kept, and nothing is
    started again. Any other ValueError means bad data: the streams end as ``failed``.
    """


class SourceContext:
    """What the runtime lends to a source: the wish to stop, waiting, and memory to fill.

    Parameters
    ----------
    stop
        Set when the source shall end.
    allocate
        ``(stream, count) -> arrays`` over shared memory, or None.
    memory
        See `memory`.
    """

    def __init__(
        self,
        stop: threading.Event | None = None,
        allocate: Callable[[str, int], dict[str, Array]] | None = None,
        memory: Path | None = None,
    ) -> None:
        self._stop = stop or threading.Event()
        self._allocate = allocate
        self.memory = memory
        """A file of the source's own, for what it must know again when it is restarted within the
        run: absent at first, removed with the run. None where nothing is kept."""

    @property
    def stopping(self) -> bool:
        """True once the source shall end."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but return True at once when the source shall end."""
        return self._stop.wait(max(0.0, seconds))

    def wait_until(self, monotonic: float) -> bool:
        """Sleep until ``time.monotonic()`` reaches a value; return True when the source shall end."""
        return self.wait(monotonic - time.monotonic())

    def empty(self, stream: Stream, count: int) -> dict[str, Array]:
        """Return writable arrays for ``count`` records, one per field.

        They lie in shared memory where that is possible, so that a `Batch` of them travels
        without another copy; fill them and yield the batch before asking again.
        """
        if self._allocate is not None:
            return self._allocate(stream.name, count)
        import numpy as np

        return {
            name: np.empty((count, *field.shape), field.numpy_dtype)
            for name, field in stream.fields.items()
        }


class Source:
    """An iterator of batches with `open` and `close`: an instrument, a simulator, a file.

    A plugin subclasses this, and returns the class from the hook ``daq_sources``.
    """

    name: ClassVar[str] = ""
    """What ``type = "..."`` in the configuration calls it."""

    context: SourceContext
    """Set by the runtime before `open`."""

    class Config(BaseConfig):
        """What the configuration may say, with units."""

    def __init__(self) -> None:
        self.context = SourceContext()

    def open(self, config: Any) -> Sequence[Stream]:
        """Connect or open, and return the streams to come.

        A stream named ``""`` has the name of the source; others are prefixed with it and a dot.
        Raise ValueError or OSError in one clear line where it cannot be done. It may wait for the
        instrument as long as it looks at ``context.stopping`` meanwhile, and then returns nothing.
        """
        raise NotImplementedError

    def batches(self, start: Mapping[str, int]) -> Iterator[Batch | Missing]:
        """Yield batches in order; ``start`` gives for each stream the index that comes next.

        ``start`` is 0 for each stream, or where a source that was restarted goes on. A source
        that can go back in time begins there, or sends again from 0 with ``first`` set (repeats
        are dropped); one that cannot declares what it lost as `Missing`. A batch whose ``first``
        is None is numbered on. Ends at the end of the data, or soon after ``context.stopping``.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Disconnect; called once, also after an error."""

    def truth(self) -> Mapping[str, Array]:
        """Return what a simulator knows, recorded under ``truth/`` and never given to an analysis."""
        return {}
