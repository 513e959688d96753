"""Whole runs with a SECoP node: the configurations, and nodes and sources that die."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from daq.testing import record_source, run_analysis
from daq_secop.source import Secop
from daq_simulators.stem_camera import StemCamera
from daq_stem.ecm.analysis import Ecm
from tests.daq_secop.conftest import DOUBLE, ScriptedNode, module

CONFIGS = Path(__file__).parents[2] / "configs"
START = 1767225600.0

Runs = Callable[..., Any]


def settings(**values: Any) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"sources.{key}={value}")]


def recorded(run: Any) -> h5py.File:
    (master,) = run.run_folder.glob("*.nxs")
    return h5py.File(master)


def test_a_furnace_is_recorded(start_run: Runs, simulated: Runs) -> None:
    node = simulated(speed=20.0, noise=0.1, program=[(5.0, 320.0)], fault=(10.0, 12.0))
    changes = {"host": "'127.0.0.1'", "port": node.port, "duration": 40, "clock_tolerance": 1e9}
    run = start_run(
        (CONFIGS / "secop-furnace.toml").read_text(),
        *settings(**{f"furnace.{key}": value for key, value in changes.items()}),
    )
    assert run.finish() == 0, run.said()
    with recorded(run) as file:
        sample, heater = file["entry"]["furnace.sample"], file["entry"]["furnace.heater"]
        seconds = (sample["time"][()] - START * 1e9) / 1e9
        value, target = sample["value"][()], sample["target"][()]
        assert sample["value"].attrs["units"] == "K"
        assert heater["value"].attrs["units"] == "W"
        log = b"\n".join(file["entry"]["run.log"]["message"][()])
    np.testing.assert_array_equal(seconds, np.arange(len(seconds)))
    assert 41 <= len(seconds) < 60
    np.testing.assert_array_equal(target, np.where(seconds < 5, 300, 320))
    np.testing.assert_array_equal(np.isnan(value), (seconds >= 10) & (seconds < 12))
    assert abs(value[-1] - 320) < 0.5
    assert b"sample says error (400): sensor disconnected" in log


def test_source_and_node_may_die(start_run: Runs, scripted: Runs) -> None:
    node: ScriptedNode = scripted(sample=module(target=DOUBLE))
    run = start_run(
        f'[sources.furnace]\ntype = "secop"\nhost = "127.0.0.1"\nport = {node.port}\n'
        "reconnect = 2\n"
    )

    def lives(number: int, first: int) -> None:
        """A life of the connection: three records, the first of them the present value."""
        node.until_asked("activate", number)
        for at in range(first + 1, first + 3):
            node.update("sample:value", at, START + at)
        run.until_records("furnace.sample", first + 3)

    node.present = [f'update sample:value [0, {{"t": {START}}}]']
    lives(1, 0)
    node.present = [f'update sample:value [3, {{"t": {START + 3}}}]']
    assert run.kill("daq.runtime.source_process") == 1
    lives(2, 3)
    node.present = [f'update sample:value [6, {{"t": {START + 6}}}]']
    node.vanish()
    node.listen()
    lives(3, 6)
    node.vanish()
    assert run.finish() == 1
    assert f"no SECoP node at 127.0.0.1:{node.port} for 2 s" in run.said()
    with recorded(run) as file:
        sample = file["entry"]["furnace.sample"]
        np.testing.assert_array_equal(sample["value"], np.arange(9))
        np.testing.assert_array_equal(sample["time"], (START + np.arange(9)) * 1e9)
        assert sample["valid"][()].all()
        assert sample.attrs["status"] == "aborted"


def test_maps_have_the_temperature_that_the_holder_measured(simulated: Runs) -> None:
    """5d-stem-secop.toml with fewer positions and scans, by direct calls."""
    node = simulated(speed=2000.0, start=633.0, ramp=120.0, program=[(60.0, 653.0)])
    config = tomllib.loads((CONFIGS / "5d-stem-secop.toml").read_text())
    camera = {
        **config["sources"]["camera"], "speed": 0, "scans": 12, "scan": [10, 14],
        "temperature_steps": [[6, 653.0]],
    }  # fmt: skip
    holder = {
        **config["sources"]["holder"], "host": "127.0.0.1", "port": node.port, "duration": 120,
    }  # fmt: skip
    ecm = {**config["analyses"]["ecm"], "replicas": 16, "history": 6}
    assert [table.pop("type") for table in (camera, holder, ecm)] == ["stem_camera", "secop", "ecm"]
    inputs = [name for name in ecm.pop("inputs") if name != "drift.shifts"]
    found = {
        **record_source(Secop, holder, name="holder"),
        **record_source(StemCamera, camera, name="camera"),
    }
    result = run_analysis(
        Ecm,
        {name: found[name].stream for name in inputs},
        [batch for name in inputs for batch in found[name].batches(512)],
        ecm,
    )["summary"]

    # a scan during which the holder ramps belongs to no stage
    valid = np.isfinite(result["temperature"])
    np.testing.assert_array_equal(np.flatnonzero(~valid), [6, 7])
    np.testing.assert_array_equal(result["stage"][valid], [0] * 6 + [1] * 4)
    true = np.array([633.0] * 6 + [653.0] * 4)
    np.testing.assert_allclose(result["temperature"][valid], true, atol=0.1)
    assert found["holder.specimen"].stream.fields["temperature"].units == "K"
