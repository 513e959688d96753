"""The views of calorimetry, drawn without a screen through the viewer itself."""

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

from daq.testing import run_analysis
from daq.viewer import window
from daq.viewer.scene import Scene
from daq.viewer.theme import DARK
from daq_thermal.activation_spectrum import ActivationSpectrum
from daq_thermal.enthalpy_relaxation import EnthalpyRelaxation
from daq_thermal.excess_enthalpy import ExcessEnthalpy
from daq_thermal.glass_transition import GlassTransition
from daq_thermal.interstitialcy_heat import Interstitialcy
from daq_thermal.kissinger import Kissinger
from daq_thermal.modulated import Modulated
from daq_thermal.views import VIEWS, annealed, said, smoothed
from tests.daq_thermal.simulated import measured
from tests.daq_thermal.test_ageing import aged, fitted
from tests.daq_thermal.test_interstitialcy_heat import CONFIG as SHEAR
from tests.daq_thermal.test_interstitialcy_heat import heated
from tests.daq_thermal.test_modulated import CONFIG, SCAN


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
        drawn.resize(1200, 800)
        drawn.show()
        windows.append(drawn)
        for output in outputs:
            for batch in output.batches:
                scene.absorb(daq.Batch(output.stream.name, batch.raw, batch.first, batch.valid))
        for _ in range(3):
            drawn.tick(budget=float("inf"))
            drawn.grab()
            QtWidgets.QApplication.processEvents()
        assert scene.refused == ""
        return {panel.spec.view: panel for panel in drawn.panels()}

    yield show
    for drawn in windows:
        drawn.close()
        drawn.deleteLater()
    application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def run(analysis: type[daq.Analysis], stream: Any, **config: Any) -> Any:
    """Run an analysis over records, or over what another one gave."""
    batches = stream.batches(256) if callable(stream.batches) else stream.batches
    return run_analysis(analysis, {stream.stream.name: stream.stream}, batches, config)


def words(panel: Any) -> str:
    labels = panel.findChildren(QtWidgets.QLabel)
    return " | ".join(label.text() for label in labels if label.isVisibleTo(panel))


def items(panel: Any, kind: Any) -> list[Any]:
    views = panel.findChildren(pg.GraphicsView)
    return [item for view in views for item in view.scene().items() if isinstance(item, kind)]


def counted(panel: Any) -> list[int]:
    """How many points each series has."""
    found = [len(item.data) for item in items(panel, pg.ScatterPlotItem)]
    return sorted(number for number in found if number)


def named(panels: Any, name: str) -> Any:
    (panel,) = [panel for view, panel in panels.items() if view and view.name == name]
    return panel


@pytest.fixture(scope="module")
def series() -> Any:
    dsc, _ = measured(
        annealing_temperatures=[503.0, 553.0], annealing_times=[300.0, 3000.0, 43200.0],
        interval=3.0,
    )  # fmt: skip
    transition = run(GlassTransition, dsc, replicates=3, every=512)
    excess = run(ExcessEnthalpy, dsc, every=512)
    relaxation = run(EnthalpyRelaxation, excess["excess"])
    return transition, excess, relaxation


def test_a_heating_is_drawn_with_its_lines_and_areas(shown: Any, series: Any) -> None:
    transition, _, _ = series
    panels = shown(transition["trace"], transition["transition"])
    trace = named(panels, "trace")
    assert "heating 2" in words(trace)
    assert "onset 69" in words(trace)
    assert len(items(trace, pg.FillBetweenItem)) == 2
    assert len(items(trace, pg.PlotDataItem)) >= 6
    points = items(named(panels, "temperatures of heatings"), pg.ScatterPlotItem)
    assert sum(len(item.data) for item in points) > 20


def test_the_area_of_an_excess_is_coloured_on_both_sides_of_T_g(shown: Any, series: Any) -> None:
    _, excess, _ = series
    panels = shown(excess["traces"], excess["excess"])
    panel = named(panels, "excess enthalpy")
    assert "553 K, 720 min" in words(panel)
    assert len(items(panel, pg.FillBetweenItem)) == 2
    points = items(named(panels, "enthalpies of samples"), pg.ScatterPlotItem)
    assert [len(item.data) for item in points] == [7, 7, 7]


def test_kinetics_are_drawn_with_their_fits(shown: Any, series: Any) -> None:
    _, _, relaxation = series
    panels = shown(relaxation["decay"], relaxation["kww"])
    decay = named(panels, "enthalpy relaxation")
    assert "503 K" in words(decay)
    assert "553 K" in words(decay)
    assert counted(decay) == [3, 3]
    (points,) = items(named(panels, "stretching exponent"), pg.ScatterPlotItem)
    assert len(points.data) == 2


def test_energies_of_heating_rates(shown: Any) -> None:
    dsc, _ = measured(heating_rates=[10.0, 40.0], start_temperature=590.0, programme=[830.0],
                      beta_enthalpy=0.0)  # fmt: skip
    output = run(Kissinger, run(GlassTransition, dsc, replicates=3)["transition"])
    panels = shown(output["energies"])
    panel = named(panels, "energies from heating rates")
    assert "kJ/mol" in words(panel)
    assert set(counted(panel)) == {2}


def test_a_modulated_scan(shown: Any) -> None:
    dsc, _ = measured(**SCAN)
    output = run(Modulated, dsc, **CONFIG)
    panels = shown(output["heat_capacity"], output["transition"])
    panel = named(panels, "heat capacity")
    assert "\u03b4T" in words(panel)
    assert set(counted(panel)) == {90}


def test_a_trace_without_anything_is_drawn_as_such(shown: Any) -> None:
    dsc, _ = measured(start_temperature=400.0, programme=[480.0], beta_enthalpy=0.0)
    output = run(GlassTransition, dsc, replicates=3)
    panels = shown(output["trace"], output["transition"])
    assert "sample 0, heating 1: no glass transition" in words(named(panels, "trace"))


def test_a_cooling_after_a_heating_leaves_its_words(shown: Any) -> None:
    dsc, _ = measured(start_temperature=640.0, programme=[745.0, 700.0], beta_enthalpy=0.0)
    output = run(GlassTransition, dsc, replicates=3)
    panel = named(shown(output["trace"], output["transition"]), "trace")
    assert "heating 1" in words(panel)
    assert "onset 69" in words(panel)
    # the onset on the line of the glass, the half step on the curve
    assert counted(panel) == [2]


def test_activation_energy_spectra(shown: Any, series: Any) -> None:
    _, excess, _ = series
    spectra = run(ActivationSpectrum, excess["traces"], shear_modulus=30.0, density=6.9)
    panel = named(shown(spectra["spectrum"]), "activation-energy spectrum")
    assert "gone below T_g" in words(panel)
    curves = [item for item in items(panel, pg.PlotDataItem) if item.xData is not None]
    assert len([curve for curve in curves if len(curve.xData) > 100]) == 7


def test_flow_units_of_an_ageing_glass(shown: Any) -> None:
    output = fitted(aged(1e-5))
    panel = named(shown(output), "flow units")
    assert "550 K" in words(panel)
    assert "580 K" in words(panel)
    assert "M\u221e 6.9" in words(panel)
    assert counted(panel) == [11, 11]


def test_defects_and_the_heat_that_they_take(shown: Any) -> None:
    output = run(Interstitialcy, heated(), **SHEAR)
    panel = named(shown(output["state"], output["heat_flow"]), "defects")
    assert "J/g over the crystal" in words(panel)
    curves = [item for item in items(panel, pg.PlotDataItem) if item.xData is not None]
    assert {len(curve.xData) for curve in curves} >= {len(output["state"]["temperature"])}


def test_means_of_neighbours_leave_holes_where_they_are() -> None:
    values = np.array([np.nan, 1.0, 3.0, np.nan, 5.0, 7.0])
    np.testing.assert_allclose(smoothed(values, 3), [np.nan, 2.0, 2.0, np.nan, 6.0, 6.0])


def test_every_view_is_registered_once() -> None:
    import daq_thermal

    assert daq_thermal.daq_views() == VIEWS
    assert len({view.name for view in VIEWS}) == len(VIEWS)
    ranks = [view.rank for view in VIEWS]
    assert ranks == sorted(ranks)


def test_words() -> None:
    assert said(694.93, 0.08) == "694.93 \u00b1 0.08"
    assert said(694.93, 2.3) == "695 \u00b1 2"
    assert said(np.nan, 1.0) == "\u2013"
    assert said(3.14159, np.nan) == "3.142"
    assert annealed(553.0, 1800.0) == "553 K, 30 min"
    assert annealed(np.nan, 0.0) == "as quenched"
    assert annealed(np.nan, np.nan) == "history not known"
