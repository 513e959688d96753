"""The amplitude below its band: when an alarm begins, when it ends, what it does not mind."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, run_analysis
from daq_afm.amplitude_watch import AmplitudeWatch
from tests.daq_afm.made_lines import TAPPING, scan_lines


def lines(ratios: list[float], **options: Any) -> Records:
    """Return lines of 8 pixels with these means of A/A0."""
    ripple = 0.01 * np.tile([-1.0, 1.0], 4)
    amplitude = 10 * (np.array(ratios)[:, None] + ripple)
    return scan_lines({"amplitude": amplitude[None]}, **{"attributes": TAPPING, **options})


def run(records: Records, **config: Any) -> Any:
    return run_analysis(AmplitudeWatch, {"afm": records.stream}, records.batches(2), config)


def test_an_alarm_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    ratios = [0.85, 0.84, 0.78, 0.77, 0.76, 0.75, 0.83, 0.79, 0.85, 0.86, 0.85, 0.85]
    with caplog.at_level(logging.INFO, logger="daq_afm"):
        found = run(lines(ratios))
    assert found["lines"]["alarm"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert found["lines"]["low_lines"].tolist() == [0, 0, 1, 2, 3, 4, 0, 1, 0, 0, 0, 0]
    assert found["alarms"]["raised"].tolist() == [1, 0]
    assert found["alarms"]["line"].tolist() == [4, 10]
    assert found["lines"]["amplitude_ratio"] == pytest.approx(ratios, abs=1e-6)
    assert found["lines"]["below"][[0, 3]].tolist() == [0, 1]
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]
    assert "the tip wears" in caplog.text


def test_single_lines_and_dead_lines_raise_no_alarm() -> None:
    ratios = [0.85, 0.5, 0.85, 0.5, 0.5, 0.85, np.nan, 0.85]
    found = run(lines(ratios))
    assert not found["lines"]["alarm"].any()
    assert np.isnan(found["lines"]["amplitude_ratio"][6])
    through = run(lines([0.7, 0.7, np.nan, 0.7]))["lines"]["alarm"]
    assert through.tolist() == [0, 0, 0, 1]


def test_the_retrace_counts_too() -> None:
    trace = np.full((1, 4, 8), 8.5)
    found = run(scan_lines({"amplitude": trace, "amplitude_retrace": trace - 2},
                           units={"amplitude_retrace": "nm"}, attributes=TAPPING))  # fmt: skip
    assert found["lines"]["amplitude_ratio"][0] == pytest.approx(0.75)
    assert found["lines"]["below"][0] == 0.5


def test_keeps_its_promises() -> None:
    ratios = np.random.default_rng(1).uniform(0.7, 0.9, 40).tolist()
    check_analysis(AmplitudeWatch, lines(ratios), {}, reconfigure_to={"band": 0.02, "lines": 1}, runs=2)  # fmt: skip


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="give amplitude_setpoint = "):
        run(lines([0.85], attributes={"free_amplitude": 10.0}))
    with pytest.raises(ValueError, match="the set point is 850 of the free amplitude"):
        run(lines([0.85]), free_amplitude=0.01)
    with pytest.raises(ValueError, match="amplitude is in 'V'"):
        run(lines([0.85], units={"amplitude": "V"}))
