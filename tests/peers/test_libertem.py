"""Files of other cameras, written by hand, as LiberTEM gives them and as our reader does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frame_file_writers as writers
import numpy as np
import pytest

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]

TREE = Path(__file__).resolve().parents[2]
DRAW = np.random.default_rng(12)
SMALL = DRAW.integers(0, 60000, (3, 4, 10, 14)).astype("<u2")
FRAMES = {
    "a.blo": DRAW.integers(0, 255, (3, 4, 16, 16)).astype("u1"),
    "a.xml": DRAW.normal(size=(10, 20, 128, 128)).astype("<f4"),
    "a.mrc": SMALL.reshape(12, 10, 14).astype("<i2"),
    "a_000.tvips": SMALL,
    "a.ser": SMALL + 4,
    "a.dm4": SMALL + 1,
    "a.dm3": SMALL.reshape(12, 10, 14) + 2,
}
PIECEWISE = ("a_000.tvips", "a.ser")  # these it does not give in one piece


def write(folder: Path) -> None:
    writers.write_blo(folder / "a.blo", FRAMES["a.blo"])
    writers.write_empad(folder / "a.xml", FRAMES["a.xml"])
    writers.write_mrc(folder / "a.mrc", FRAMES["a.mrc"])
    writers.write_tvips(folder / "a_000.tvips", FRAMES["a_000.tvips"], SMALL[0, :2] + 3)
    writers.write_ser(folder / "a.ser", FRAMES["a.ser"], 12)
    writers.write_dm(folder / "a.dm4", FRAMES["a.dm4"], 4)
    writers.write_dm(folder / "a.dm3", FRAMES["a.dm3"], 3)


@pytest.fixture(scope="module")
def found(
    peer: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("frames")
    write(folder)
    calls: dict[str, dict[str, Any]] = {name: {"path": folder / name} for name in FRAMES}
    for name in ("a.blo", "a.mrc", "a.dm4", "a.ser", "a_000.tvips"):
        whole = (folder / name).read_bytes()
        cut = folder / f"cut{Path(name).stem[1:]}{Path(name).suffix}"
        cut.write_bytes(whole[: len(whole) // 2])
        calls[cut.name] = {"path": cut}
        foreign = folder / f"foreign{Path(name).stem[1:]}{Path(name).suffix}"
        foreign.write_bytes(b"a letter to a friend, and nothing else. " * 100)
        calls[foreign.name] = {"path": foreign}
    (folder / "cut.raw").write_bytes((folder / "a.raw").read_bytes()[:-50])
    (folder / "cut.xml").write_text((folder / "a.xml").read_text().replace("a.raw", "cut.raw"))
    calls["cut.xml"] = {"path": folder / "cut.xml"}
    (folder / "lost.xml").write_text((folder / "a.xml").read_text().replace("a.raw", "lost.raw"))
    calls["lost.xml"] = {"path": folder / "lost.xml"}
    writers.write_dm(folder / "hybrid.dm4", SMALL, 4, swapped=False)
    calls["hybrid.dm4"] = {"path": folder / "hybrid.dm4"}
    (folder / "other.blo2").write_bytes((folder / "a.blo").read_bytes())
    calls["other.blo2"] = {"path": folder / "other.blo2", "format": "libertem"}
    writers.write_ser(folder / "ended.ser", SMALL, 10)
    calls["ended.ser"] = {"path": folder / "ended.ser"}
    calls["ended"] = {"path": folder / "ended.ser", "partial": True}
    calls["part"] = {"path": folder / "a.xml", "start": 95}
    calls["told"] = {"path": folder / "a.mrc", "scan": [4, 3], "step": 0.5}
    calls["wrong"] = {"path": folder / "a.blo", "scan": [4, 3]}
    return peer("libertem").run(
        "read_with_libertem.py",
        packages=[TREE, TREE / "plugins"],
        ours=calls,
        theirs={f"theirs_{name}": folder / name for name in FRAMES if name not in PIECEWISE},
    )


@pytest.mark.parametrize("name", FRAMES)
def test_patterns_that_were_put_in(found: dict[str, np.ndarray], name: str) -> None:
    put = FRAMES[name]
    assert f"{name}_error" not in found, found[f"{name}_error"]
    assert found[name].dtype == put.dtype
    np.testing.assert_array_equal(found[name], put.reshape(-1, *put.shape[-2:]))
    said = json.loads(str(found[f"{name}_said"]))
    assert said["scan"] == ({"shape": list(put.shape[:2])} if put.ndim == 4 else None)
    assert said["expect"] == len(found[name])
    if f"theirs_{name}" in found:
        assert found[f"theirs_{name}"].tobytes() == found[name].tobytes()


def test_batches_are_bounded_and_start_anywhere(found: dict[str, np.ndarray]) -> None:
    frames = FRAMES["a.xml"].reshape(-1, 128, 128)
    said = json.loads(str(found["a.xml_said"]))
    assert max(said["counts"]) * frames[0].nbytes <= 8 << 20
    assert len(said["counts"]) > 1
    assert found["part"].tobytes() == frames[95:].tobytes()
    assert json.loads(str(found["part_said"]))["firsts"][0] == 95
    assert not found["heavy"], "what starts a cluster is not even imported"


def test_the_scan_is_told_where_the_file_has_none(found: dict[str, np.ndarray]) -> None:
    assert json.loads(str(found["told_said"]))["scan"] == {"shape": [4, 3], "step": 0.5}
    assert "a.blo: the array has 3 x 4 positions, scan says 4 x 3" in str(found["wrong_error"])


def test_a_scan_that_was_broken_off_is_not_filled_up(found: dict[str, np.ndarray]) -> None:
    assert "10 patterns are not whole scans of 3 x 4 = 12" in str(found["ended.ser_error"])
    assert found["ended"].tobytes() == SMALL.reshape(12, 10, 14)[:10].tobytes()
    assert json.loads(str(found["ended_said"]))["scan"] == {"shape": [3, 4]}


def test_other_endings_go_there_by_name(found: dict[str, np.ndarray]) -> None:
    assert found["other.blo2"].tobytes() == FRAMES["a.blo"].tobytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut.blo", "patterns 0 to 11 cannot be read (AssertionError); the file is cut off"),
        ("cut.mrc", "mmap length is greater than file size"),
        ("cut.dm4", "is it whole"),
        ("cut.ser", "is it whole"),
        ("cut_000.tvips", "found a rest of"),
        ("cut.xml", "file size mismatch"),
        ("lost.xml", "lost.raw"),
        ("foreign.blo", "invalid magic number"),
        ("foreign.mrc", "is it whole, and of this format?"),
        ("foreign.ser", "Only little Endian"),
        ("foreign.dm4", "not a valid DM3 or DM4"),
        ("foreign_000.tvips", "Unknown TVIPS header version"),
        ("hybrid.dm4", "Cannot identify DM file as C-ordered"),
    ],
)
def test_bad_files_are_refused_in_a_line(
    found: dict[str, np.ndarray], name: str, message: str
) -> None:
    said = str(found[f"{name}_error"])
    assert message in said
    assert name in said
    assert "\n" not in said
