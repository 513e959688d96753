"""Merlin frames are those that rosettasciio reads, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.testing import run_analysis
from daq_stem.merlin.reader import MerlinReader
from daq_stem.virtual.analysis import Virtual

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

FILES = [
    f"{chips}_{count}_Frame_CounterDepth_{depth}_Rows_256"
    for chips in ("Single", "Quad")
    for count in (1, 9)
    for depth in (1, 6, 12, 24)
]


@pytest.fixture(scope="module")
def oracle(peer: Callable[[str], Any], merlin_files: Path) -> dict[str, np.ndarray]:
    paths = [merlin_files / f"{name}.mib" for name in FILES]
    return peer("nexus_readers").run("read_with_rosettasciio.py", paths=paths)


@pytest.mark.parametrize("name", FILES)
def test_frames_and_sums_are_equal(
    oracle: dict[str, np.ndarray], merlin_files: Path, name: str
) -> None:
    reader = MerlinReader()
    (stream,) = reader.open(merlin_files / f"{name}.mib", MerlinReader.Config())
    batches = list(reader.batches({}))
    frames = np.concatenate([batch.raw["frame"] for batch in batches])
    theirs = oracle[f"{name}.frames"]
    assert frames.dtype == theirs.dtype.newbyteorder("=")
    np.testing.assert_array_equal(frames, theirs)
    assert not np.array_equal(frames, frames[:, ::-1]), "the orientation can be told"
    stream = stream.renamed("merlin")
    for batch in batches:
        batch.stream = "merlin"
    sums = run_analysis(Virtual, {"merlin": stream}, batches, {})["sums"]
    np.testing.assert_array_equal(sums["total"], oracle[f"{name}.sums"].astype(np.float64))
    reader.close()
