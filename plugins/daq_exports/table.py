"""Plain tables: CSV and other text with columns, whatever the separator and the decimals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import daq
from daq_exports.appended_text import beginning
from daq_exports.quantities import KNOWN, Column
from daq_exports.settings import ExportSettings
from daq_exports.text_export import TextExport
from daq_exports.units import is_unit

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|nan|NaN|inf")


class TableReader(TextExport):
    """Plain tables: a line of names, maybe one of units, then rows.

    Names may hold their units, ``Heat Flow (mW)``. Known names are found by themselves; others
    are told by ``columns``, by name or number (from 1), and units that are not there by ``units``::

        columns = { temperature = "T", frequency = "f", storage_modulus = "E_stor" }
        units = { T = "degC" }

    Lines before the names are passed over. The separator is tab, semicolon, comma or spaces, by
    default the first of them in the names; a comma is a decimal one where it does not separate.
    The line of names again, or a time that goes back, begins another sample.

    Tried on: a real table of frequency sweeps (comma, units row, UTF-8 with a byte-order mark).
    """

    name = "table"
    suffixes = (".csv", ".tsv", ".dat", ".txt")

    class Config(ExportSettings):
        """What ``[sources.NAME]`` may say about a table."""

        separator: Literal["tab", ";", ",", "space"] | None = daq.setting(
            None, "", "of columns; by default seen from the line of names"
        )

    @classmethod
    def knows(cls, path: Path) -> bool:
        """Tell whether there is a known name in a line of names: other formats have no such line."""
        names = {name for quantity in KNOWN.values() for name in quantity.names}
        lines = beginning(path).splitlines()[:50]
        if any(
            line.startswith(("##", "StartOfData", "Variables\t", "Nsig\t", "Method Steps:"))
            for line in lines
        ):
            return False
        for line in lines:
            fields = [field for field in _split(line, _separator(line)) if field.strip()]
            found = [f for f in fields if Column.labelled(f).name.lower() in names]
            if _of_indents(fields, found):
                return False
            if len(fields) > 1 and found:
                return True
        return False

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether the first row of numbers is there."""
        text = beginning(path, 1 << 18)
        lines = text[: text.rfind("\n") + 1].splitlines()
        return any(_is_row(_split(line, _separator(line))) for line in lines)

    _names: str = ""
    _before: tuple[str, ...] = ()

    def _line(self, line: str) -> None:
        if not line.strip():
            return
        if not self._series.begun:
            self._before = (*self._before[-2:], line)
            self._find()
        elif line == self._names:
            self._table(self._columns, run=True)
        elif self._units is None or line != self._units:
            self._row(_split(line, self._separator))

    def _find(self) -> None:
        """Begin with the first row of numbers, where there are names before it."""
        row = self._before[-1]
        for names, units in ((-2, None), (-3, -2)):
            if len(self._before) < -names:
                return
            separator = _SIGNS[self._config.separator or _separator(self._before[names])]
            labels = _split(self._before[names], separator)
            fields = _split(row, separator)
            while len(fields) > len(labels) and not fields[-1].strip():
                fields.pop()
            if not _is_row(fields) or len(labels) < 2:
                continue
            if separator == "," and len(fields) == 2 * len(labels):
                raise ValueError(
                    f"{self._name}: commas both separate columns and mark decimals; export it with "
                    "another separator"
                )
            if len(fields) != len(labels) or any(_NUMBER.fullmatch(la.strip()) for la in labels):
                continue
            beside = None if units is None else _split(self._before[units], separator)
            if beside is None and all(is_unit(label) for label in labels):
                continue  # This is the line of units.
            self._names = self._before[names]
            self._units = None if units is None else self._before[units]
            self._separator = separator
            self._table([_column(la, beside, at) for at, la in enumerate(labels)], run=True)
            self._row(fields)
            return

    def _table(self, columns: list[Column], *, run: bool) -> None:
        self._columns = columns
        self._begin(columns, run=run)

    def _lacking(self) -> str:
        return (
            "no table in it: a line of names is needed, and rows with as many numbers; say "
            'separator = "tab", ";", "," or "space" where it is an unusual one'
        )


_SIGNS: dict[str, str] = {"tab": "\t", ";": ";", ",": ",", "space": " "}


def _separator(line: str) -> str:
    for name in ("tab", ";", ","):
        if _SIGNS[name] in line:
            return name
    return "space"


def _split(line: str, separator: str) -> list[str]:
    sign = _SIGNS.get(separator, separator)
    if sign == " ":
        return line.split()
    if '"' not in line:
        return line.split(sign)
    import csv

    return next(csv.reader([line], delimiter=sign))


def _of_indents(fields: list[str], found: list[str]) -> bool:
    """Tell whether a line names load, depth and nothing known but time: they have a reader of their own."""
    names = {re.split(r"[(\[]", field)[0].strip(' "').lower() for field in fields}
    known = {Column.labelled(field).name.lower() for field in found}
    return (
        known <= {*KNOWN["time"].names, *KNOWN["segment"].names}
        and bool(names & {"load", "force"})
        and bool(names & {"depth", "displacement"})
    )


def _is_row(fields: list[str]) -> bool:
    numbers = [bool(_NUMBER.fullmatch(field.strip())) for field in fields]
    return sum(numbers) >= 2 and all(
        number or not field.strip() or not is_unit(field)
        for number, field in zip(numbers, fields, strict=True)
    )


def _column(label: str, units: list[str] | None, place: int) -> Column:
    if units is not None and place < len(units):
        unit = units[place].strip().strip("()[]")
        return Column(label.strip().strip('"'), "" if unit == "-" else unit)
    return Column.labelled(label)
