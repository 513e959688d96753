"""Binary files of NETZSCH Proteus, by pyngb."""

from __future__ import annotations

import datetime
import json
import logging
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

import daq
from daq_exports.quantities import Column
from daq_exports.series import Facts, Series
from daq_exports.settings import ExportSettings

log = logging.getLogger(__name__)


class NetzschBinaryReader(daq.Reader):
    """NETZSCH binary files (.ngb-ds3 ...) of calorimeters and balances; needs the extra ``netzsch``.

    One file is one measurement; see `Series` for its records.

    The DSC signal (µV) is divided by the sensitivity (µV/mW) of the calibration in the file; where
    that is not valid it is NaN. Its sign is that of the calibration: metals take up heat as they
    melt, so where their peak areas are negative, exothermic points up. The column ``mass`` of a
    thermobalance can be kept with
    ``also = ["mass change"]``. A correction that is
    embedded in the file is not subtracted.

    Tried on: a real file of an STA 449 F3 (test data of pyngb): its signal falls by heating and
    rises by cooling, as a heat capacity does where exothermic points up.
    """

    name = "netzsch_binary"
    suffixes = (".ngb-ss3", ".ngb-ds3", ".ngb-bs3", ".ngb-sdh", ".ngb-sdg", ".ngb-dla")
    counters = ("sample", "segment")

    class Config(ExportSettings):
        """What ``[sources.NAME]`` may say about a NETZSCH file."""

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether the archive has its end."""
        return zipfile.is_zipfile(path)

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read the file; ValueError where it is damaged, or pyngb is not installed."""
        try:
            import pyngb
        except ImportError:
            raise ValueError(
                f"{path.name}: NETZSCH files need pyngb: pip install 'glasswatch[netzsch]'"
            ) from None
        try:
            table = pyngb.read_ngb(path)
        except (pyngb.NGBParseError, zipfile.BadZipFile, OSError, ValueError) as error:
            raise ValueError(f"{path}: cannot be read: {error}") from None
        facts = json.loads(table.schema.metadata[b"file_metadata"])
        names = list(table.column_names)
        units = {name: _text(table.schema.field(name).metadata, b"units") for name in names}
        if (
            "dsc_signal" in names
            and units["dsc_signal"] == "µV"
            and "calibration_constants" in facts
        ):
            table = pyngb.apply_dsc_calibration(table)
            units["dsc_signal"] = "mW"
        labels = {
            "sample_temperature": "temperature",
            "dsc_signal": "heat flow",
            "mass": "mass change",
        }
        columns = [Column(labels.get(name, name), units[name]) for name in names]
        self._series = Series(path.name, config, self.name)
        self._series.begin(columns, _facts(facts, config), steps=False, run=True)
        arrays = [np.asarray(table[name].to_numpy(), np.float64) for name in names]
        values = self._series.found_numbers(lambda index: arrays[index])
        self._series.add_numbers(values, table.num_rows)
        return [self._series.stream()]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the rows from ``start`` on."""
        yield from self._series.batches(start.get("", 0))


def _text(metadata: Any, key: bytes) -> str:
    return str((metadata or {}).get(key, b""), "utf-8")


def _facts(content: dict[str, Any], config: Any) -> Facts:
    facts = Facts(
        mass_mg=content.get("sample_mass") or None,
        sample_name=str(content.get("sample_name") or ""),
        instrument=str(content.get("instrument") or ""),
        exotherm=_exotherm(content.get("sensitivity_calibration") or {}),
    )
    if performed := content.get("date_performed"):
        facts.start = config.nanoseconds(datetime.datetime.fromisoformat(performed))
    return facts


def _exotherm(calibration: dict[str, Any]) -> Literal["up", "down"] | None:
    """Return the direction that the melting of the calibration metals tells."""
    areas = [point.get("peak_area") or 0.0 for point in calibration.get("fixpoints") or []]
    if areas and all(area < 0 for area in areas):
        return "up"
    if areas and all(area > 0 for area in areas):
        return "down"
    return None
