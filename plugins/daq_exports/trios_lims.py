"""Text exports of TA Instruments' TRIOS ("Export to LIMS"): rheometers, DMA, DSC."""

from __future__ import annotations

import datetime
from typing import Literal

from daq_exports.quantities import Column
from daq_exports.text_export import TextExport
from daq_exports.units import mass_mg


class TriosLimsReader(TextExport):
    r"""TRIOS LIMS text exports of rheometers, DMA and DSC.

    ``[Section]`` lines, then a ``[Step]`` for each step with its table.

    In a step: ``Step name``, ``Number of points``, ``Variables<TAB>...``, ``Units<TAB>...``, then
    ``Data point<TAB>...`` rows. Each step is a segment; a second ``[Header]`` begins another
    sample. The start is ``Run date`` where its order is told by AM or PM (month first); else it
    is not known, since the order depends on the language of the computer. The sign of heat flow
    is taken from ``Exotherm direction`` where that is there, else it must be configured.

    Tried on: a real frequency sweep of an ARES-G2 (public test data of hermes-rheo, MIT); on no
    DSC file.
    """

    name = "trios_lims"
    suffixes = (".txt",)
    signature = (
        r"^TA Instruments LIMS export format version|^\[(Step|Parameters: File Parameters)\]"
    )
    head = r"^Data point\t"

    _runs = 0
    _steps = 0
    _variables: list[str]

    def _line(self, line: str) -> None:
        key, _, value = line.partition("\t")
        match key.strip():
            case "[Header]":
                self._runs += 1
                self._steps = 0
            case "Variables":
                self._variables = value.split("\t")
            case "Units":
                self._table(value.split("\t"))
            case "Data point":
                self._row(value.split("\t"))
            case _:
                self._fact(key.strip().lower(), value.strip())

    def _table(self, units: list[str]) -> None:
        names = getattr(self, "_variables", [])
        units += [""] * (len(names) - len(units))
        columns = [Column(name, unit) for name, unit in zip(names, units, strict=False)]
        self._begin(columns, steps=True, run=self._steps == 0)
        self._steps += 1

    def _fact(self, key: str, value: str) -> None:
        facts = self._facts
        match key:
            case "name" if not facts.sample_name and self._steps == 0:
                facts.sample_name = value
            case "instrument type":
                facts.instrument = value
            case "mass" | "sample mass" | "sample size":
                facts.mass_mg = mass_mg(value.replace("[", "").replace("]", "")) or facts.mass_mg
            case "exotherm direction":
                words: dict[str, Literal["up", "down"]] = {"up": "up", "down": "down"}
                facts.exotherm = words.get(value.lower())
            case "run date":
                try:
                    moment = datetime.datetime.strptime(value, "%m/%d/%Y %I:%M:%S %p")
                except ValueError:
                    return
                facts.start = self._config.nanoseconds(moment)
