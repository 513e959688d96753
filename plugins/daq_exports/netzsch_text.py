"""Text exports of NETZSCH Proteus."""

from __future__ import annotations

import datetime
import re

from daq_exports.quantities import Column
from daq_exports.series import Facts
from daq_exports.text_export import TextExport
from daq_exports.units import mass_mg

_SEPARATORS = {"SEMICOLON": ";", "COMMA": ",", "TAB": "\t", "TABULATOR": "\t", "SPACE": " "}


class NetzschTextReader(TextExport):
    """NETZSCH Proteus text exports of calorimeters.

    ``#KEY:value`` lines, ``##Temp./°C;Time/min;DSC/(mW/mg);...``, then rows.

    ``#SEPARATOR`` and ``#DECIMAL`` are followed, ``#SAMPLE MASS /mg`` is the mass, ``#DATE/TIME``
    the start (local, see ``timezone``; taken where day and month cannot be confused), a single
    ramp in ``#RANGE`` gives the heating rate. Numbers in the head may have decimal commas although
    the rows have points. A column ``Segment`` numbers the steps; a second head begins another
    sample.

    ``#EXO`` is not taken for the sign: public programs read ``#EXO:-1`` in both ways. Say
    ``exotherm = "up"`` or ``"down"``; the value is in the attribute ``netzsch_exo``.

    Tried on: heads and rows as they are printed in public code and notes that read such files
    (DSC 204 F1, STA 449 F3); no whole file was at hand.
    """

    name = "netzsch_text"
    suffixes = (".txt", ".csv", ".asc")
    signature = r"^#(FORMAT:\W*NETZSCH5|INSTRUMENT:\W*NETZSCH|EXPORTTYPE:|SEPARATOR:)|^##\s*Temp\."
    head = r"^##.*\n"

    _separator = ";"
    _in_rows = False
    _exo = ""

    def _line(self, line: str) -> None:
        text = line.strip()
        if not text:
            return
        if text.startswith("##"):
            labels = [label for label in text[2:].split(self._separator) if label.strip()]
            self._begin([Column.labelled(label) for label in labels], run=True)
            self._in_rows = True
        elif text.startswith("#"):
            if self._in_rows:
                self._flush()
                self._in_rows, self._facts = False, Facts()
            key, _, value = text[1:].partition(":")
            self._fact(key.strip().upper(), value.strip().strip(",;").strip())
        elif self._in_rows:
            self._row(text.split(self._separator))

    def _fact(self, key: str, value: str) -> None:
        facts = self._facts
        match key:
            case "SEPARATOR":
                self._separator = _SEPARATORS.get(value.upper(), self._separator)
            case "DECIMAL":
                self._series.decimals("," if value.upper() == "COMMA" else ".")
            case "INSTRUMENT":
                facts.instrument = value
            case "SAMPLE":
                facts.sample_name = value
            case "SAMPLE MASS /MG":
                facts.mass_mg = mass_mg(f"{value} mg")
            case "DATE/TIME":
                facts.start = self._moment(value)
            case "EXO":
                self._exo = value
            case "RANGE":
                facts.heating_rate = _heating_rate(value)

    def _moment(self, value: str) -> int | None:
        forms = ("%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M:%S")
        for form in forms:
            try:
                moment = datetime.datetime.strptime(value.split(" (", maxsplit=1)[0], form)
                return int(self._config.nanoseconds(moment))
            except ValueError:
                continue
        return None


def _heating_rate(text: str) -> float | None:
    """Return the rate (K/min) of ``-30°C/10,0(K/min)/200°C``, negative on cooling."""
    number = r"(-?[\d.,]+)"
    match = re.fullmatch(rf"{number}\s*\W?C/{number}\s*\(?K/min\)?/{number}\s*\W?C", text)
    if match is None:
        return None
    first, rate, last = (float(part.replace(",", ".")) for part in match.groups())
    return rate if last > first else -rate
