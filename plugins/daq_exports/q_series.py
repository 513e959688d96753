"""Text exports of TA Instruments' Q series (Universal Analysis), DSC and DMA."""

from __future__ import annotations

import datetime
import re
from typing import Literal

from daq_exports.quantities import Column
from daq_exports.series import Facts
from daq_exports.text_export import TextExport
from daq_exports.units import mass_mg


class QSeriesReader(TextExport):
    r"""Text exports of the TA Q series (Universal Analysis).

    ``key<TAB>value`` lines, ``Nsig N``, ``SigK<TAB>Name (unit)``, ``StartOfData``, then rows.

    ``Exotherm UP`` or ``DOWN`` tells the sign, ``Size`` the mass, ``Date`` and ``Time`` the start
    (local, see ``timezone``). A second head in the file begins another sample.

    Tried on: heads and rows as they are printed in public code that reads such files (DSC Q2000);
    no whole file was at hand.
    """

    name = "q_series"
    suffixes = (".txt",)
    signature = r"^Nsig\t\d+\s*$|^StartOfData\s*$"
    head = r"^StartOfData\s*$"

    _in_rows = False
    _signals: dict[int, Column]
    _dates: dict[str, str]

    def _line(self, line: str) -> None:
        key, _, value = line.partition("\t")
        if self._in_rows:
            if not line.strip():
                return
            if not re.match(r"[A-Z]", line.lstrip()):
                self._row(line.split("\t"))
                return
            self._flush()  # Another measurement begins in the same file.
            self._in_rows = False
            self._facts = Facts()
        if not hasattr(self, "_signals"):
            self._signals, self._dates = {}, {}
        if key.strip() == "StartOfData":
            self._in_rows = True
            self._facts.start = self._start()
            signals = [self._signals[number] for number in sorted(self._signals)]
            self._begin(signals, run=True)
            self._signals = {}
        elif (match := re.fullmatch(r"Sig(\d+)", key)) is not None:
            self._signals[int(match[1])] = Column.labelled(value)
        else:
            self._fact(key, value.strip())

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
