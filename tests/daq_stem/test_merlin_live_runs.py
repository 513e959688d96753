"""Whole runs with a Merlin camera: the configuration, and cameras and sources that fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (reads compressed frames)
import numpy as np
import pytest
from merlin_cameras import Script, frames, header, made, refused_port

from daq_simulators.merlin_detector import Images, MerlinDetector, rings

CONFIGS = Path(__file__).parents[2] / "configs"
IMAGES = made(10)

Runs = Callable[..., Any]


def config(port: int, more: str = "") -> str:
    return f"""
[sources.merlin]
type = "merlin"
host = "127.0.0.1"
port = {port}
{more}
"""


def recorded(run: Any) -> h5py.File:
    (master,) = run.run_folder.glob("*.nxs")
    return h5py.File(master)


def test_the_configuration(start_run: Runs) -> None:
    images = rings((64, 64), 32)
    with MerlinDetector(Images(images), speed=0) as camera:
        values = {"host": "'127.0.0.1'", "port": camera.data_port, "scan": "[8, 8]",
                  "command_port": camera.command_port}  # fmt: skip
        changes = [f"sources.merlin.{key}={value}" for key, value in values.items()]
        changes += ["analyses.virtual.annuli.dark_field=[12.0,20.0]"]
        run = start_run(
            (CONFIGS / "merlin-live.toml").read_text(),
            *(word for change in changes for word in ("--set", change)),
        )
        assert run.finish() == 0, run.said()
    with recorded(run) as file:
        stream = file["entry/merlin"]
        np.testing.assert_array_equal(stream["frame"], np.concatenate([images] * 4))
        assert stream.attrs["status"] == "complete"
        assert (np.diff(stream["time"][:64]) == 1_000_000).all()
        bright = file["entry/virtual.sums/bright_field"][()]
    y, x = np.indices((64, 64))
    inside = np.hypot(y - 31.5, x - 31.5) <= 20
    np.testing.assert_allclose(bright[:32], images[:, inside].sum(1), rtol=0.05)


CUT_OFF = frames(IMAGES)[:-100]
OTHER = header(10) + frames(made(10, shape=(4, 8)))


@pytest.mark.parametrize(
    ("text", "more", "stay", "count", "said"),
    [
        (header(10) + CUT_OFF, "reconnect = 0", False, 9, r"is gone .* after 9 of 10 frames"),
        (header(10) + frames(IMAGES[:4]), "stall = 0.3", True, 4, "no frame for 0.3 s"),
        (
            b"garbage" * 500 + header(10) + frames(IMAGES) + OTHER, "acquisitions = 2", True, 10,
            r"now sends frames of 4 x 8 .* the stream is of 6 x 8",
        ),
    ],
    ids=["gone", "stalled", "other_size"],
)  # fmt: skip
def test_what_came_is_in_the_file_and_the_run_is_aborted(
    start_run: Runs, text: bytes, more: str, stay: bool, count: int, said: str
) -> None:
    with Script(text, stay=stay) as script:
        run = start_run(config(script.port, more))
        assert run.finish() == 1
    assert re.search(f"error: merlin: .*{said}", run.said()), run.said()
    assert re.search(rf"{said}.*: {count} of \d+ records", run.said()), run.said()
    with recorded(run) as file:
        stream = file["entry/merlin"]
        np.testing.assert_array_equal(stream["frame"], IMAGES[:count])
        assert stream.attrs["status"] == "aborted"
        assert stream["valid"][()].all()


def test_no_camera(start_run: Runs) -> None:
    with refused_port() as port:
        run = start_run(config(port))
        assert run.finish() == 1
    assert f"no Merlin at 127.0.0.1:{port}: Connection refused" in run.said()


def test_a_source_that_is_killed_goes_on(start_run: Runs) -> None:
    with MerlinDetector(Images(IMAGES), free_running=True) as camera:
        camera.parameters |= {"NUMFRAMESTOACQUIRE": "40", "ACQUISITIONPERIOD": "20"}
        run = start_run(config(camera.data_port, "acquisitions = 2"))
        run.until_records("merlin", 5)
        assert run.kill("daq.runtime.source_process") == 1
        camera.parameters["ACQUISITIONPERIOD"] = "1"
        assert run.finish() == 0, run.said()
    with recorded(run) as file:
        stream = file["entry/merlin"]
        found, valid = stream["frame"][()], stream["valid"][()]
    # this camera begins again when a client comes: the first acquisition is cut off, nothing is shifted
    expected = np.concatenate([IMAGES] * 8)
    before = int(valid[:40].sum())
    assert 5 <= before < 40
    np.testing.assert_array_equal(valid, (np.arange(80) < before) | (np.arange(80) >= 40))
    np.testing.assert_array_equal(found[valid], expected[valid])
