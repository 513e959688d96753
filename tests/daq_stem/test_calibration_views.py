"""The views of calibration and strain, drawn without a screen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.viewer import availability
from daq_stem.calibration.analysis import Calibration
from daq_stem.scattering.ring_strain import RingStrain

if (reason := availability()) is not None:
    pytest.skip(reason, allow_module_level=True)

import pyqtgraph as pg
from PySide6 import QtCore, QtWidgets

from daq.testing import make_stream, run_analysis
from daq.viewer import window
from daq.viewer.scene import Scene
from daq.viewer.theme import DARK
from daq_stem.views import VIEWS


@pytest.fixture(scope="module")
def application() -> Any:
    with window._application(offscreen=True) as running:
        yield running


@pytest.fixture
def shown(application: Any) -> Any:
    """A function that draws a stream through the viewer and gives its panel."""
    windows = []

    def show(stream: daq.Stream, batch: daq.Batch) -> Any:
        scene = Scene(VIEWS)
        scene.opened(stream)
        drawn = window.Window(scene, DARK)
        drawn.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
        drawn.resize(700, 600)
        drawn.show()
        windows.append(drawn)
        scene.absorb(batch)
        for _ in range(3):
            drawn.tick(budget=float("inf"))
            drawn.grab()
            QtWidgets.QApplication.processEvents()
        assert scene.refused == ""
        (panel,) = drawn.panels()
        assert panel.spec.kind == "view"
        return panel

    yield show
    for drawn in windows:
        drawn.close()
        drawn.deleteLater()
    application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def words(panel: Any) -> str:
    labels = panel.findChildren(QtWidgets.QLabel)
    return " | ".join(label.text() for label in labels if label.isVisibleTo(panel))


def curves(panel: Any) -> list[Any]:
    views = panel.findChildren(pg.GraphicsView)
    items = [item for view in views for item in view.scene().items()]
    return [item.getData() for item in items if isinstance(item, pg.PlotCurveItem)]


def ring(strain: float = 0.0) -> Any:
    y, x = np.indices((64, 60)) - np.array([31.3, 29.8])[:, None, None]
    q, phi = 0.2 * np.hypot(y, x), np.arctan2(y, x)
    at = q * (1 + strain * np.cos(2 * phi))
    return 400 * np.exp(-((at - 4.4) ** 2) / (2 * 0.47**2)) + 150 - 15 * q


def result(analysis: Any, config: dict[str, Any]) -> tuple[daq.Stream, daq.Batch]:
    frames = np.random.default_rng(0).poisson([ring()] * 4 + [ring(0.01)] * 4).astype("u2")
    camera = make_stream(
        "camera", {"frame": frames}, scan={"shape": [2, 2], "step": 1.0},
        attributes={"centre": [31.3, 29.8], "pixel_size": 0.2},
    )  # fmt: skip
    (out,) = run_analysis(
        analysis, {"camera": camera.stream}, camera.batches(), config
    ).values()  # fmt: skip
    stream = out.stream.renamed(f"{analysis.name}.{out.stream.name.split('.')[-1]}")
    arrays = {**out.arrays}
    return stream, daq.Batch(stream.name, arrays, 0)


def test_the_ring_is_drawn_where_it_was_fitted(shown: Any) -> None:
    stream, batch = result(Calibration, {"ring_q": 4.4})
    panel = shown(stream, batch)
    x, y = next(data for data in curves(panel) if data[0] is not None and len(data[0]) == 361)
    assert (y.mean(), x.mean()) == pytest.approx((31.3, 29.8), abs=0.3)
    assert np.hypot(y - 31.3, x - 29.8).mean() == pytest.approx(22, abs=0.3)
    assert "ellipse 1.00" in words(panel)
    assert "px" in words(panel)


def test_nothing_known_is_drawn_too(shown: Any) -> None:
    stream, batch = result(Calibration, {})
    arrays = {name: np.full_like(a, np.nan) for name, a in batch.raw.items() if a.dtype.kind == "f"}
    batch = daq.Batch(stream.name, {**batch.raw, **arrays}, 0)
    assert "nan" not in words(shown(stream, batch)).lower()


@pytest.mark.parametrize("regions", [(1, 2), (1, 1)])
def test_strain_of_parts_and_of_one(shown: Any, regions: tuple[int, int]) -> None:
    stream, batch = result(RingStrain, {"regions": regions, "reference_q": 4.4})
    panel = shown(stream, batch)
    said = words(panel)
    assert "strain" in said.lower() or "mean" in said
    if regions == (1, 2):
        assert "error of a part" in said
        x, y = next(d for d in curves(panel) if d[0] is not None and len(d[0]) == 6)
        # stretched along x
        assert np.ptp(x[:2]) > 5 * np.ptp(y[:2])
    nothing = {
        name: np.full_like(a, np.nan) for name, a in batch.raw.items() if a.dtype.kind == "f"
    }
    panel = shown(stream, daq.Batch(stream.name, {**batch.raw, **nothing}, 0))
    assert panel is not None


@pytest.mark.parametrize("share", [0.76, np.nan])
def test_the_elastic_part_of_a_strain(shown: Any, share: float) -> None:
    r = 0.01 * np.arange(1, 101)
    shape = np.sin(30 * r)
    scalars = {
        "affine_strain": 0.01, "affine_strain_errors": 0.001, "elastic_share": share,
        "elastic_share_errors": 0.05, "elastic_strain": 0.0091, "elastic_strain_errors": 0.0006,
    }  # fmt: skip
    records = make_stream(
        "structure_factor.split",
        {
            "G2": shape[None], "G2_errors": 0.1 + 0 * shape[None], "G2_fit": 0.5 * shape[None],
            **{name: np.array([value]) for name, value in scalars.items()},
        },
        constants={"r": r}, attributes={"strain_range": [0.2, 0.8]},
    )  # fmt: skip
    (batch,) = records.batches(1)
    panel = shown(records.stream, batch)
    said = words(panel)
    if np.isfinite(share):
        assert "0.760 \u00b1 0.050" in said and "0.910 \u00b1 0.060 %" in said
    else:
        assert "affine: 1.00 \u00b1 0.10 %" in said
    drawn = [y for _, y in curves(panel) if y is not None and len(y) > 20]
    assert any(len(y) == 61 and np.nanmax(np.abs(y)) <= 0.5 for y in drawn)
