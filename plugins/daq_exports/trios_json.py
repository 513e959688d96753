"""JSON exports of TA Instruments' TRIOS: rheometers, DMA, DSC."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

import daq
from daq_exports.quantities import Column
from daq_exports.series import Facts, Series
from daq_exports.settings import ExportSettings
from daq_exports.units import mass_mg


class TriosJsonReader(daq.Reader):
    """TRIOS JSON exports of rheometers, DMA and DSC.

    One file is one measurement, each step of results a segment; see `Series` for its records.

    Read after the public schema (TRIOSJSONExportSchema): of ``Results`` the ``Original`` data are
    taken, or the ``Processed`` ones, which a user may have edited, where there are no others; the
    attribute ``results`` says which. ``StartTime``
    and the rows' ``Date and time`` are in UTC; ``Sample.Mass`` is the mass, ``ExothermDirection``
    of the instrument's configuration the sign.

    Tried on: a real strain sweep of an ARES-G2; on no DSC file.
    """

    name = "trios_json"
    suffixes = (".json",)
    counters = ("sample", "segment")

    class Config(ExportSettings):
        """What ``[sources.NAME]`` may say about a TRIOS JSON file."""

    @classmethod
    def knows(cls, path: Path) -> bool:
        """Look for the schema's name in the beginning of the file."""
        with path.open("rb") as file:
            return b"TRIOSJSONExportSchema" in file.read(4096)

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether the last brace is there."""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64))
            return file.read().rstrip().endswith(b"}")

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read the file; ValueError where it is cut, or no TRIOS JSON."""
        try:
            content = json.loads(path.read_text(encoding=config.encoding or "utf-8-sig"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: is cut, or no JSON: {error}") from None
        results = content.get("Results") if isinstance(content, dict) else None
        if not isinstance(results, dict):
            results = {}
        kind = next((k for k in ("Original", "Processed") if "Rows" in results.get(k, {})), None)
        if kind is None:
            raise ValueError(f"{path}: JSON, but no export of TRIOS with results")
        self._series = Series(path.name, config, self.name)
        self._add(content, results[kind], config)
        stream = self._series.stream()
        return [daq.Stream("", stream.fields, attributes={**stream.attributes, "results": kind})]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the rows from ``start`` on."""
        yield from self._series.batches(start.get("", 0))
        self._series.report()

    def _add(self, content: dict[str, Any], results: dict[str, Any], config: Any) -> None:
        headers: dict[str, Any] = results["ColumnHeaders"]
        keys = [key for key, header in headers.items() if header.get("ValueType") == "Number"]
        columns = [
            Column(headers[key].get("DisplayName", key), _unit(headers[key])) for key in keys
        ]
        rows: list[dict[str, Any]] = results["Rows"]
        facts = _facts(content, config)
        step: Any = object()
        first = 0
        for number in range(len(rows) + 1):
            new = rows[number].get("Results Step Id") if number < len(rows) else None
            if number < len(rows) and number and new == step:
                continue
            if number > first:
                self._table(columns, keys, facts, rows[first:number], run=first == 0, config=config)
            first, step = number, new
        if not rows:
            self._series.begin(columns, facts, steps=True, run=True)

    def _table(
        self, columns: list[Column], keys: list[str], facts: Facts, rows: list[dict[str, Any]], *,
        run: bool, config: Any,
    ) -> None:  # fmt: skip
        self._series.begin(columns, facts, steps=True, run=run)
        values = self._series.found_numbers(lambda index: [row.get(keys[index]) for row in rows])
        self._series.add_numbers(values, len(rows), _moments(rows, config))


def _moments(rows: list[dict[str, Any]], config: Any) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Return the rows' own date and time, where all have it and it does not go back."""
    texts = [row.get("Date and time") for row in rows]
    try:
        times = np.array([_nanoseconds(str(text), config) for text in texts], np.int64)
    except ValueError:
        return None
    return times if np.all(np.diff(times) >= 0) else None


def _nanoseconds(text: str, config: Any) -> int:
    # Seven decimals: more than `datetime` reads.
    whole, _, rest = text.rstrip("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole)
    if text.endswith("Z"):
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(config.nanoseconds(moment)) + int(rest.ljust(9, "0")[:9] or 0)


def _unit(header: dict[str, Any]) -> str:
    unit = header.get("Unit") or {}
    return str(unit.get("Name", "")) if isinstance(unit, dict) else ""


def _facts(content: dict[str, Any], config: Any) -> Facts:
    facts = Facts()
    sample = content.get("Sample") or {}
    facts.sample_name = str(sample.get("Name") or "")
    mass = sample.get("Mass") or {}
    if mass:
        facts.mass_mg = mass_mg(f"{mass.get('Value')} {_unit(mass)}")
    try:
        facts.start = _nanoseconds(str(content.get("StartTime") or ""), config)
    except ValueError:
        facts.start = None
    configuration = (content.get("Procedure") or {}).get("Configuration") or {}
    for instrument in configuration.get("InstrumentConfigurations") or []:
        facts.instrument = facts.instrument or str(instrument.get("Type") or "")
        words: dict[str, Literal["up", "down"]] = {"up": "up", "down": "down"}
        direction = str(instrument.get("ExothermDirection") or "").lower().removeprefix("exo")
        facts.exotherm = facts.exotherm or words.get(direction.strip())
    return facts
