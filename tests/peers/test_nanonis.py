"""The simulated controller, asked by two packages that others use on real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from daq_simulators.nanonis_controller import Controller, ScanEngine, signal_names

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]


def test_nanonis_spm_and_nanonis_tcp_understand_it(peer: Callable[[str], Any]) -> None:
    now = [0.0]
    engine = ScanEngine(32, 48, line_time=0.5, size=(100e-9, 50e-9), clock=lambda: now[0])
    engine.start(upwards=True)
    now[0] = 10.1
    with Controller(engine) as controller:
        found = peer("nanonis").run("ask_nanonis.py", port=controller.port, error=True)
    spm = {name[4:]: json.loads(str(found[name])) for name in found if "Get" in name}
    assert spm["Signals_NamesGet"][2] == signal_names() == found["tcp_names"].tolist()
    assert spm["Scan_StatusGet"] == [1]
    assert bool(found["tcp_running"])
    frame = np.float32([0, 0, 100e-9, 50e-9, 0])
    np.testing.assert_array_equal(np.float32(spm["Scan_FrameGet"]), frame)
    np.testing.assert_array_equal(np.float32(found["tcp_frame"]), frame)
    assert spm["Scan_BufferGet"] == [3, [[14], [24], [25]], 48, 32]
    assert json.loads(str(found["tcp_buffer"])) == [3, [14, 24, 25], 48, 32]
    assert spm["Scan_SpeedGet"][2:4] == [0.25, 0.25]
    assert found["tcp_speed"].tolist()[2:4] == [0.25, 0.25]
    assert found["tcp_slots"].tolist() == signal_names()[:24]
    assert spm["TCPLog_StatusGet"] == [1]
    for name, direction in (("spm", 1), ("tcp", 0)):
        assert str(found[f"{name}_name"]) == "Z (m)"
        assert bool(found[f"{name}_up"])
        np.testing.assert_array_equal(found[f"{name}_grab"], engine.buffer(14, direction))
    assert np.isnan(found["spm_grab"][:11]).all()
    assert np.isfinite(found["spm_grab"][12:]).all()
    assert str(found["spm_error"]) == "Channel 99 is not among the acquired channels"
    assert json.loads(str(found["tcp_properties"]))[:3] == [1, 0, 2]
