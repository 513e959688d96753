"""Export files: real ones, where they are, and made ones in the documented formats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated


def shared(name: str) -> Path:
    """Return a real file, or skip the test."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("GLASSWATCH_SHARED_DATA", beside)) / name
    if not path.is_file():
        pytest.skip(f"no {name} in {path.parent} (set GLASSWATCH_SHARED_DATA)")
    return path


@pytest.fixture
def trios_export() -> Path:
    """A real TRIOS JSON file: a strain sweep of an ARES-G2."""
    return shared("trios_export.json")


@pytest.fixture
def dma_table() -> Path:
    """A real table of frequency sweeps at 21 temperatures."""
    return shared("dma_frequency_sweeps.csv")


@pytest.fixture
def netzsch_file() -> Path:
    """A real binary file of a NETZSCH STA 449 F3."""
    return shared("dsc_netzsch.ngb-ds3")


class Read:
    """A file as a reader gives it, whole: ``read["temperature"]`` is a field."""

    def __init__(self, reader_class: type[daq.Reader], path: Path, **keys: Any) -> None:
        self.reader = reader_class()
        (self.stream,) = self.reader.open(path, validated(reader_class.Config, keys, ""))
        self.batches: list[daq.Batch] = []
        self.error = ""
        self.finish()

    def finish(self) -> None:
        try:
            for item in self.reader.batches({"": 0}):
                assert isinstance(item, daq.Batch)
                self.batches.append(item)
        except ValueError as error:
            self.error = str(error)

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)

    def __getitem__(self, field: str) -> np.ndarray:
        assert field in self.stream.fields
        return np.concatenate([batch.raw[field] for batch in self.batches])

    @property
    def units(self) -> dict[str, str]:
        return {name: field.units for name, field in self.stream.fields.items()}

    @property
    def attributes(self) -> Any:
        return self.stream.attributes

    @property
    def elapsed(self) -> list[float]:
        """Seconds since the first record."""
        return ((self["time"] - self["time"][0]) / 1e9).round(6).tolist()


@pytest.fixture
def read() -> type[Read]:
    """``read(Reader, path, key=...)`` reads a file; what it says at the end is in ``error``."""
    return Read
