"""What is doubtful about readings is said by ramps and by ageing too, once each."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import record_source, run_analysis
from daq_mechanical.ageing import Ageing
from daq_mechanical.beta_relaxation import BetaRelaxation
from daq_mechanical.doubt_log import DoubtLog
from daq_mechanical.moduli import ANGULAR, COMPLIANCE, NEGATIVE
from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer

RAMP = {"interval": 20.0, "end_temperature": 440.0, "frequencies": [0.1, 0.3, 1.0, 3.0, 10.0]}
AGEING = {
    "programme": "ageing", "temperatures": [343.0], "interval": 600.0, "ageing_times": [600.0],
    "frequencies": [0.1, 0.32, 1.0, 3.2, 10.0, 32.0],
}  # fmt: skip


def as_compliance(raw: dict[str, Any]) -> dict[str, Any]:
    J = 1e20 / (raw["storage_modulus"] + 1j * raw["loss_modulus"])
    return raw | {"storage_modulus": J.real, "loss_modulus": -J.imag}


def in_rad(raw: dict[str, Any]) -> dict[str, Any]:
    return raw | {"frequency": 2 * np.pi * raw["frequency"]}


@pytest.mark.parametrize(
    ("change", "said"), [(as_compliance, "as a compliance does"), (in_rad, "in rad/s, not in Hz")]
)
@pytest.mark.parametrize(("analysis", "config"), [(BetaRelaxation, RAMP), (Ageing, AGEING)])
def test_wrong_quantities_are_warned_of_once(
    analysis: Any, config: Any, change: Any, said: str, caplog: Any
) -> None:
    readings = record_source(MechanicalSpectrometer, {"speed": 0.0, **config}, name="dma")["dma"]
    with caplog.at_level(logging.WARNING):
        run_analysis(analysis, {"dma": readings.stream}, readings.batches(64), {})
        assert not caplog.messages, "nothing is wrong with what the instrument gives"
        wrong = [
            daq.Batch("dma", change(dict(b.raw)), b.first, b.valid) for b in readings.batches(64)
        ]
        run_analysis(analysis, {"dma": readings.stream}, wrong, {})
    assert sum(said in message for message in caplog.messages) == 1
    assert "dma: " in caplog.text


def test_each_doubt_is_said_once(caplog: Any) -> None:
    log = DoubtLog("dma")
    log.warn(COMPLIANCE, "sweep 1")
    log.warn(COMPLIANCE | ANGULAR, "sweep 2")
    log.warn(COMPLIANCE | ANGULAR, "sweep 3")
    log.warn(NEGATIVE, "sweep 4")
    assert [message.split(": ")[1] for message in caplog.messages] == [
        "sweep 1",
        "sweep 2",
        "sweep 4",
    ]
