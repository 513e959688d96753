"""Which panels a stream gets, and which are shown."""

from __future__ import annotations

import numpy as np
import pytest

import daq
from daq.viewer import choice

DELAY = {"name": "delay", "units": "s", "values": "delay"}


def kinds(stream: daq.Stream) -> dict[str, str]:
    return {field: spec.kind for spec in choice.panels_for(stream) for field in spec.fields}


@pytest.mark.parametrize(
    ("shape", "scan", "axes", "kind"),
    [
        ((), None, None, "trace"),
        ((), [40, 60], None, "map"),
        ((), [3, 40, 60], None, "map"),
        ((), [40], None, "trace"),
        ((128,), None, None, "profile"),
        ((128,), [40, 60], None, "profile"),
        ((128,), [90], None, "map"),
        ((64, 64), None, None, "image"),
        ((64, 64), [40, 60], None, "image"),
        ((40, 60), [40, 60], None, "map"),
        ((64, 64), None, ("nm", "nm"), "map"),
        ((64, 64), None, ("1/nm", "1/nm"), "image"),
        ((64, 64), None, ("px", "px"), "image"),
        ((5, 64, 64), None, None, "stack"),
        ((2, 5, 64, 64), None, None, "stack"),
    ],
)
def test_kind_by_shape(shape, scan, axes, kind):
    described = {}
    if axes:
        described = {"value": [{"name": n, "units": u} for n, u in zip("yx", axes, strict=True)]}
    stream = daq.Stream(
        "s", {"value": daq.Field("<f4", shape)}, described, scan and {"shape": scan}
    )
    assert kinds(stream) == {"value": kind}


NM = [{"name": "x", "units": "nm", "offset": 0.0, "step": 0.5}]
ANGLE = [{"name": "angle", "units": "1/nm", "offset": 0.0, "step": 0.5}]


@pytest.mark.parametrize(
    ("numbered", "axis", "kinds_of_fields"),
    [
        (True, None, ("map", "trace", "profile")),
        (False, NM, ("map", "trace", "profile")),
        # one value for each column by chance: a profile at each position
        (False, None, ("profile", "map", "profile")),
        (False, ANGLE, ("profile", "map", "profile")),
    ],
)
def test_a_record_may_be_a_whole_row_of_the_scan(numbered, axis, kinds_of_fields):
    fields = {
        "height": daq.Field("<f4", (60,), "nm"),
        "temperature": daq.Field("<f8", (), "K"),
        "classes": daq.Field("<f4", (3,)),
    }
    if numbered:
        fields |= {"line": daq.Field("<i4"), "scan": daq.Field("<i4")}
    axes = {} if axis is None else {"height": axis}
    stream = daq.Stream("afm", fields, axes, scan={"shape": [40, 60]})
    assert choice.records_are_rows(stream) == (kinds_of_fields[0] == "map")
    assert tuple(kinds(stream)[n] for n in ("height", "temperature", "classes")) == kinds_of_fields


def test_of_rows_the_channels_are_drawn_and_not_their_numbers():
    fields = {name: daq.Field("<f4", (60,), "nm") for name in ("height", "amplitude")}
    fields |= {name: daq.Field("<i4") for name in ("line", "scan", "place")}
    fields |= {"y": daq.Field("<f8", (), "nm"), "temperature": daq.Field("<f8", (), "K")}
    stream = daq.Stream("afm", fields, scan={"shape": [40, 60], "step": [1.0, 0.5]})
    shown, hidden = choice.arrange([(stream, choice.panels_for(stream))])
    assert [(spec.kind, spec.fields) for spec in shown] == [
        ("map", ("height",)), ("map", ("amplitude",)), ("trace", ("temperature",)),
    ]  # fmt: skip
    assert {spec.fields for spec in hidden} == {("line", "scan", "place"), ("y",)}


def test_resonance_curves_of_each_pixel_make_rows_too():
    fields = {"response": daq.Field("<f4", (60, 12)), "line": daq.Field("<i4")}
    stream = daq.Stream("afm", fields, scan={"shape": [40, 60]})
    assert kinds(stream)["response"] == "image"
    assert kinds(stream)["line"] == "trace"


def test_like_units_together_and_errors_with_their_field():
    fields = {
        name: daq.Field("<f8", (), units)
        for name, units in [
            ("storage", "GPa"), ("storage_errors", "GPa"), ("loss", "GPa"), ("temperature", "K"),
            ("scan_errors", "counts"),
        ]
    }  # fmt: skip
    specs = choice.panels_for(daq.Stream("dma", fields))
    drawn = [(spec.fields, spec.title) for spec in specs]
    assert drawn == [
        (("storage", "loss"), "dma: storage, loss"),
        (("temperature",), "dma.temperature"),
        (("scan_errors",), "dma.scan_errors"),  # errors of nothing: a field like any other
    ]


def test_many_curves_are_spread_over_panels():
    fields = {f"channel_{n}": daq.Field("<f8", (), "V") for n in range(2 * choice.MAX_CURVES + 1)}
    assert [len(spec.fields) for spec in choice.panels_for(daq.Stream("s", fields))] == [8, 8, 1]


def test_profiles_share_a_panel_only_with_the_same_axis():
    fields = {name: daq.Field("<f8", (8,)) for name in ("a", "b", "c")}
    stream = daq.Stream(
        "s", fields, {"a": [DELAY], "b": [DELAY]}, constants={"delay": np.arange(8.0)}
    )
    assert [spec.fields for spec in choice.panels_for(stream)] == [("a", "b"), ("c",)]


def test_text_is_a_log_and_hides_behind_numbers():
    log = daq.Stream("run.log", {"level": daq.Field("|S8"), "line": daq.Field("<i4")})
    assert [spec.kind for spec in choice.panels_for(log)] == ["text"]
    stage = daq.Stream("stage", {"state": daq.Field("|S8"), "x": daq.Field("<f8")})
    assert [spec.kind for spec in choice.panels_for(stage)] == ["trace"]


def test_which_files_were_read_is_shown_when_asked_for():
    fields = {"name": daq.Field("|S64"), "size": daq.Field("<i8", (), "byte")}
    stream = daq.Stream("scans.files", fields)
    shown, hidden = choice.arrange([(stream, choice.panels_for(stream))])
    assert not shown
    assert [spec.title for spec in hidden] == ["scans.files.size"]


def test_what_a_simulator_knows_is_not_drawn():
    assert not choice.is_drawn_by_default("truth.camera")
    assert not choice.is_drawn_by_default("run.status")
    assert choice.is_drawn_by_default("run.log")
    assert choice.is_drawn_by_default("camera")


def test_counts_beside_an_image_are_shown_only_when_asked_for():
    fields = {
        "mean": daq.Field("<f8", (8, 8)),
        "count": daq.Field("<i8"),
        "dose": daq.Field("<f8", (), "e/nm^2"),
    }
    stream = daq.Stream("virtual.image", fields)
    shown, hidden = choice.arrange([(stream, choice.panels_for(stream))])
    assert [spec.title for spec in shown] == ["virtual.image.mean", "virtual.image.dose"]
    assert [spec.title for spec in hidden] == ["virtual.image.count"]
    counter = daq.Stream("counter", {"count": daq.Field("<i8")})
    assert len(choice.arrange([(counter, choice.panels_for(counter))])[0]) == 1


class Fits(daq.View):
    name = "fits"

    @classmethod
    def can_draw(cls, stream):
        return stream.name == "camera"


class Broken(daq.View):
    @classmethod
    def can_draw(cls, stream):
        raise RuntimeError("no")


def test_views_go_first_and_broken_ones_are_passed_over(caplog):
    camera = daq.Stream("camera", {"frame": daq.Field("<u2", (8, 8))})
    (spec,) = choice.panels_for(camera, [Broken, Fits])
    assert (spec.kind, spec.view, spec.title) == ("view", Fits, "camera: fits")
    assert "Broken.can_draw failed" in caplog.text
    assert choice.panels_for(camera.renamed("other"), [Fits])[0].kind == "image"


def test_results_before_raw_and_each_stream_once_before_any_twice():
    raw = daq.Stream("camera", {"frame": daq.Field("<u2", (8, 8)), "t": daq.Field("<f8")})
    result = daq.Stream(
        "virtual.sums",
        {f"ring_{n}": daq.Field("<f8") for n in range(5)},
        scan={"shape": [4, 4]},
        attributes={"process": {}},
    )
    log = daq.Stream("run.log", {"message": daq.Field("|S8")})
    panels = [(s, choice.panels_for(s)) for s in (log, raw, result)]
    shown, hidden = choice.arrange(panels, limit=4)
    assert [spec.title for spec in shown] == [
        "virtual.sums.ring_0", "virtual.sums.ring_1", "camera.frame", "run.log",
    ]  # fmt: skip
    assert {spec.title for spec in hidden} == {
        "virtual.sums.ring_2", "virtual.sums.ring_3", "virtual.sums.ring_4", "camera.t",
    }  # fmt: skip


def view_of(plugin: str) -> type[daq.View]:
    """A view of a plugin that draws whatever has a field V."""

    class Draws(daq.View):
        name = f"by {plugin}"

        @classmethod
        def can_draw(cls, stream):
            return "V" in stream.fields

    Draws.__module__ = f"{plugin}.views.maps"
    return Draws


def test_a_view_of_the_plugin_that_made_a_stream_is_not_displaced():
    own, other, third = view_of("daq_own"), view_of("daq_other"), view_of("daq_ownership")
    process = {"program": "daq_own", "version": "1", "type": "fem"}
    fields = {"V": daq.Field("<f8", (4, 4))}
    made = daq.Stream("fem.maps", fields, attributes={"process": process})
    for views in ([other, own], [own, other], [third, other, own]):
        (spec,) = choice.panels_for(made, iter(views))
        assert spec.view is own
    # What its own plugin has no view for, and what no analysis made, the first one draws.
    assert choice.panels_for(made, [third, other])[0].view is third
    raw = daq.Stream("camera", fields)
    assert choice.panels_for(raw, [other, own])[0].view is other
    odd = daq.Stream("odd", fields, attributes={"process": "by hand"})
    assert choice.panels_for(odd, [other, own])[0].view is other


def test_of_views_of_one_plugin_the_first_draws():
    first, second = view_of("daq_own"), view_of("daq_own")
    process = {"program": "daq_own"}
    made = daq.Stream("s", {"V": daq.Field("<f8")}, attributes={"process": process})
    assert choice.panels_for(made, [view_of("a"), first, second])[0].view is first
