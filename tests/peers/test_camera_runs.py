"""Configurations of cameras, each run whole against the simulated camera of another program."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (reads compressed frames)
import numpy as np
import pytest

from .conftest import HERE, TREE, clean_environment
from .test_merlin_live import from_file, simulated

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

CONFIGS = TREE / "configs"


def finished(start_run: Callable[..., Any], name: str, **values: Any) -> h5py.File:
    """Run a configuration with some values changed; return its file, every stream of which is whole."""
    changes = [f"{key.replace('__', '.')}={value}" for key, value in values.items()]
    text = (CONFIGS / name).read_text()
    run = start_run(text, *(word for change in changes for word in ("--set", change)))
    assert run.finish(240.0) == 0, run.said()
    (master,) = run.run_folder.glob("*.nxs")
    file = h5py.File(master)
    streams = [g for g in file["entry"].values() if "status" in getattr(g, "attrs", {})]
    assert {stream.attrs["status"] for stream in streams} == {"complete"}
    return file


def test_merlin_live_with_the_simulated_camera_of_libertem(
    peer: Callable[[str], Any], merlin_files: Path, tmp_path: Path, start_run: Callable[..., Any]
) -> None:
    path = merlin_files / "Quad_9_Frame_CounterDepth_12_Rows_256.mib"
    with simulated(peer, path, tmp_path / "log", "--wait-trigger") as where:
        file = finished(
            start_run, "merlin-live.toml", sources__merlin__host="'127.0.0.1'",
            sources__merlin__port=where["port"],
            sources__merlin__command_port=where["command_port"], sources__merlin__scan="[3,3]",
            analyses__virtual__image_every=9,
        )  # fmt: skip
    frames, times = from_file(path)
    with file:
        stream = file["entry/merlin"]
        np.testing.assert_array_equal(stream["frame"], np.concatenate([frames, frames]))
        np.testing.assert_array_equal(stream["time"], np.concatenate([times, times]))
        assert np.isfinite(file["entry/virtual.sums/dark_field"]).all()


def test_dectris_listen_with_the_simulated_quadro_of_libertem(
    peer: Callable[[str], Any], start_run: Callable[..., Any]
) -> None:
    """Stream version 1; frame n holds n in each of 512 x 512 pixels."""
    command = [peer("libertem_dectris").python, HERE / "serve_libertem_dectris.py", "40"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment()
    ) as program:
        watchdog = threading.Timer(240, program.kill)
        watchdog.start()
        assert program.stdin is not None and program.stdout is not None
        port = int(program.stdout.readline().rsplit(":", 1)[1])
        program.stdin.write("go\n")
        program.stdin.flush()
        file = finished(
            start_run, "dectris-listen.toml", sources__camera__host="'127.0.0.1'",
            sources__camera__port=port, sources__camera__format="'legacy'",
            sources__camera__series=1, sources__camera__scan="[5,8]",
            analyses__virtual__image_every=40,
        )  # fmt: skip
        watchdog.cancel()
    with file:
        frames = file["entry/camera/frame"]
        assert frames.shape == (40, 512, 512)
        assert (frames[:, 100, 200] == np.arange(40)).all()
        total = file["entry/virtual.sums/total"][()]
        np.testing.assert_array_equal(total, np.arange(40) * 512.0 * 512.0)
