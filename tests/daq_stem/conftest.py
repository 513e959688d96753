"""Merlin files: real ones, where they are, and made ones."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the real Merlin files, extracted."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("GLASSWATCH_SHARED_DATA", beside))
    archive = folder / "merlin_single_quad.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive.name} in {folder} (set GLASSWATCH_SHARED_DATA)")
    target = tmp_path_factory.mktemp("merlin")
    with zipfile.ZipFile(archive) as content:
        content.extractall(target)
    return target


TYPES = {1: "U08", 2: "U16", 4: "U32", 8: "U64"}


def frame_bytes(
    number: int,
    frame: np.ndarray,
    *,
    utc: str | None = "2021-04-15T13:44:43.100924481Z",
    local: str = "2021-04-15 14:44:43.100924",
    counter: int = 0,
    depth: int = 12,
    kind: str | None = None,
) -> bytes:
    """Return one frame as a Merlin camera writes it: 384 bytes of header, bottom row first."""
    height, width = frame.shape
    header = (
        f"MQ1,{number:06d},00384,01,{width:04d},{height:04d},{kind or TYPES[frame.itemsize]},"
        f"   1x1,01,{local},0.001000,{counter},0,0,"
        + ",".join(["2.000000E+0"] * 8)
        + ",3RX,"
        + "011," * 20
    )
    if utc is not None:
        header += f"MQ1A,{utc},1000000ns,{depth},"
    return (
        header.encode().ljust(384, b"\0")
        + frame[::-1].astype(frame.dtype.newbyteorder(">")).tobytes()
    )


@pytest.fixture
def write_mib(tmp_path: Path) -> Callable[..., Path]:
    """Write frames with the given numbers; ``cut`` bytes are left out at the end."""

    def write(frames: Sequence[np.ndarray], numbers: Sequence[int] | None = None, *,
              cut: int = 0, hdr: str | None = None, **header: object) -> Path:  # fmt: skip
        numbers = range(1, len(frames) + 1) if numbers is None else numbers
        content = b"".join(
            frame_bytes(number, frame, **header)  # type: ignore[arg-type]
            for number, frame in zip(numbers, frames, strict=True)
        )
        path = tmp_path / "made.mib"
        path.write_bytes(content[: len(content) - cut])
        if hdr is not None:
            path.with_suffix(".hdr").write_text(hdr)
        return path

    return write
