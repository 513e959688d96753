"""The scene: contents, memory and what a panel may ask."""

from __future__ import annotations

import numpy as np

import daq
from daq.viewer.content import TEXT_LINES, MapContent, TraceContent
from daq.viewer.scene import MAX_STREAMS, Scene


def test_every_kind_is_absorbed(every_kind):
    scene = Scene()
    for stream, batch in every_kind:
        scene.opened(stream)
        scene.absorb(batch)
    shown, hidden = scene.arrange()
    assert {spec.kind for spec in shown} == {"map", "profile", "image", "trace", "stack", "text"}
    assert {spec.title for spec in hidden} == {"scan: line, scan", "scan.y"}
    assert all(scene.content(spec).version == 1 for spec in shown)
    assert scene.drawn()


def test_nothing_of_a_batch_is_kept(make_batch):
    """The bus takes its memory back after each delivery."""
    scene = Scene()
    scene.opened(daq.Stream("camera", {"frame": daq.Field("<u2", (4, 4)), "t": daq.Field("<f8")}))
    arrays = {"frame": np.ones((3, 4, 4), np.uint16), "t": np.ones(3)}
    scene.absorb(make_batch("camera", 0, arrays))
    for array in arrays.values():
        array[...] = 7
    image, trace = (scene.content(spec) for spec in scene.arrange()[0])
    assert (image.picture().values == 1).all()
    assert (trace.curves(0)[0].y == 1).all()


def test_memory_is_that_of_the_newest_record(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("camera", {"frame": daq.Field("<u2", (64, 64))}))
    for first in range(0, 2000, 50):
        scene.absorb(make_batch("camera", first, {"frame": np.zeros((50, 64, 64), np.uint16)}))
    content = scene.content(scene.arrange()[0][0])
    assert content.record.raw["frame"].nbytes == 64 * 64 * 2
    assert content.record.raw["frame"].base is None
    assert content.note() == "record 1\u2009999"


def test_the_newest_valid_record_is_drawn_corrected_with_bad_pixels_void(make_batch):
    mask = np.zeros((2, 2), bool)
    mask[0, 1] = True
    scene = Scene()
    scene.opened(
        daq.Stream(
            "camera",
            {"frame": daq.Field("<u2", (2, 2))},
            constants={"dark": np.full((2, 2), 3.0), "mask": mask},
        )
    )
    frames = np.stack([np.full((2, 2), value, np.uint16) for value in (10, 20, 0)])
    valid = np.array([True, True, False])
    scene.absorb(make_batch("camera", 0, {"frame": frames}, valid=valid))
    values = scene.content(scene.arrange()[0][0]).picture().values
    assert values[0, 0] == values[1, 1] == 17
    assert np.isnan(values[0, 1])


def test_older_history_does_not_replace_the_newest_image(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("camera", {"frame": daq.Field("<u2", (1, 1))}))
    for first in (10, 3):
        scene.absorb(make_batch("camera", first, {"frame": np.full((1, 1, 1), first, np.uint16)}))
    assert scene.content(scene.arrange()[0][0]).picture().values.tolist() == [[10]]


def test_large_images_are_thinned(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("camera", {"frame": daq.Field("|u1", (3000, 4100))}))
    scene.absorb(make_batch("camera", 0, {"frame": np.zeros((1, 3000, 4100), np.uint8)}))
    picture = scene.content(scene.arrange()[0][0]).picture()
    assert picture.values.shape == (1000, 1367)
    assert len(picture.x.coordinates) == 1367
    assert picture.x.coordinates[1] == 3


def test_complex_and_boolean_fields_are_drawn(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("s", {"wave": daq.Field("<c16", (2, 2)), "lamp": daq.Field("|b1")}))
    arrays = {"wave": np.full((1, 2, 2), 3 + 4j), "lamp": np.array([True])}
    scene.absorb(make_batch("s", 0, arrays))
    image, trace = (scene.content(spec) for spec in scene.arrange()[0])
    assert (image.picture().values == 5).all()
    assert trace.curves(0)[0].y.tolist() == [1]


def test_strided_history_lies_at_its_indices(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("s", {"v": daq.Field("<f8")}, scan={"shape": [2, 4]}))
    scene.absorb(make_batch("s", 0, {"v": np.arange(4.0)}), stride=2)
    (spec,) = scene.arrange()[0]
    content = scene.content(spec)
    assert isinstance(content, MapContent)
    assert content.canvas.values[:, ::2].tolist() == [[0, 1], [2, 3]]


def test_a_batch_of_some_fields_draws_those(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("s", {"v": daq.Field("<f8"), "image": daq.Field("<f8", (2, 2))}))
    scene.absorb(make_batch("s", 0, {"v": np.arange(4.0)}))
    image, trace = (scene.content(spec) for spec in scene.arrange()[0])
    assert image.picture() is None
    assert isinstance(trace, TraceContent)
    assert len(trace.curves(0)[0].y) == 4


def test_text_is_bounded_and_in_order(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("run.log", {"message": daq.Field("|S16")}))
    words = np.array([f"line {n}".encode() for n in range(500)], "|S16")
    scene.absorb(make_batch("run.log", 0, {"message": words}))
    scene.absorb(make_batch("run.log", 100, {"message": words[100:200]}))
    lines = scene.content(scene.arrange()[0][0]).lines
    assert len(lines) == TEXT_LINES
    assert lines[-1][2] == "line 499"


def test_history_of_text_goes_where_it_belongs(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("run.log", {"message": daq.Field("|S16")}))
    words = np.array([f"line {n}".encode() for n in range(9)], "|S16")
    scene.absorb(make_batch("run.log", 6, {"message": words[6:]}))
    scene.absorb(make_batch("run.log", 0, {"message": words[:7]}))
    lines = scene.content(scene.arrange()[0][0]).lines
    assert [text for _, _, text in lines] == [f"line {n}" for n in range(9)]


def test_streams_without_end_are_bounded():
    scene = Scene()
    for number in range(MAX_STREAMS + 10):
        scene.opened(daq.Stream(f"s{number}", {"v": daq.Field("<f8")}))
    assert scene.counters() == {"streams": 256, "panels": 256, "not_kept": 10}


def test_what_is_not_known_is_passed_over(make_batch):
    scene = Scene()
    scene.opened(daq.Stream("truth.camera", {"v": daq.Field("<f8")}))
    scene.absorb(make_batch("truth.camera", 0, {"v": np.zeros(1)}))
    scene.closed("nothing", 1, "complete", "")
    assert scene.arrange() == ([], [])


def test_another_run_begins_anew(make_batch):
    scene = Scene()
    scene.run("one", "first", True)
    scene.opened(daq.Stream("s", {"v": daq.Field("<f8")}))
    scene.run("one", "", True)
    assert scene.streams()
    assert scene.title == "first"
    before = scene.structure
    scene.run("two", "second", False)
    assert not scene.streams()
    assert (scene.uid, scene.title, scene.recording) == ("two", "second", False)
    assert scene.structure > before


def test_the_same_stream_opened_again_keeps_what_is_drawn(make_batch):
    scene = Scene()
    stream = daq.Stream("s", {"v": daq.Field("<f8")})
    scene.opened(stream)
    scene.absorb(make_batch("s", 0, {"v": np.zeros(5)}))
    scene.opened(daq.Stream("s", {"v": daq.Field("<f8")}))
    assert scene.report("s").line.startswith("5 records")
    scene.opened(daq.Stream("s", {"w": daq.Field("<f8")}))
    assert scene.report("s").line.startswith("0 records")


def test_time_axes_agree_but_for_clocks_that_are_far_apart():
    scene = Scene()
    day = 86_400 * 10**9
    for name, start in (("a", 100 * day), ("b", 101 * day), ("simulated", 0)):
        scene.opened(daq.Stream(name, {"v": daq.Field("<f8")}))
        time = np.array([daq.NO_TIME, start + 5, start])
        scene.absorb(daq.Batch(name, {"time": time, "v": np.zeros(3)}, 0))
    assert [scene.origin(name) for name in ("a", "b", "simulated", "none")] == [
        100 * day, 100 * day, 0, 0,
    ]  # fmt: skip


def test_drawn_once_every_stream_with_records_shows_some(make_batch):
    scene = Scene()
    assert not scene.drawn()
    for name in ("a", "b"):
        scene.opened(daq.Stream(name, {"v": daq.Field("<f8")}))
    scene.absorb(make_batch("a", 0, {"v": np.zeros(1)}))
    assert not scene.drawn()
    scene.known("b", 5, source_gone=False, missing=0)
    assert not scene.drawn()
    scene.known("b", 0, source_gone=False, missing=0)
    assert scene.drawn()


def test_loss_is_said():
    scene = Scene()
    scene.opened(daq.Stream("s", {"v": daq.Field("<f8")}))
    assert scene.loss() == "lossless"
    scene.known("s", 10, source_gone=False, missing=3)
    assert scene.loss() == "3 records LOST"


def test_rows_are_put_where_they_say(every_kind, make_batch):
    stream, batch = next(pair for pair in every_kind if pair[0].name == "scan")
    scene = Scene()
    scene.opened(stream)
    valid = np.ones(batch.count, bool)
    valid[120:] = False  # lost: they would lie in row 0, where nothing has been scanned
    batch.valid = valid
    scene.absorb(batch)
    (spec,) = scene.arrange()[0]
    content = scene.content(spec)
    picture = content.picture()
    assert content.note() == "scan 1, row 40, 50%"
    assert (picture.upwards, picture.scanned) == (True, 40.0)
    assert np.isnan(picture.values[:40]).all()
    assert (picture.values[40:, 0] == np.arange(40, 80)).all()
    assert (picture.values[40:, 50:] == 100).all()
    assert (picture.x.edges, picture.y.edges) == ((-0.25, 49.75), (-0.5, 79.5))
    assert picture.square


def test_a_whole_picture_has_no_row_that_is_being_scanned(every_kind, make_batch):
    stream, batch = next(pair for pair in every_kind if pair[0].name == "scan")
    scene = Scene()
    scene.opened(stream)
    scene.absorb(batch.slice(0, 80))
    (spec,) = scene.arrange()[0]
    assert scene.content(spec).picture().scanned is None
    scene.absorb(batch.slice(80, 81))
    assert scene.content(spec).picture().scanned == 79.0
