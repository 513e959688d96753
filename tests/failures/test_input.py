"""Bad input: one clear line or a counted event, and nothing lost that was taken."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.bus.connection import Connection
from daq.bus.publisher import Publisher
from daq.recording.reader import RunReader
from daq.recording.verify import verify

from .checks import assert_begins_like, camera, expected, log, recorded, spots_config, wait_until

STALLS = """
[sources.camera]
type = "stalls"
{more}
[analyses.sums]
type = "watched"
input = "camera"
[recorder]
durable_interval = 0.01
"""


def stalls(**options: Any) -> str:
    return STALLS.format(more="\n".join(f"{key} = {value!r}" for key, value in options.items()))


def plain(count: int, dtype: str = "<u2") -> dict[str, np.ndarray]:
    indices = np.arange(count)
    frames = np.repeat(indices, 200).reshape(-1, 20, 10).astype(dtype)
    return {"frame": frames, "time": indices * 1000}


def assert_results(folder: Path, frames: dict[str, np.ndarray], lost: tuple[int, ...] = ()) -> None:
    whole, found = expected(frames, lost), recorded(folder)
    for name, fields in whole.items():
        assert_begins_like(found[name], fields, len(fields["time"]), name)


@pytest.mark.parametrize(("deed", "said"), [("shape", "shape"), ("dtype", "dtype")])
def test_batch_of_another_shape_or_dtype_ends_the_source(start: Any, deed: str, said: str) -> None:
    run = start(stalls(deed=deed))
    assert run.finish() == 1
    (line,) = [ln for ln in run.said().splitlines() if ln.startswith("error: not complete")]
    assert "camera" in line and said in line
    with RunReader(run.run_folder) as reader:
        count, status, reason = reader.closed("camera")
        assert (count, status) == (96, "failed")
        assert said in reason
    assert verify(run.run_folder).ok
    assert_results(run.run_folder, plain(96))


def test_frames_with_nan(start: Any) -> None:
    run = start(stalls(deed="nan", dtype="<f4"))
    assert run.finish() == 0, run.said()
    frames = plain(200, "<f4")
    frames["frame"][97], frames["frame"][98, 3, 4] = np.nan, np.inf
    found = recorded(run.run_folder, ["camera"])["camera"]
    assert found["frame"].tobytes() == frames["frame"].tobytes()
    assert_results(run.run_folder, frames)


def test_jump_of_the_source_is_missing_and_counted(start: Any) -> None:
    run = start(stalls(deed="jump"))
    assert run.finish() == 0, run.said()
    with RunReader(run.run_folder) as reader:
        assert reader.missing("camera") == [(96, 8, "jump in the source")]
        assert reader.count("camera") == 200
        found = reader.read("camera", 0, 200)
    lost = np.isin(np.arange(200), np.arange(96, 104))
    assert found.valid.tolist() == (~lost).tolist()
    assert (found.time[lost] == daq.NO_TIME).all()
    frames = plain(200)
    for name, array in frames.items():
        assert found.raw[name][~lost].tobytes() == array[~lost].tobytes()
    frames["time"][lost] = daq.NO_TIME
    assert_results(run.run_folder, frames, tuple(range(96, 104)))


def test_repeat_of_the_source_is_dropped(start: Any) -> None:
    run = start(stalls(deed="repeat"))
    assert run.finish() == 0, run.said()
    found = recorded(run.run_folder, ["camera"])["camera"]
    for name, array in plain(200).items():
        assert found[name].tobytes() == array.tobytes()
    assert_results(run.run_folder, plain(200))


def test_source_that_stalls_goes_on(start: Any) -> None:
    run = start(stalls(stall=3.0))
    run.until_records("camera", 96)
    assert run.status()["streams"]["camera"]["records"] == 96
    assert run.finish() == 0, run.said()
    assert_results(run.run_folder, plain(200))


def test_source_that_always_fails_is_given_up(start: Any) -> None:
    run = start(stalls(deed="raise"))
    assert run.finish() == 1
    assert "the camera has gone away" in run.said()
    assert "given up after 5 restarts" in run.said()
    with RunReader(run.run_folder) as reader:
        count, status, reason = reader.closed("camera")
        assert (count, status) == (96, "failed")
        assert "the camera has gone away" in reason
    assert_results(run.run_folder, plain(96))


WIRE = STALLS.format(more="").replace('type = "stalls"', 'type = "wire"')


def test_client_that_repeats_jumps_and_lies(start: Any) -> None:
    run = start(WIRE)
    wait_until(lambda: (run.folder / "bus").exists(), "the bus")
    client = Publisher(run.endpoint, "camera", timeout=20.0)
    stream = daq.Stream("camera", {"frame": daq.Field("<u2", (20, 10))})
    client.open(stream, timeout=20.0)
    wire, frames = client._connection, plain(100)

    def data(first: int, count: int, **more: Any) -> None:
        parts = [
            {"field": name, "dtype": a.dtype.str, "shape": [count, *a.shape[1:]]}
            for name, a in frames.items()
        ]
        header = {"stream": "camera", "first": first, "count": count, "parts": parts, **more}
        wire.send("data", header, [a[first : first + count].tobytes() for a in frames.values()])

    def taken(count: int) -> None:
        def there() -> bool:
            client.pump(0)
            return run.status()["streams"]["camera"]["records"] >= count

        wait_until(there, f"{count} records")

    data(0, 10)
    data(0, 10)  # all of it again
    data(5, 10)  # in part
    taken(15)
    data(20, 5)  # five never came
    taken(25)
    bad = [{"field": "frame", "dtype": "<f8", "shape": [5, 20, 10]},
           {"field": "time", "dtype": "<i8", "shape": [5]}]  # fmt: skip
    data(25, 5, parts=bad)
    wrong = [{"field": "frame", "dtype": "<u2", "shape": [5, 20, 9]},
             {"field": "time", "dtype": "<i8", "shape": [5]}]  # fmt: skip
    data(25, 5, parts=wrong)
    data(25, 5)
    taken(30)
    status = run.status()
    counters = status["streams"]["camera"]
    assert (counters["repeats"], counters["missing"]) == (15, 5)
    assert status["errors"] == {"jump": 1, "bad_dtype": 1, "bad_shape": 1}
    client._outgoing["camera"].next = 30
    assert client.close_stream("camera", timeout=20.0)["count"] == 30
    client.close()
    assert run.finish() == 0, run.said()
    assert verify(run.run_folder).ok
    with RunReader(run.run_folder) as reader:
        assert reader.missing("camera") == [(15, 5, "undeclared jump")]
        assert reader.closed("camera") == (30, "complete", "")
    frames = {name: array[:30] for name, array in frames.items()}
    frames["time"] = np.where(np.isin(np.arange(30), range(15, 20)), daq.NO_TIME, frames["time"])
    assert_results(run.run_folder, frames, tuple(range(15, 20)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("records = 400", "recrods = 400", "sources.camera.recrods: no such key; did you mean 'records'?"),
        ('type = "watched"', 'type = "wathced"', "analyses.sums.type: no analysis type 'wathced'; did you mean 'watched'?"),
        ('input = "camera"', 'input = "camrea"', "did you mean 'camera'?"),
        ('input = "camera"', 'input = "sums.rows"', "sums"),
        ("[bus]", '[analyses.more]\ntype = "watched"\ninput = "sums.row"\n[bus]', "did you mean 'sums.rows'?"),
    ],
)  # fmt: skip
def test_bad_configuration_is_one_clear_line(start: Any, old: str, new: str, said: str) -> None:
    config = spots_config()
    assert old in config
    run = start(config.replace(old, new))
    assert run.finish() != 0
    assert said in run.said(), run.said()
    assert "Traceback" not in run.said()


def test_two_inputs_that_wait_for_each_other(start: Any) -> None:
    other = '[analyses.more]\ntype = "watched"\ninput = "sums.rows"\n[bus]'
    config = (
        spots_config().replace('input = "camera"', 'input = "more.rows"').replace("[bus]", other)
    )
    run = start(config)
    assert run.finish() != 0
    assert "Traceback" not in run.said()
    assert "more" in run.said() and "sums" in run.said()
    assert len(run.stderr_path.read_text().strip().splitlines()) == 1, run.said()


def test_output_that_cannot_be_written(start: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = start(spots_config(), "--output", str(tmp_path / "file" / "runs"))
    assert run.finish() != 0
    assert "cannot write to" in run.said() and "--output" in run.said()
    assert len(run.stderr_path.read_text().strip().splitlines()) == 1, run.said()


def test_endpoint_that_is_taken(start: Any) -> None:
    first = start(spots_config(100_000, 100))  # it is there until it is ended
    first.until_records("camera", 40)
    second = start(spots_config(), "--set", f"bus.endpoint='{first.endpoint}'")
    assert second.finish() != 0
    assert len(second.stderr_path.read_text().strip().splitlines()) <= 2, second.said()
    assert "Traceback" not in second.said()
    assert str(first.folder / "bus") in second.said()
    before = first.status()["streams"]["camera"]["records"]
    first.until_records("camera", before + 40)
    first.interrupt()
    assert first.finish() == 1
    assert "interrupted by the user" in first.said()
    found = recorded(first.run_folder, ["camera"])["camera"]
    count = len(found["time"])
    assert count >= before + 40
    frames = camera(count, 100)
    assert found["frame"].tobytes() == frames["frame"].tobytes()
    assert_results(first.run_folder, frames)


def test_disk_full_and_free_again(start: Any) -> None:
    run = start(spots_config(rate=120))
    run.until_records("camera", 40)
    (run.faults.folder / "free").write_text("1000000")
    run.until(lambda: "free some space" in run.said(), "the error")
    stopped = wait_until(lambda: steady(run), "a source that waits")
    assert stopped < 400
    (run.faults.folder / "free").write_text(str(1 << 40))
    assert run.finish() == 0, run.said()
    assert verify(run.run_folder).ok
    frames = camera(rate=120)
    found = recorded(run.run_folder, ["camera"])["camera"]
    assert found["frame"].tobytes() == frames["frame"].tobytes()
    assert_results(run.run_folder, frames)


def steady(run: Any) -> int:
    """Return how many records there are, once there come no more."""
    before = run.status()["streams"]["camera"]["records"]
    time.sleep(0.7)
    after: int = run.status()["streams"]["camera"]["records"]
    return after if after == before else 0


def test_nothing_before_hello(start: Any) -> None:
    run = start(spots_config(rate=150))
    run.until_records("camera", 8)
    connection = Connection(run.endpoint, "stranger", "consumer")
    connection._greet()
    connection.start(10.0)
    connection.send("data", {"stream": "camera", "first": 0, "count": 1, "parts": []}, [b"x"])
    answer = connection.receive(10.0)
    assert answer is not None and answer.kind == "error" and answer.header["code"] == "owned"
    connection.close()
    assert run.finish() == 0, run.said()


def test_an_instrument_that_ends_before_its_time_is_not_started_again(start: Any) -> None:
    run = start(stalls(deed="abort"))
    assert run.finish() == 1
    assert "the camera was switched off" in run.said()
    assert not log(run.run_folder, "restart")
    with RunReader(run.run_folder) as reader:
        why = "the camera was switched off: 96 of 200 records"
        assert reader.closed("camera") == (96, "aborted", why)
        assert reader.finished is not None and reader.finished[0] == "aborted"
