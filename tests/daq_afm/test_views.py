"""The views of scanning probes, drawn without a screen through the viewer itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import daq
from daq.viewer import availability

if (reason := availability()) is not None:
    pytest.skip(reason, allow_module_level=True)

import pyqtgraph as pg
from PySide6 import QtCore, QtWidgets

from daq.testing import Records, run_analysis
from daq.viewer import window
from daq.viewer.scene import Scene
from daq.viewer.theme import DARK
from daq_afm.amplitude_watch import AmplitudeWatch
from daq_afm.angular_spectrum import AngularSpectrum
from daq_afm.contact_resonance import ContactResonance
from daq_afm.dissipation import Dissipation
from daq_afm.dissipation_curve import DissipationCurve
from daq_afm.dissipation_mechanism import reduced_energy
from daq_afm.dissipation_regions import DissipationRegions
from daq_afm.height_phase import HeightPhase
from daq_afm.levelling import Levelling
from daq_afm.modulus_classes import ModulusClasses
from daq_afm.phase_histogram import PhaseHistogram
from daq_afm.surface_correlation import SurfaceCorrelation
from daq_afm.views import VIEWS
from daq_afm.views.correlation import Lengths
from daq_afm.views.line_image import LineImages, ScanFrame, outlines
from daq_afm.views.resonance import distinct
from daq_afm.views.scan import colour_range, flattened
from daq_afm.views.wording import duration, history, number, percent, with_error
from tests.daq_afm.made_lines import scan_lines
from tests.daq_simulators.afm_lines import resonance_lines, tapping_lines

REFERENCES = [{"frequency": 752999, "modulus": 30}, {"frequency": 927077, "modulus": 120}]


@pytest.fixture(scope="module")
def application() -> Any:
    with window._application(offscreen=True) as running:
        yield running


@pytest.fixture
def shown(application: Any) -> Any:
    windows = []

    def show(*outputs: Any, size: tuple[int, int] = (1200, 800), asides: bool = False) -> Any:
        scene = Scene(VIEWS)
        for output in outputs:
            scene.opened(output.stream)
        drawn = window.Window(scene, DARK)
        drawn.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
        drawn.resize(*size)
        drawn.show()
        windows.append(drawn)
        if asides:
            for spec in scene.arrange()[1]:
                drawn._asked[spec.key] = True
        for output in outputs:
            for batch in batches_of(output):
                scene.absorb(daq.Batch(output.stream.name, batch.raw, batch.first, batch.valid))
        for _ in range(3):
            drawn.tick(budget=float("inf"))
            drawn.grab()
            QtWidgets.QApplication.processEvents()
        assert scene.refused == ""
        return {panel.spec.stream: panel for panel in drawn.panels()}

    yield show
    for drawn in windows:
        drawn.close()
        drawn.deleteLater()
    application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def batches_of(output: Any) -> list[daq.Batch]:
    return list(output.batches(16)) if callable(output.batches) else list(output.batches)


def run(analysis: type[daq.Analysis], of: Any, name: str = "", **config: Any) -> dict[str, Any]:
    """Run an analysis over lines, or over what another one gave; streams as the runtime opens them."""
    given = {of.stream.name: of.stream}
    name = name or analysis.name
    found = run_analysis(analysis, given, batches_of(of), config, name=name)
    process = {"type": analysis.name, "inputs": list(given), "configuration": config}
    for output in found.values():
        attributes = {**output.stream.attributes, "process": process}
        output.stream = dataclasses.replace(output.stream, attributes=attributes)
    return found


def part(lines: Records, count: int) -> Records:
    """Return the first lines."""
    return Records(lines.stream, {name: values[:count] for name, values in lines.arrays.items()})


def words(panel: Any) -> str:
    labels = panel.findChildren(QtWidgets.QLabel)
    return " | ".join(label.text() for label in labels if label.isVisibleTo(panel))


def items(panel: Any, kind: Any) -> list[Any]:
    views = panel.findChildren(pg.GraphicsView)
    return [item for view in views for item in view.scene().items() if isinstance(item, kind)]


def pictures(panel: Any) -> list[np.ndarray]:
    """The pictures of a panel, from left to right, without overlays."""
    areas = sorted(panel.findChildren(pg.GraphicsLayoutWidget), key=lambda w: w.x())
    found = []
    for area in areas:
        images = [i for i in area.scene().items() if isinstance(i, pg.ImageItem)]
        found += [
            image.image for image in images if image.image is not None and image.image.ndim == 2
        ]
    return [image for image in found if min(image.shape) > 4]


def curves(panel: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    drawn = [item.getOriginalDataset() for item in items(panel, pg.PlotDataItem)]
    return [(np.asarray(x), np.asarray(y)) for x, y in drawn if x is not None and len(x)]


def points(panel: Any) -> list[int]:
    return sorted(len(item.data) for item in items(panel, pg.ScatterPlotItem) if len(item.data))


@pytest.fixture(scope="module")
def lines() -> Records:
    """Two places, pixels higher than wide, regions of high dissipation."""
    return tapping_lines(
        scan=(64, 80), step=(1.0, 0.8), places=2, correlation_length=3.0, region_fraction=0.05,
        height_correlation_length=3.0, tilt=(0.05, -0.05), seed=3,
    )[0]  # fmt: skip


@pytest.fixture(scope="module")
def dissipation(lines: Records) -> Any:
    return run(Dissipation, lines, phase_noise=0.2)


@pytest.fixture(scope="module")
def regions(dissipation: Any) -> Any:
    return run(DissipationRegions, dissipation["lines"], "regions")


@pytest.fixture(scope="module")
def resonance() -> Any:
    lines, _ = resonance_lines(
        "probe", scan=(48, 48), step=(20.0, 20.0), correlation_length=40.0, retrace=False
    )
    return lines, run(ContactResonance, lines, references=REFERENCES, replicas=16)


# -- scans ----------------------------------------------------------------------------------------


def test_three_channels_side_by_side(shown: Any, lines: Records) -> None:
    panel = shown(lines)["afm"]
    height, phase, amplitude = pictures(panel)
    arrays = lines.arrays
    last = arrays["scan"] == 1
    np.testing.assert_array_equal(phase, arrays["phase"][last])
    np.testing.assert_array_equal(amplitude, arrays["amplitude"][last])
    # without the tilt, which is ten times as high as the surface
    assert height.std() < 0.5 < arrays["height"][last].std()
    np.testing.assert_allclose(np.median(height, axis=1), 0, atol=1e-6)
    assert "scan 1" in words(panel)
    boxes = [item for item in items(panel, pg.ViewBox) if item.state["aspectLocked"]]
    assert len(boxes) == 3
    for box in boxes:
        across, down = box.viewPixelSize()
        assert across == pytest.approx(down, rel=1e-6)
        assert box.viewRect().width() == pytest.approx(80 * 0.8, rel=0.02)
        assert box.viewRect().height() == pytest.approx(64 * 1.0, rel=0.02)
        lowest, highest = (box.mapViewToScene(QtCore.QPointF(1.0, y)).y() for y in (0, 63))
        assert lowest > highest
    labels = {item.labelText for item in items(panel, pg.AxisItem)}
    assert {"x (nm)", "y (nm)", "phase (deg)", "amplitude (nm)"} <= labels
    texts = {item.toPlainText() for item in items(panel, pg.TextItem)}
    assert texts == {"20 nm"}


def test_the_colours_of_a_phase_are_those_of_its_gaussian(shown: Any, lines: Records) -> None:
    panel = shown(lines)["afm"]
    histogram = run(PhaseHistogram, lines)["histogram"]
    (bar,) = [b for b in items(panel, pg.ColorBarItem) if b.axis.labelText == "phase (deg)"]
    ends = histogram["low"][-1], histogram["high"][-1]
    np.testing.assert_allclose(bar.levels(), ends, atol=0.15 * (ends[1] - ends[0]))


def test_half_an_image_with_a_lost_line(shown: Any, lines: Records) -> None:
    half = part(lines, 64 + 40)
    for name in ("height", "phase", "amplitude"):
        half.arrays[name] = half.arrays[name].copy()
        half.arrays[name][64 + 20] = np.nan
    for size in ((1200, 800), (500, 340)):
        panel = shown(half, size=size)["afm"]
        for image in pictures(panel):
            lost = np.isnan(image).all(axis=1)
            assert np.flatnonzero(lost).tolist() == [20, *range(40, 64)]
        assert "row 39" in words(panel)
    marked = [i for i in items(panel, pg.PlotCurveItem) if i.yData is not None and len(i.yData)]
    assert sum(set(i.yData.tolist()) == {39.0} for i in marked) == 6  # line and its edge, thrice


def test_fewer_channels_and_levelled_ones(shown: Any, lines: Records, resonance: Any) -> None:
    levelled = run(Levelling, lines, method="median")["lines"]
    panels = shown(lines, levelled, resonance[0])
    assert panels["afm"].spec.wide == 3
    assert panels["levelling.lines"].spec.view.name == "levelled"
    (height,) = pictures(panels["levelling.lines"])
    np.testing.assert_array_equal(height, levelled["height"][64:])
    assert "levelled: median" in words(panels["levelling.lines"])
    assert panels["probe"].spec.view.rank == 45
    two = scan_lines(
        {"frequency": np.full((1, 16, 16), 8e5), "quality_factor": np.ones((1, 16, 16))}
    )
    assert shown(two)["afm"].spec.wide == 2
    one = scan_lines({"potential": np.full((1, 16, 16), np.nan)})
    assert shown(one)["afm"].spec.view.name == "scan of one channel"


def test_tilt_and_steps_are_not_confused() -> None:
    y, x = np.mgrid[:40, :60]
    steps = np.where(x < 20, 5.0, 0.0)
    noise = 0.01 * np.random.default_rng(1).standard_normal(steps.shape)
    seen = flattened((steps + 0.3 * x - 0.2 * y + noise).astype(np.float32))
    assert seen[:, :20].mean() - seen[:, 20:].mean() == pytest.approx(5.0, abs=0.3)
    assert np.isnan(flattened(np.full((4, 5), np.nan, np.float32))).all()


def test_colour_ranges() -> None:
    rng = np.random.default_rng(2)
    low, high = colour_range(rng.normal(60, 2, (64, 64)), "phase") or (0.0, 0.0)
    assert (low, high) == pytest.approx((54, 66), abs=0.5)
    both = np.concatenate([rng.normal(60, 1, 4000), rng.normal(80, 1, 3000)])
    assert colour_range(both, "phase") is None  # of two phases, one Gaussian is not the range
    assert colour_range(np.full((64, 64), 60.0), "phase") is None
    assert colour_range(np.full((64, 64), np.nan), "phase") is None
    assert colour_range(rng.normal(60, 2, (64, 64)), "height") is None


def test_lines_are_put_together_whatever_comes() -> None:
    maps = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2)
    made = scan_lines({"height": maps}, rows=[2, 0, 3, 1])
    images = LineImages(made.stream, ["height"])
    assert images.image("height") is None
    assert images.done == 0
    all_of = daq.Batch("afm", made.arrays, 0)
    images.take(all_of.slice(0, 6))
    assert (images.scan, images.row, images.done) == (1, 0, 0.5)
    images.take(all_of.slice(2, 12))  # the newest lines once more, and further ones
    for scan in range(3):
        np.testing.assert_array_equal(images.image("height", scan), maps[scan])
    assert images.image("height", 7) is None
    lost = daq.Batch("afm", made.arrays, 12, np.zeros(12, bool))
    images.take(lost)
    assert images.done == 1
    again = {name: values.copy() for name, values in made.arrays.items()}
    again["scan"][:], again["line"][0] = np.arange(12) + 10, 99
    images.take(daq.Batch("afm", again, 12))
    assert images.image("height", 2) is None  # only the newest scans are kept
    assert images.scan == 21


@given(arrays.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)),
                     elements=st.integers(0, 2)))  # fmt: skip
def test_outlines_are_the_edges_of_regions(labels: np.ndarray) -> None:
    rows, columns = outlines(labels)
    inside = np.pad(labels > 0, 1)
    edges = np.count_nonzero(np.diff(inside, axis=0)) + np.count_nonzero(np.diff(inside, axis=1))
    assert len(rows) == len(columns) == 3 * edges
    r, c = rows.reshape(-1, 3), columns.reshape(-1, 3)
    assert np.isnan(r[:, 2]).all()
    length = np.abs(np.diff(r[:, :2])) + np.abs(np.diff(c[:, :2]))
    np.testing.assert_array_equal(length, 1)
    # each edge has a region on one side alone
    y, x = r[:, :2].mean(axis=1), c[:, :2].mean(axis=1)
    upright = r[:, 0] != r[:, 1]
    for at, along, vertical in zip(y, x, upright, strict=True):
        dy, dx = (0.0, 0.5) if vertical else (0.5, 0.0)
        sides = {bool(inside[int(at + s * dy + 1), int(along + s * dx + 1)]) for s in (-1, 1)}
        assert sides == {True, False}


def test_axes_of_large_scans_are_in_micrometres() -> None:
    stream = dataclasses.replace(
        scan_lines({"height": np.zeros((1, 8, 8))}).stream,
        scan={"shape": [8, 8], "step": [1000.0, 500.0]},
    )
    frame = ScanFrame(stream)
    assert frame.units == "\u00b5m"
    assert (float(frame.x(2)), float(frame.y(2)), float(frame.nm(500))) == (1.0, 2.0, 0.5)
    unknown = ScanFrame(dataclasses.replace(stream, scan={"shape": [8, 8]}))
    assert (unknown.units, float(unknown.x(3))) == ("px", 3.0)


# -- correlation ----------------------------------------------------------------------------------


def test_a_structure_function_with_its_fit_and_its_length(shown: Any, lines: Records) -> None:
    levelled = run(Levelling, lines)["lines"]
    found = run(SurfaceCorrelation, levelled, "roughness", every=32, stages=[], replicas=16)
    panels = shown(*found.values(), asides=True)
    said = words(panels["roughness.correlation"])
    assert "\u03be " in said
    assert "\u00b1" in said
    assert "levelled: linear" in said
    xi = found["fit"]["correlation_length"][-1]
    vertical = [x for x, y in curves(panels["roughness.correlation"]) if len(x) == 2]
    np.testing.assert_allclose(vertical, [[xi, xi]])
    # not annealed: one point for each image and the mean of both places
    series = panels["roughness.series"]
    assert points(series) == [2]
    assert "mean of 2 places" in words(series)
    assert points(panels["roughness.fit"]) == [2, 4]


def test_a_length_that_is_refused_says_why(shown: Any, lines: Records) -> None:
    found = run(SurfaceCorrelation, part(lines, 64), every=32, replicas=0, least_size=500.0)
    panel = shown(found["correlation"], found["fit"])["surface_correlation.correlation"]
    assert "refused: the field holds " in words(panel)
    assert "of 500 needed" in words(panel)
    assert "levelling not known" in words(panel)
    few = run(SurfaceCorrelation, part(lines, 4), every=1, replicas=0)
    assert "too few lines" in words(shown(few["correlation"], few["fit"])["surface_correlation.correlation"])  # fmt: skip


def test_annealing_shrinks_domains(shown: Any) -> None:
    lines, _ = tapping_lines(
        scan=(64, 64), step=(0.5, 0.5), annealing_temperatures=[553],
        annealing_times=[300, 1800, 10800], correlation_lengths=[2.0, 1.8, 1.5, 1.2],
        retrace=False, places=2,
    )  # fmt: skip
    found = run(SurfaceCorrelation, lines, "xi", channel="phase", every=64, stages=[], replicas=16)
    panels = shown(*found.values(), size=(1800, 900), asides=True)
    shrinkage = panels["xi.decay"]
    assert "553 K: ln(\u03c4/s) " in words(shrinkage)
    assert points(shrinkage) == [3]
    lengths = panels["xi.series"]
    assert points(lengths) == [1, 3]
    assert "553 K, 180 min: \u03be" in words(lengths)
    assert "spread over 2 places" in words(lengths)
    assert panels["xi.kww"].spec.view.name == "KWW fits"


def test_lengths_of_unknown_temperatures(shown: Any) -> None:
    fields = ("correlation_length", "correlation_length_sd", "correlation_length_errors",
              "annealing_time", "annealing_temperature")  # fmt: skip
    stream = daq.Stream(
        "a.series", {name: daq.Field("<f8") for name in fields} | {"places": daq.Field("<i4")}
    )
    values = {name: np.array([6.0, 5.0, 4.0]) for name in fields}
    values |= {"annealing_time": np.array([0.0, 300.0, 1800.0]), "places": np.array([1, 1, 1])}
    values["annealing_temperature"] = np.full(3, np.nan)
    values["correlation_length_sd"] = np.full(3, np.nan)
    panel = shown(Records(stream, {"time": np.arange(3), **values}))["a.series"]
    assert panel.spec.view is Lengths
    assert points(panel) == [1, 2]
    assert "annealed, 30 min" in words(panel)


# -- distributions and dissipation ----------------------------------------------------------------


def test_histograms_with_their_gaussians(shown: Any, lines: Records, dissipation: Any) -> None:
    histogram = run(PhaseHistogram, lines, every=16)["histogram"]
    panels = shown(histogram, dissipation["summary"])
    phase = panels["phase_histogram.histogram"]
    assert f"centre {number(histogram['centre'][-1])}" in words(phase)
    outline = max(curves(phase), key=lambda curve: len(curve[0]))
    assert outline[1].max() == histogram["counts"][-1].max()
    energy = panels["dissipation.summary"]
    assert "2 places" in words(energy)
    assert "A/A\u2080 0.85" in words(energy)
    (bell,) = [(x, y) for x, y in curves(energy) if len(x) == 257]
    peak = bell[0][bell[1].argmax()]
    assert peak == pytest.approx(dissipation["summary"]["gaussian_mean"][-1], rel=0.01)
    # as many pixels below the curve as below the histogram
    area = np.trapezoid(bell[1], bell[0]) / np.diff(dissipation["summary"]["bins"][-1])[0]
    assert area == pytest.approx(64 * 80, rel=0.1)


def test_nothing_finite_is_drawn_as_nothing(shown: Any) -> None:
    nothing = np.full((1, 16, 16), np.nan)
    made = scan_lines(
        {"height": nothing, "phase": nothing, "amplitude": nothing},
        attributes={"spring_constant": 5.0, "resonance_frequency": 160e3, "quality_factor": 400.0,
                    "free_amplitude": 10.0, "phase_at_resonance": 90.0, "amplitude_setpoint": 8.5},
    )  # fmt: skip
    energy = run(Dissipation, made)
    outputs = [
        made, *energy.values(), *run(AmplitudeWatch, made).values(),
        *run(DissipationRegions, energy["lines"]).values(),
        *run(SurfaceCorrelation, made, replicas=0).values(),
        *run(PhaseHistogram, made).values(), *run(HeightPhase, made).values(),
        *run(AngularSpectrum, energy["lines"], maps=0).values(),
    ]  # fmt: skip
    panels = shown(*outputs, asides=True)
    assert len(panels) == len(outputs)
    assert "no order" in words(panels["angular_spectrum.spectrum"])


def test_the_energy_and_its_regions(shown: Any, dissipation: Any, regions: Any) -> None:
    panels = shown(*dissipation.values(), *regions.values(), asides=True)
    (energy,) = pictures(panels["dissipation.lines"])
    np.testing.assert_array_equal(energy, dissipation["maps"]["dissipated_energy"][-1])
    overlay = panels["regions.regions"]
    (image,) = pictures(overlay)
    np.testing.assert_array_equal(image, energy)
    edges = 3 * np.count_nonzero(
        np.diff(np.pad(regions["regions"]["cluster"][-1] > 0, 1), axis=0)
    ) + 3 * np.count_nonzero(np.diff(np.pad(regions["regions"]["cluster"][-1] > 0, 1), axis=1))
    drawn = [len(i.xData) for i in items(overlay, pg.PlotCurveItem) if i.xData is not None]
    assert edges in drawn
    summary = regions["summary"]
    assert f"{summary['clusters'][-1]} regions" in words(overlay)
    sizes = panels["regions.summary"]
    assert "too few for a law" in words(sizes) or "Gaussian" in words(sizes)
    assert panels["regions.clusters"].spec.view.name == "shapes of regions"
    assert panels["dissipation.maps"].spec.view.name == "map"


def test_regions_without_their_lines(shown: Any, regions: Any) -> None:
    panel = shown(regions["regions"])["regions.regions"]
    (image,) = pictures(panel)
    np.testing.assert_array_equal(image > 0, regions["regions"]["cluster"][-1] > 0)


def test_both_laws_of_sizes_meet_the_number_of_regions(shown: Any, regions: Any) -> None:
    summary = regions["summary"]
    made = {name: values[-1:].copy() for name, values in summary.arrays.items()}
    radius = summary.stream.constants["radius"]
    made["count_above"][:] = 100 * (radius / radius[0]) ** -1.5
    made |= {"size_law": np.array([2], np.uint8), "size_exponent": np.array([2.5])}
    made |= {"size_exponent_errors": np.array([0.1]), "gaussian_radius": np.array([2.0])}
    made["gaussian_radius_sd"] = np.array([1.0])
    panel = shown(Records(summary.stream, made))["regions.summary"]
    assert "power law, a = 2.50 \u00b1 0.10" in words(panel)
    drawn = [(10**x, 10**y) for x, y in curves(panel) if len(x) == 200]
    assert len(drawn) == 2
    (power,) = [
        (R, N) for R, N in drawn
        if np.allclose(N, 100 * (R / radius[0]) ** -1.5, rtol=0.1)
    ]  # fmt: skip
    assert all(N[0] == pytest.approx(power[1][0]) for _, N in drawn)


def test_the_mechanism_of_dissipation(shown: Any) -> None:
    u = np.linspace(0.3, 0.95, 12)
    energy = 40.0 * reduced_energy(u, 0.4, "viscoelasticity", 1.0)
    stream = daq.Stream(
        "summary",
        {"mean": daq.Field("<f8", (), "eV"), "amplitude_ratio": daq.Field("<f8")},
        attributes={"energy_unit": 40.0},
    )
    made = Records(stream, {"time": np.arange(12), "mean": energy, "amplitude_ratio": u})
    found = run(DissipationCurve, made)
    panel = shown(*found.values())["dissipation_curve.mechanism"]
    assert "viscoelasticity, weight 100" in words(panel)
    assert 12 in points(panel)
    few = run(DissipationCurve, part(made, 3))
    assert "five are needed" in words(shown(*few.values())["dissipation_curve.mechanism"])


def test_one_channel_against_the_other(shown: Any, lines: Records) -> None:
    found = run(HeightPhase, lines, every=16)
    panel = shown(found["correlation"])["height_phase.correlation"]
    assert "Spearman " in words(panel)
    assert points(panel) == [2, 2, 6, 6]


def test_lobes_are_drawn_where_there_are_any(shown: Any) -> None:
    lines, _ = tapping_lines(scan=(96, 96), anisotropy=0.9, correlation_length=3.0, retrace=False)
    four = run(AngularSpectrum, lines, channel="phase", maps=39)
    panels = shown(*four.values(), asides=True)
    panel = panels["angular_spectrum.spectrum"]
    assert "quadrupolar along" in words(panel)
    (image,) = pictures(panel)
    assert image.shape[0] <= 96
    # four lobes in pieces of three points, and the circles
    drawn = {len(i.xData) for i in items(panel, pg.PlotCurveItem) if i.xData is not None}
    assert {12, 181} <= drawn
    plain, _ = tapping_lines(scan=(96, 96), correlation_length=3.0, retrace=False)
    none = run(AngularSpectrum, plain, channel="phase", maps=39)
    assert "quadrupolar" not in words(shown(*none.values())["angular_spectrum.spectrum"])


# -- contact resonance ----------------------------------------------------------------------------


def test_contact_resonance(shown: Any, resonance: Any) -> None:
    lines, found = resonance
    classes = run(ModulusClasses, found["lines"], "classes", every=16)
    panels = shown(lines, *found.values(), *classes.values(), asides=True)
    (map_,) = pictures(panels["contact_resonance.lines"])
    np.testing.assert_allclose(map_, found["maps"]["frequency"][-1] * 1e-3, rtol=1e-6)
    spread = panels["contact_resonance.summary"]
    span = found["summary"]["range_5_95"][-1] / 1e3
    assert f"5\u201395 %: {number(span)} kHz" in words(spread)
    assert any(len(x) == 48 and y.max() > 500 for x, y in curves(spread))  # the profile, in kHz
    length = panels["contact_resonance.length"]
    xi = float(found["length"]["correlation_length"][-1])
    assert f"\u03be {with_error(xi, float(found['length']['correlation_length_errors'][-1]))} nm" in words(length)  # fmt: skip
    panel = panels["classes.lines"]
    shares = classes["maps"]["fractions"][-1]
    for share in shares:
        assert percent(float(share)) in words(panel)
    (overlay,) = [
        i.image for i in items(panel, pg.ImageItem) if i.image is not None and i.image.ndim == 3
    ]
    colours = {tuple(c) for c in overlay.reshape(-1, 4).tolist()}
    assert len(colours) == 3
    # the whole image has the classes of its end, not those of when its lines came
    whole = classes["maps"]["class"][-1]
    first = overlay[whole == 0]
    assert (first == first[0]).all()


def test_classes_while_they_are_found(shown: Any, resonance: Any) -> None:
    _, found = resonance
    half = Records(found["lines"].stream, {n: v[:20] for n, v in found["lines"].arrays.items()})
    classes = run(ModulusClasses, half, "classes")
    panel = shown(classes["lines"])["classes.lines"]
    (overlay,) = [
        i.image for i in items(panel, pg.ImageItem) if i.image is not None and i.image.ndim == 3
    ]
    assert (overlay[:20, :, 3] == 255).all()
    assert (overlay[20:, :, 3] == 0).all()


def test_resonance_curves_of_the_newest_line(shown: Any) -> None:
    lines, _ = resonance_lines(
        "probe", scan=(6, 20), output="response", sweep_points=24, retrace=False
    )
    panel = shown(lines)["probe"]
    (image,) = pictures(panel)
    expected = np.hypot(lines["response_real"][-1], lines["response_imag"][-1]).T
    np.testing.assert_allclose(image, expected, rtol=1e-6)
    assert "row 5" in words(panel)


# -- amplitude ------------------------------------------------------------------------------------


def test_the_amplitude_with_its_alarm(shown: Any) -> None:
    lines, _ = tapping_lines(scan=(16, 32), places=2, amplitude_ratios=[[1, 0.72]])
    found = run(AmplitudeWatch, lines)
    panels = shown(*found.values(), asides=True)
    panel = panels["amplitude_watch.lines"]
    assert "ALARM: the tip wears" in words(panel)
    alarms = np.count_nonzero(found["lines"]["alarm"])
    assert points(panel) == [alarms]
    levels = sorted(item.value() for item in items(panel, pg.InfiniteLine))
    assert levels == pytest.approx([0.80, 0.85])
    good = run(AmplitudeWatch, part(lines, 16))
    assert "ALARM" not in words(shown(good["lines"])["amplitude_watch.lines"])


# -- all of them ----------------------------------------------------------------------------------


def test_every_view_is_registered_once_and_has_words() -> None:
    import daq_afm

    assert daq_afm.daq_views() == VIEWS
    assert len({view.name for view in VIEWS}) == len(VIEWS)
    assert all(view.name and view.__doc__ for view in VIEWS)


def test_asides_stand_last() -> None:
    ranks = {view.aside: [v.rank for v in VIEWS if v.aside == view.aside] for view in VIEWS}
    assert max(ranks[False]) < min(ranks[True])


def test_words() -> None:
    assert with_error(2.0671, 0.048) == "2.07 \u00b1 0.05"
    assert with_error(2.0671, 0.018) == "2.067 \u00b1 0.018"
    assert with_error(1234.5, 21.0) == "1234 \u00b1 21"
    assert with_error(np.nan, 1.0) == "\u2013"
    assert with_error(3.14159, np.nan) == "3.14"
    assert with_error(-1.0, 0.2) == "\u22121.00 \u00b1 0.20"
    assert number(0.0) == "0"
    assert number(1234567.0) == "1234567"
    assert percent(0.001) == "< 1\u2009%"
    assert [duration(t) for t in (60.0, 300.0, 43200.0, np.nan)] == ["60 s", "5 min", "12 h", "\u2013"]  # fmt: skip
    assert history(0.0, 553.0) == "as quenched"
    assert history(1800.0, 553.0) == "553 K, 30 min"
    assert history(np.nan, 553.0) == ""
    assert distinct(np.array([41.852, 42.003, 42.131])) == ["41.85", "42.00", "42.13"]
    assert distinct(np.array([1.0, np.nan])) == ["1.00", "\u2013"]
