"""ASCII exports of PerkinElmer's Pyris: DSC, TGA."""

from __future__ import annotations

import datetime
import re
from typing import Final

from daq_exports.quantities import Column
from daq_exports.series import Facts
from daq_exports.text_export import TextExport
from daq_exports.units import mass_mg

_STEP: Final = re.compile(r"(\d+)\) \S")
_ROW: Final = re.compile(r"\t\s*-?[\d.,]+(e[+-]?\d+)?\s*\t", re.IGNORECASE)
_UNITS: Final = {"Time": "min", "Heat Flow": "mW", "Weight": "mg"}
"""By the last words of a column's name: the file does not say them."""


class PyrisReader(TextExport):
    r"""ASCII exports of PerkinElmer Pyris, of calorimeters and balances.

    ``Key:<TAB>value`` lines, ``Method Steps:``, then the steps of the run: ``1) DSC 8500 Isothermal``,
    before the first of them a head of two lines, then rows that begin with a tab. Each step is a
    segment. What comes after the rows (calibrations) is passed over; ``Filename:`` again begins
    another sample.

    The rows have no units in the file: Pyris writes minutes and mW; the unit of temperatures is that
    of ``Temperature:`` in the head. ``units`` says otherwise. The file does not say its sign either:
    ``exotherm`` must. Heat flow is the unsubtracted one. ``Sample Weight`` is the mass, ``Data
    Collected`` the start (local, see ``timezone``), where day and month cannot be confused.

    Tried on: a real heating of a DSC 8500 and a real run of a TGA 4000 (public test data of cheminfo's
    tga-spectrum, MIT).
    """

    name = "pyris"
    suffixes = (".txt",)
    signature = r"^Method Steps:\s*$"
    head = r"^\d+\) \S.*\n\tTime\b.*\n\t.*\n"

    _named: list[str] | None = None
    _in_rows = False
    _first_key = ""
    _degrees = ""

    def _line(self, line: str) -> None:
        key, _, value = line.partition(":")
        self._first_key = self._first_key or key
        if key == self._first_key and self._in_rows:
            # Another measurement in the same file.
            self._flush()
            self._facts, self._in_rows, self._named = Facts(), False, None
        if _STEP.match(line):
            self._step()
        elif self._named is not None and not self._in_rows:
            self._names(line)
        elif not self._in_rows:
            self._fact(key.strip(), value.strip())
        elif self._rows_go_on and line.strip():
            if _ROW.match(line):
                self._row([field.strip() for field in line[1:].split("\t")])
            else:
                self._rows_go_on = False  # The calibrations.

    def _step(self) -> None:
        if self._in_rows:
            self._begin(self._columns, steps=True)
        else:
            self._named = []

    def _names(self, line: str) -> None:
        assert self._named is not None
        if not self._named:
            self._named = line.split("\t")[1:]
            return
        below = line.split("\t")[1:]
        below += [""] * (len(self._named) - len(below))
        names = [
            f"{name.strip()} {more.strip()}".strip()
            for name, more in zip(self._named, below, strict=False)
        ]
        self._columns = [Column(name, self._unit(name)) for name in names]
        self._in_rows = self._rows_go_on = True
        self._begin(self._columns, steps=True, run=True)

    def _unit(self, name: str) -> str:
        if name.endswith("Temperature"):
            return self._degrees
        return next((unit for words, unit in _UNITS.items() if name.endswith(words)), "")

    def _fact(self, key: str, value: str) -> None:
        facts = self._facts
        match key:
            case "Sample ID":
                facts.sample_name = value
            case "Sample Weight":
                facts.mass_mg = mass_mg(value)
            case "Temperature":
                # The sign of degrees may be of any encoding.
                letter = value[-1:]
                self._degrees = {"C": "°C", "F": "°F", "K": "K"}.get(letter, "")
            case "Data Collected":
                facts.start = self._moment(value)

    def _moment(self, text: str) -> int | None:
        found = set()
        for form in ("%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S",
                     "%Y-%m-%d %H:%M:%S", "%m/%d/%Y %I:%M:%S %p"):  # fmt: skip
            try:
                found.add(datetime.datetime.strptime(text, form))
            except ValueError:
                continue
        return int(self._config.nanoseconds(found.pop())) if len(found) == 1 else None
