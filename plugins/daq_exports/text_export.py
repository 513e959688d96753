"""What readers of text exports share: lines are read as they come, rows become records."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import daq
from daq_exports.appended_text import AppendedText, beginning
from daq_exports.series import Facts, Series
from daq_exports.settings import ExportSettings

log = logging.getLogger(__name__)


class TextExport(daq.Reader):
    """A text file that an instrument may append to while it measures: see `Series` for its records.

    A line counts once it has its end. What stands after the last line end when the file is over
    is taken where all its columns are there; the last number, which may be cut, is NaN then. Else
    the file is cut: ValueError, after the whole rows. Lines among the rows that are none (another
    number of columns) are left out, counted and named in the log.

    A format gives ``signature`` and ``head``, and takes lines in `_line`.
    """

    grows = True
    counters = ("sample", "segment")

    signature: ClassVar[str]
    """Regular expression of a line that tells the format."""

    head: ClassVar[str]
    """Regular expression of the line with which the head ends."""

    class Config(ExportSettings):
        """What ``[sources.NAME]`` may say about a file of this format."""

    @classmethod
    def knows(cls, path: Path) -> bool:
        """Look for the signature in the beginning of the file."""
        return re.search(cls.signature, beginning(path), re.MULTILINE) is not None

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether the head is there, with its line ends."""
        text = beginning(path, 1 << 18)
        return re.search(cls.head, text[: text.rfind("\n") + 1], re.MULTILINE) is not None

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read what is there; ValueError says what is not known, or that there is no table."""
        self._name = path.name
        self._config: Any = config
        self._text = AppendedText(path, config.encoding)
        self._series = Series(path.name, config, self.name)
        self._facts = Facts()
        self._rows: list[list[str]] = []
        self._width = 0
        self._lines = 0
        self._odd = 0
        self._first_odd = 0
        self._read()
        if not self._series.begun:
            raise ValueError(f"{path}: {self._lacking()}")
        return [self._series.stream()]

    def more(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the rows from ``start`` on that are whole now."""
        self._read()
        yield from self._series.batches(start.get("", 0))

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the rows from ``start`` on; ValueError where the last line is cut off."""
        self._read()
        whole = self._last_line()
        yield from self._series.batches(start.get("", 0))
        self._series.report()
        if self._odd:
            log.warning(
                "%s: %d lines left out that are no rows, the first is line %d",
                self._name, self._odd, self._first_odd,
            )  # fmt: skip
        if not whole:
            raise ValueError(
                f"{self._name}: its last line is cut off; the {self._series.count} rows before it "
                "are taken"
            )

    # -- for the formats ------------------------------------------------------------------------

    def _line(self, line: str) -> None:
        """Take a line: call `_begin` with the columns, `_row` with what stands in them."""
        raise NotImplementedError

    def _lacking(self) -> str:
        """Return what was not found, where there is no table."""
        return f"no table of a {self.name} file in it: it is cut, or of another format"

    def _begin(self, labels: Sequence[Any], *, steps: bool = False, run: bool = False) -> None:
        """Begin a table with its columns; see `Series.begin`."""
        self._flush()
        self._series.begin(labels, self._facts, steps=steps, run=run)
        self._width = len(labels)

    def _row(self, fields: list[str]) -> bool:
        """Take a row; False where it is none."""
        while len(fields) > self._width and not fields[-1].strip():
            fields.pop()
        if len(fields) != self._width:
            self._odd += 1
            self._first_odd = self._first_odd or self._lines
            return False
        self._rows.append(fields)
        return True

    # -- inside ---------------------------------------------------------------------------------

    def _read(self) -> None:
        for line in self._text.lines():
            self._lines += 1
            self._line(line)
        self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._series.add(rows)

    def _last_line(self) -> bool:
        """Take what stands after the last line end; False where it is cut."""
        rest = self._text.rest()
        if not rest.strip():
            return True
        odd = self._odd
        self._line(rest)
        if not self._rows:
            self._odd = odd
            return False
        self._rows[-1][-1] = "nan"
        log.warning("%s: its last line has no end, its last number is left out", self._name)
        self._flush()
        return True
