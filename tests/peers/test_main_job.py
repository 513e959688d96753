"""The main job on real frames: bus, virtual detectors, recorder and picture, against rosettasciio."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - the filter of the frames
import numpy as np
import pytest

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

TREE = Path(__file__).resolve().parents[2]
FILES = {
    "quad": "Quad_9_Frame_CounterDepth_12_Rows_256",
    "single": "Single_9_Frame_CounterDepth_24_Rows_256",
}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, as names of sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    yield folder
    shutil.rmtree(folder)


def test_frames_through_bus_virtual_recorder_and_picture(
    peer: Callable[[str], Any], merlin_files: Path, short_folder: Path
) -> None:
    oracle = peer("nexus_readers").run(
        "read_with_rosettasciio.py", paths=[merlin_files / f"{name}.mib" for name in FILES.values()]
    )
    config = short_folder / "merlin.toml"
    config.write_text(
        f'[bus]\nendpoint = "ipc://{short_folder}/bus"\n'
        + "".join(
            f"""
            [sources.{name}]
            type = "file"
            path = "{merlin_files}/{file}.mib"
            [analyses.of_{name}]
            type = "virtual"
            input = "{name}"
            discs = {{ bright_field = 60.0 }}
            """
            for name, file in FILES.items()
        )
    )
    path = os.pathsep.join(str(TREE / part) for part in ("", "plugins", "simulators"))
    done = subprocess.run(
        [sys.executable, "-m", "daq", "run", config, "--headless", "--output", short_folder],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (master,) = short_folder.glob("*/*.nxs")
    with h5py.File(master) as file:
        for name, stem in FILES.items():
            frames = file[f"entry/{name}/frame"][:]
            np.testing.assert_array_equal(frames, oracle[f"{stem}.frames"])
            total = file[f"entry/of_{name}.sums/total"][:]
            np.testing.assert_array_equal(total, oracle[f"{stem}.sums"].astype(np.float64))
    # a run may do without a picture where Qt's system libraries lack, and says so then
    if "picture" in done.stdout.splitlines()[-1]:
        (picture,) = short_folder.glob("*/*.png")
        assert picture.stat().st_size > 20_000
