"""RAW frames of a Merlin camera, where libertem-qd-mpx is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

TREE = Path(__file__).resolve().parents[2]


def raw_frames(peer: Callable[[str], Any], folder: Path, start: int) -> dict[str, np.ndarray]:
    names = [f"{chips}_9_Frame_CounterDepth_1_Rows_256RAW.mib" for chips in ("Single", "Quad")]
    found = peer("libertem_qd_mpx").run(
        "read_raw_merlin.py",
        packages=[TREE, TREE / "plugins"],
        paths=[folder / name for name in names],
        start=start,
    )
    return {
        chips: found[f"{chips}_9_Frame_CounterDepth_1_Rows_256RAW"] for chips in ("Single", "Quad")
    }


def stored(path: Path, count: int, offset: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.uint8).reshape(count, -1)[:, offset:]


def test_raw_frames(peer: Callable[[str], Any], merlin_files: Path) -> None:
    found = raw_frames(peer, merlin_files, 0)
    single = merlin_files / "Single_9_Frame_CounterDepth_1_Rows_256RAW.mib"
    # one chip: 64-bit words, the first pixel is the lowest bit of the last byte
    words = stored(single, 9, 384).reshape(9, -1, 8)[:, :, ::-1]
    bits = np.unpackbits(words, axis=2, bitorder="little").reshape(9, 256, 256)
    np.testing.assert_array_equal(found["Single"], bits[:, ::-1])

    # four chips: every pixel once, and the scene of the processed file of the same minute
    quad = merlin_files / "Quad_9_Frame_CounterDepth_1_Rows_256RAW.mib"
    ones = np.unpackbits(stored(quad, 9, 768), axis=1).sum(axis=1)
    np.testing.assert_array_equal(found["Quad"].sum(axis=(1, 2)), ones)
    processed = stored(merlin_files / "Quad_9_Frame_CounterDepth_1_Rows_256.mib", 9, 768)
    scene = processed.reshape(9, 512, 512)[:, ::-1].mean(axis=0)
    mine = found["Quad"].mean(axis=0)
    likeness = {
        name: np.corrcoef(turned.ravel(), scene.ravel())[0, 1]
        for name, turned in {
            "as read": mine, "rows": mine[::-1], "columns": mine[:, ::-1], "both": mine[::-1, ::-1]
        }.items()
    }  # fmt: skip
    assert likeness.pop("as read") > 0.99
    assert max(likeness.values()) < 0.6


def test_raw_frames_from_the_middle(peer: Callable[[str], Any], merlin_files: Path) -> None:
    whole, rest = (raw_frames(peer, merlin_files, start) for start in (0, 4))
    for chips, frames in whole.items():
        np.testing.assert_array_equal(rest[chips], frames[4:])
