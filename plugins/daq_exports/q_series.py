"""Text exports of TA Instruments' Q series (Universal Analysis), DSC and DMA."""

from __future__ import annotations

import datetime
import re
from typing import Literal

from daq_exports.quantities import Column
from daq_exports.series import Facts
from daq_exports.text_export import TextExport
from daq_exports.units import mass_mg

_STEP = "-3."
"""How the mark of a step begins."""


class QSeriesReader(TextExport):
    r"""Text exports of the TA Q series (Universal Analysis).

    ``key<TAB>value`` lines, ``Nsig N``, ``SigK<TAB>Name (unit)``, then rows: with tabs after
    ``StartOfData``, with spaces after a form feed. A row whose time is below 0 is a mark and no
    reading: ``-3`` begins a step of the method, which is a segment where the first is marked too.

    ``Exotherm UP`` or ``DOWN`` tells the sign, ``Size`` the mass, ``Date`` and ``Time`` the start
    (local, see ``timezone``). A second head in the file begins another sample.

    Tried on: two real files of a TGA Q500 (public test data of cheminfo's tga-spectrum, MIT; UTF-16,
    both layouts); heads and rows as they are printed in public code that reads files of a DSC Q2000.
    """

    name = "q_series"
    suffixes = (".txt",)
    signature = r"^Nsig\t\d+\s*$|^StartOfData\s*$"
    head = r"^(StartOfData\s*\n.*\n|\f.*\n)"

    _in_rows = False
    _new = True
    _steps = False
    _signals: dict[int, Column]
    _dates: dict[str, str]
    _columns: list[Column]

    def _line(self, line: str) -> None:
        key, _, value = line.partition("\t")
        if self._in_rows:
            if not line.strip():
                return
            if not re.match(r"[A-Z]", line.lstrip()):
                self._reading(line.split("\t") if "\t" in line else line.split())
                return
            self._flush()  # Another measurement begins in the same file.
            self._in_rows = False
            self._facts = Facts()
        if not hasattr(self, "_signals"):
            self._signals, self._dates = {}, {}
        if key.strip() == "StartOfData" or line.startswith("\f"):
            self._in_rows, self._new = True, True
            self._facts.start = self._start()
            self._columns = [self._signals[number] for number in sorted(self._signals)]
            self._signals = {}
            if line.startswith("\f"):
                self._reading(line.split())
        elif (match := re.fullmatch(r"Sig(\d+)", key)) is not None:
            self._signals[int(match[1])] = Column.labelled(value)
        else:
            self._fact(key, value.strip())

    def _reading(self, fields: list[str]) -> None:
        """Take a row, or the mark of a step; the first of them says whether steps are marked."""
        marked = fields[0].lstrip().startswith(_STEP)
        if self._new:
            self._begin(self._columns, steps=marked, run=True)
            self._steps, self._new = marked, False
        elif marked and self._steps:
            self._begin(self._columns, steps=True)
        if not fields[0].lstrip().startswith("-"):
            self._row(fields)

    def _fact(self, key: str, value: str) -> None:
        facts = self._facts
        match key:
            case "Exotherm":
                up: dict[str, Literal["up", "down"]] = {"UP": "up", "DOWN": "down"}
                facts.exotherm = up.get(value.upper())
            case "Size":
                facts.mass_mg = mass_mg(value)
            case "Instrument":
                facts.instrument = value
            case "Sample":
                facts.sample_name = value
            case "Date" | "Time":
                self._dates[key] = value

    def _start(self) -> int | None:
        text = f"{self._dates.get('Date', '')} {self._dates.get('Time', '')}"
        for form in ("%Y-%m-%d %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%d-%b-%y %H:%M:%S"):
            try:
                return int(self._config.nanoseconds(datetime.datetime.strptime(text, form)))
            except ValueError:
                continue
        return None
