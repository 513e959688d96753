"""The views of mechanical spectroscopy and indentation, drawn without a screen through the viewer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.viewer import availability

if (reason := availability()) is not None:
    pytest.skip(reason, allow_module_level=True)

import pyqtgraph as pg
from PySide6 import QtCore, QtWidgets

import daq_mechanical
from daq.testing import record_source, run_analysis
from daq.viewer import window
from daq.viewer.scene import Scene
from daq.viewer.theme import DARK, LIGHT
from daq_mechanical.ageing import Ageing
from daq_mechanical.beta_relaxation import BetaRelaxation
from daq_mechanical.creep import Creep
from daq_mechanical.double_well import DoubleWell
from daq_mechanical.indentation import Indentation
from daq_mechanical.master_curve import MasterCurve
from daq_mechanical.quasi_point_defects import QuasiPointDefects
from daq_mechanical.relaxation_spectrum import RelaxationSpectrum
from daq_mechanical.spectrum_fit import SpectrumFit
from daq_mechanical.stress_relaxation import StressRelaxation
from daq_mechanical.temperature_laws import TemperatureLaws
from daq_mechanical.views import VIEWS
from daq_mechanical.views.wording import (
    duration,
    number,
    parts,
    ramp_of_colours,
    scale_key,
    shorter,
    with_error,
)
from daq_simulators.mechanical_indenter import Nanoindenter
from daq_simulators.mechanical_relaxation_tester import RelaxationTester
from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer

FREQUENCIES = [0.01, 0.0316, 0.1, 0.316, 1.0, 3.16, 10.0, 31.6]


@pytest.fixture(scope="module")
def application() -> Any:
    with window._application(offscreen=True) as running:
        yield running


@pytest.fixture
def shown(application: Any) -> Any:
    windows = []

    def show(*outputs: Any) -> Any:
        scene = Scene(VIEWS)
        for output in outputs:
            scene.opened(output.stream)
        drawn = window.Window(scene, DARK)
        drawn.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
        drawn.resize(1300, 900)
        drawn.show()
        windows.append(drawn)
        for output in outputs:
            batches = output.batches(256) if callable(output.batches) else output.batches
            for batch in batches:
                scene.absorb(daq.Batch(output.stream.name, batch.raw, batch.first, batch.valid))
        for _ in range(3):
            drawn.tick(budget=float("inf"))
            drawn.grab()
            QtWidgets.QApplication.processEvents()
        assert scene.refused == ""
        return {
            panel.spec.view.name: panel for panel in drawn.panels() if panel.spec.view is not None
        }

    yield show
    for drawn in windows:
        drawn.close()
        drawn.deleteLater()
    application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def measured(instrument: type[daq.Source], **config: Any) -> Any:
    """Return the readings of a simulated instrument."""
    return record_source(instrument, {"speed": 0.0, **config}, name="dma")["dma"]


def run(analysis: type[daq.Analysis], given: Any, **config: Any) -> Any:
    """Run an analysis over records, or over what another one gave."""
    batches = given.batches(256) if callable(given.batches) else given.batches
    return run_analysis(analysis, {given.stream.name: given.stream}, batches, config)


def words(panel: Any) -> str:
    labels = panel.findChildren(QtWidgets.QLabel)
    return " | ".join(label.text() for label in labels if label.isVisibleTo(panel))


def axes(panel: Any) -> list[str]:
    """What the axes that are shown say."""
    found = items(panel, pg.AxisItem)
    return [axis.labelText for axis in found if axis.isVisible() and axis.labelText]


def items(panel: Any, kind: Any) -> list[Any]:
    views = panel.findChildren(pg.GraphicsView)
    return [item for view in views for item in view.scene().items() if isinstance(item, kind)]


def counted(panel: Any) -> list[int]:
    """How many points each series has."""
    found = [len(item.data) for item in items(panel, pg.ScatterPlotItem)]
    return sorted(number for number in found if number)


def barred(panel: Any) -> int:
    """How many points have an error bar."""
    return sum(len(item.opts["x"]) for item in items(panel, pg.ErrorBarItem))


@pytest.fixture(scope="module")
def sweeps() -> Any:
    readings = measured(
        MechanicalSpectrometer, programme="sweeps", temperatures=[474.0, 482.0, 490.0],
        frequencies=FREQUENCIES, beta_strength=0.0, fast_strength=0.0, alpha_glass_energy="liquid",
    )  # fmt: skip
    return readings, run(SpectrumFit, readings), run(MasterCurve, readings)


def test_a_sweep_is_drawn_with_its_fit_and_residuals(shown: Any, sweeps: Any) -> None:
    _, fits, _ = sweeps
    panels = shown(fits["curves"], fits["fits"])
    panel = panels["spectrum and fit"]
    assert "sweep 2" in words(panel)
    assert "490.0 K" in words(panel)
    assert "Havriliak-Negami" in words(panel) or "HN" in words(panel)
    assert counted(panel) == [8, 8, 8, 8], "both moduli, and what is left of both"
    assert barred(panel) == 16
    assert len([c for c in items(panel, pg.PlotDataItem) if c.xData is not None]) >= 2
    assert counted(panels["times and exponents"])[-1] >= 2


def test_a_sweep_that_was_refused_says_so(shown: Any, sweeps: Any) -> None:
    readings, _, _ = sweeps
    batches = [
        daq.Batch("dma", {**b.raw, "storage_modulus": 1e18 / b.raw["storage_modulus"]})
        for b in readings.batches(256)
    ]
    found = run_analysis(SpectrumFit, {"dma": readings.stream}, batches, {})
    assert "not fitted" in words(shown(found["curves"], found["fits"])["spectrum and fit"])


def test_a_master_curve_with_its_shifts_and_laws(shown: Any, sweeps: Any) -> None:
    _, fits, master = sweeps
    laws = run(TemperatureLaws, master["shifts"], T_g=461.0)
    panels = shown(master["curve"], master["shifts"], laws["fit"])
    curve = panels["master curve"]
    assert "3 sweeps \u00b7 at 474.0 K" in words(curve)
    assert "490 K" in words(curve)
    assert counted(curve) == [8] * 6
    shifts = panels["shifts"]
    assert counted(shifts) == [3, 3]
    assert barred(shifts) == 3
    law = panels["VFT and Arrhenius"]
    assert "kJ/mol" in words(law)
    assert any("a_T" in label for label in axes(law))
    # from the fits tau itself is known
    absolute = run(TemperatureLaws, fits["fits"])
    law = shown(absolute["fit"])["VFT and Arrhenius"]
    assert any("\u03c4/s" in label for label in axes(law))


def test_a_spectrum_of_relaxation_times_with_its_resolution(shown: Any, sweeps: Any) -> None:
    _, _, master = sweeps
    found = run(RelaxationSpectrum, master["curve"])
    panel = shown(found["spectrum"])["spectrum of relaxation times"]
    assert "resolves" in words(panel)
    assert "\u0394M" in words(panel)
    assert {"H (GPa)", "relaxation time (s)"} <= set(axes(panel))


def test_a_ramp_with_its_beta_relaxation(shown: Any) -> None:
    readings = measured(
        MechanicalSpectrometer, frequencies=[1.0, 10.0], heating_rate=3.0, interval=10.0
    )
    beta = run(BetaRelaxation, readings, every=256)
    panels = shown(beta["curve"], beta["summary"], readings)
    curve = panels["beta relaxation"]
    assert "\u03b2: peak" in words(curve)
    assert counted(curve).count(1) >= 2, "the alpha peak and what the beta relaxation shows as"
    assert "kJ/mol" in words(panels["energy of the beta relaxation"])
    assert sum(counted(panels["moduli"])) == 3 * len(readings["time"])


def test_chi_of_several_frequencies_and_samples(shown: Any) -> None:
    readings = measured(
        MechanicalSpectrometer, frequencies=[1.0, 3.0, 10.0, 30.0], states=[1.0, 0.7],
        beta_strength=0.02, start_temperature=420.0, heating_rate=3.0, interval=5.0,
    )  # fmt: skip
    found = run(QuasiPointDefects, readings, T_g=461.0, width=5.0)
    panels = shown(found["chi"], found["states"])
    assert "\u03c7" in words(panels["chi"])
    assert sum(counted(panels["chi"])) == np.count_nonzero(np.isfinite(found["chi"]["chi"]))
    glass = panels["chi of the glass"]
    assert counted(glass) == [2]
    assert "errors from the first" in words(glass)


def test_a_ramp_that_has_not_passed_the_alpha_peak(shown: Any) -> None:
    readings = measured(
        MechanicalSpectrometer, frequencies=[1.0], end_temperature=440.0, interval=20.0
    )
    beta = run(BetaRelaxation, readings, every=64)
    panels = shown(beta["curve"], beta["summary"])
    assert "\u03b1 peak not passed" in words(panels["beta relaxation"])
    assert "one frequency tells no energy" in words(panels["energy of the beta relaxation"])


def test_stress_relaxation_and_creep(shown: Any) -> None:
    relaxed = measured(RelaxationTester, temperatures=[440.0, 470.0], points=40)
    crept = measured(
        RelaxationTester, programme="creep", temperatures=[440.0, 460.0], points=30, stress=2e7
    )
    fits = run(StressRelaxation, relaxed)
    panels = shown(fits["fits"], fits["exponents"], relaxed)
    assert "b 0." in words(panels["stress relaxation"])
    assert "440 K" in words(panels["stress relaxation"])
    assert len(counted(panels["stress relaxation"])) == 2
    assert "2 of 2 steps determined" in words(panels["exponents"])
    assert counted(panels["exponents"]) == [2, 2, 2]
    assert barred(panels["exponents"]) == 6
    assert counted(panels["strain and stress"]) == [80, 80, 80]
    panel = shown(run(Creep, crept)["fits"])["creep"]
    assert "Pa s" in words(panel)
    assert len(counted(panel)) == 2


def test_an_ageing_glass_and_its_double_well(shown: Any) -> None:
    readings = measured(
        MechanicalSpectrometer, programme="ageing", temperatures=[343.0], interval=120.0,
        frequencies=[0.1, 0.32, 1.0, 3.2, 10.0, 32.0, 100.0],
    )  # fmt: skip
    ageing = run(Ageing, readings)
    well = run(DoubleWell, ageing["states"])
    panels = shown(ageing["loss"], ageing["states"], well["fit"])
    assert "433 K, 0.1 Hz" in words(panels["loss while ageing"])
    assert "4.5 h" in words(panels["loss while ageing"])
    assert "5 states \u00b7 newest against first" in words(panels["states"])
    assert counted(panels["states"])[-5:] == [7] * 5
    assert "a " in words(panels["double well"])
    assert barred(panels["double well"]) == len(well["fit"]["states"]) + 2


def test_indents_their_maps_and_histograms(shown: Any) -> None:
    readings = measured(Nanoindenter, shape=[3, 4], sampling_rate=5000.0)
    found = run(Indentation, readings)
    panels = shown(found["maps"], found["indents"], found["histograms"], readings)
    assert "12 of 12 indents" in words(panels["maps"])
    pictures = [i for i in items(panels["maps"], pg.ImageItem) if i.image is not None]
    assert sum(i.image.shape == (3, 4) for i in pictures) == 3
    assert {"G (GPa)", "t_c (ms)", "\u03b7 (MPa s)", "x (um)"} <= set(axes(panels["maps"]))
    assert "indent 11" in words(panels["indent"])
    assert "GPa" in words(panels["indent"])
    assert "\u03b7" in words(panels["histograms"])
    curves = [c for c in items(panels["histograms"], pg.PlotDataItem) if c.xData is not None]
    assert len(curves) == 6
    assert "indent 11" in words(panels["load and depth"])


def test_every_view_is_registered_once() -> None:
    assert daq_mechanical.daq_views() == VIEWS
    assert len({view.name for view in VIEWS}) == len(VIEWS)


def test_words() -> None:
    assert with_error(0.5031, 0.0123) == "0.503 \u00b1 0.012"
    assert with_error(694.93, 8.0) == "695 \u00b1 8"
    assert with_error(3.142e12, 2.1e10) == "(3.142 \u00b1 0.021)e12"
    assert with_error(2.5e-5, 4e-6) == "(2.5 \u00b1 0.4)e\u22125"
    assert with_error(np.nan, 1.0) == "\u2013"
    assert with_error(3.14159, np.nan) == "3.14"
    assert number(-0.00001234) == "\u22121.23e\u221205" or number(-0.00001234).startswith(
        "\u22121.23e"
    )
    assert number(1.5e12, 2) == "1.5e12"
    assert duration(90.0) == "90 s"
    assert duration(1800.0) == "30 min"
    assert duration(16200.0) == "4.5 h"
    assert shorter(["a", "", "b"]) == ["a \u00b7 b", "a"]
    assert parts([3.0, 1.0, 2.0]).tolist() == [1.0, 0.0, 0.5]
    assert parts([5.0]).tolist() == [0.5]


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
def test_colours_run_from_blue_to_red(theme: Any) -> None:
    assert ramp_of_colours(theme, 0.0) == theme.blue
    assert ramp_of_colours(theme, 1.0) == theme.red
    assert len({ramp_of_colours(theme, part) for part in np.linspace(0, 1, 20)}) == 20
    every, few, ends = scale_key(theme, range(9), [f"{n} K" for n in range(9)])
    assert [text for _, text in every] == [f"{n} K" for n in range(9)]
    assert len(few) <= 5
    assert [text for _, text in ends] == ["0 K", "8 K"]
