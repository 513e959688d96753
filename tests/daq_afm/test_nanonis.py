"""The source against the simulated controller, whose time goes on by a step at each look."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import check_source, record_source
from daq_afm.nanonis import Nanonis
from daq_simulators.nanonis_controller import CommandError, Controller, ScanEngine

ROWS, COLUMNS = 6, 8
CHANNELS = {"height": (14, 1e9), "phase": (24, 1.0), "amplitude": (25, 1e9)}
KEYS = {"interval": 0.001, "timeout": 5.0}


class Stepped(Controller):
    """Moves on by ``step`` lines whenever it is asked whether the scan runs."""

    def __init__(self, *, step: float = 0.4, port: int = 0, **keys: Any) -> None:
        self.now, self.step = 0.0, step
        engine = ScanEngine(
            ROWS, COLUMNS, line_time=1.0, size=(16e-9, 12e-9), clock=lambda: self.now,
            **({"turnaround": 1.0} | keys),
        )  # fmt: skip
        super().__init__(engine, port)

    def _moved(self, body: bytes) -> bytes:
        self.now += self.step
        return self._status(body)

    COMMANDS = {**Controller.COMMANDS, "Scan.StatusGet": _moved}


@pytest.fixture
def controller() -> Iterator[Stepped]:
    with Stepped() as made:
        made.engine.start(upwards=False)
        yield made


def truth(engine: ScanEngine, scan: int, field: str, line: int) -> Any:
    name, _, retrace = field.partition("_")
    channel, factor = CHANNELS[name]
    image = engine._surface(scan, channel, 0 if retrace else 1).astype(np.float64)
    return (image[ROWS - 1 - line] * factor).astype(np.float32)


def is_true(engine: ScanEngine, arrays: Any) -> None:
    for index in range(len(arrays["line"])):
        for field in ("height", "height_retrace", "phase", "amplitude_retrace"):
            expected = truth(engine, arrays["scan"][index], field, arrays["line"][index])
            np.testing.assert_array_equal(arrays[field][index], expected)


class Live:
    """A source driven by hand."""

    def __init__(self, port: int, start: int = 0, memory: Path | None = None, **keys: Any) -> None:
        self.stop = threading.Event()
        self.source = Nanonis()
        self.source.context = daq.SourceContext(self.stop, None, memory)
        config = validated(Nanonis.Config, KEYS | {"port": port} | keys, "")
        try:
            (self.stream,) = self.source.open(config)
        except ValueError:
            self.source.close()
            raise
        self.batches = self.source.batches({"": start})

    def lines(self, count: int) -> list[tuple[int, int, int]]:
        """Take lines: (index, scan, line) of at least so many."""
        taken: list[tuple[int, int, int]] = []
        while len(taken) < count:
            batch = next(self.batches)
            assert isinstance(batch, daq.Batch) and batch.first is not None
            taken += [
                (batch.first + n, int(batch["scan"][n]), int(batch["line"][n]))
                for n in range(len(batch))
            ]
        return taken

    def close(self) -> None:
        self.stop.set()
        assert next(self.batches, None) is None
        self.source.close()


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize("upwards", [True, False])
def test_every_line_of_scans_in_both_directions(upwards: bool, clear: bool) -> None:
    with Stepped(bouncy=True, clear=clear) as made:
        made.engine.start(upwards=upwards)
        lines = record_source(Nanonis, KEYS | {"port": made.port}, records=14)["nanonis"]
        is_true(made.engine, lines.arrays)
    down = list(range(ROWS))[::-1]
    first = down[::-1] if upwards else down
    second = first[::-1]
    if not clear:  # the last line cannot be told from a part of one
        first = first[:-1]
    arrays = lines.arrays
    assert arrays["line"][: len(first)].tolist() == first
    of_second = arrays["line"][arrays["scan"] == 1].tolist()
    assert of_second == second[: len(of_second)]
    assert len(of_second) >= ROWS - 1
    assert (np.diff(arrays["time"]) >= 0).all()


def test_what_the_stream_says(controller: Stepped) -> None:
    live = Live(controller.port, phase_at_resonance=0, attractive_phase="below", mode="tapping",
                spring_constant=5.0)  # fmt: skip
    stream = live.stream
    assert stream.scan == {"shape": [ROWS, COLUMNS], "step": [2.0, 2.0], "units": "nm"}
    assert {name: field.units for name, field in stream.fields.items() if field.shape} == {
        "height": "nm", "height_retrace": "nm", "phase": "deg", "phase_retrace": "deg",
        "amplitude": "nm", "amplitude_retrace": "nm",
    }  # fmt: skip
    assert stream.attributes["phase_at_resonance"] == 90
    assert stream.attributes["spring_constant"] == 5.0
    assert "resonance_frequency" not in stream.attributes
    batch = next(live.batches)
    assert isinstance(batch, daq.Batch)
    line = int(batch["line"][0])
    shown = truth(controller.engine, 0, "phase", line).astype(np.float64)
    np.testing.assert_allclose(batch["phase"][0], 90 - shown, rtol=1e-6)
    assert batch["y"][0] == 2.0 * line
    live.close()
    live = Live(controller.port, retrace=False, only=["height"])
    assert [name for name, field in live.stream.fields.items() if field.shape] == ["height"]
    live.close()


def test_the_promises_of_a_source(controller: Stepped) -> None:
    check_source(Nanonis, KEYS | {"port": controller.port}, records=8, repeatable=False)


def test_a_scan_that_is_started_anew_has_a_new_number_and_a_new_place() -> None:
    with Stepped(step=0.5, continuous=False) as made:
        made.engine.start(upwards=False)
        live = Live(made.port)
        first = live.lines(3)
        made.engine.start(upwards=True)
        second = live.lines(2)
        made.engine.centre = (1e-6, 0.0)
        made.engine.start(upwards=True)
        batch = next(live.batches)
        assert isinstance(batch, daq.Batch)
        live.close()
    assert [(scan, line) for _, scan, line in first] == [(0, 5), (0, 4), (0, 3)]
    assert [(scan, line) for _, scan, line in second] == [(1, 0), (1, 1)]
    assert (batch["scan"][0], batch["line"][0], batch["place"][0]) == (2, 0, 1)


def test_it_ends_after_so_many_images_and_takes_one_that_is_there() -> None:
    with Stepped(continuous=False) as made:
        made.engine.start()
        made.now = 100.0
        keys = KEYS | {"port": made.port, "existing": True, "scans": 1}
        lines = record_source(Nanonis, keys)["nanonis"]
        is_true(made.engine, lines.arrays)
        assert len(lines) == ROWS


def test_a_controller_that_goes_away_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    made = Stepped(continuous=False)
    made.engine.start(upwards=False)
    live = Live(made.port)
    before = live.lines(2)
    port, engine, now = made.port, made.engine, made.now
    made.close()
    reopened: list[Stepped] = []

    def reopen() -> None:
        again = Stepped(port=port)
        again.now, again.engine = now, engine
        engine._clock = lambda: again.now
        reopened.append(again)

    timer = threading.Timer(0.1, reopen)
    timer.start()
    after = live.lines(ROWS - len(before))
    live.close()
    reopened[0].close()
    assert [line for _, _, line in before + after] == [5, 4, 3, 2, 1, 0]
    assert {scan for _, scan, _ in before + after} == {0}
    assert [index for index, _, _ in before + after] == list(range(ROWS))
    assert caplog.text.count("the controller is away") == 1
    assert "connected again" in caplog.text


def test_a_source_that_is_killed_goes_on_where_the_bus_stands(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    with Stepped(continuous=False) as made:
        made.engine.start(upwards=False)
        live = Live(made.port, memory=memory)
        first = live.lines(4)
        # The last line did not reach the bus.
        live.source.close()
        live = Live(made.port, start=3, memory=memory)
        second = live.lines(ROWS - 3)
        live.close()
        assert first[:3] == [(0, 0, 5), (1, 0, 4), (2, 0, 3)]
        assert second == [(3, 0, 2), (4, 0, 1), (5, 0, 0)]
        # Another scan meanwhile: its number is the next.
        made.engine.start(upwards=True)
        made.now += 2.2
        live = Live(made.port, start=6, memory=memory)
        third = live.lines(2)
        live.close()
        assert third[:2] == [(6, 1, 0), (7, 1, 1)]


def test_scans_of_another_size_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with Stepped(step=0.5) as made:
        made.engine.start(upwards=False)
        live = Live(made.port)
        live.lines(1)
        looks = [3]

        def larger(made: Stepped, body: bytes) -> bytes:
            reply = bytearray(made._frame(body))
            if looks[0]:
                looks[0] -= 1
                struct.pack_into(">f", reply, 8, 32e-9)
            return bytes(reply)

        made.COMMANDS = {**Stepped.COMMANDS, "Scan.FrameGet": larger}
        later = live.lines(4)
        live.close()
    assert caplog.text.count("another size, shape or channels: left out") == 1
    assert "taken again" in caplog.text
    assert {scan for _, scan, _ in later} >= {1}


def test_errors_of_the_controller_are_logged_once_and_it_goes_on(
    controller: Stepped, caplog: pytest.LogCaptureFixture
) -> None:
    live = Live(controller.port)
    refused = [5]

    def refuse(made: Stepped, body: bytes) -> bytes:
        if refused[0]:
            refused[0] -= 1
            raise CommandError("The Scan Control module is closed")
        return made._frame(body)

    controller.COMMANDS = {**Stepped.COMMANDS, "Scan.FrameGet": refuse}
    assert live.lines(1)
    live.close()
    assert caplog.text.count("the controller says: The Scan Control module is closed") == 1


def test_mirrored_retraces_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    with Stepped(step=0.5) as made:
        made.engine.start()

        def mirrored(made: Stepped, body: bytes) -> bytes:
            direction = struct.unpack(">II", body)[1]
            reply = bytearray(made._grab(body))
            if not direction:
                at = len(reply) - 4 - 4 * ROWS * COLUMNS
                grid = np.frombuffer(reply, ">f4", ROWS * COLUMNS, at).reshape(ROWS, COLUMNS)
                reply[at:-4] = grid[:, ::-1].tobytes()
            return bytes(reply)

        made.COMMANDS = {**Stepped.COMMANDS, "Scan.FrameDataGrab": mirrored}
        straight = Live(made.port, backward_columns="time")
        straight.lines(18)
        straight.close()
        assert "mirrored" not in caplog.text
        live = Live(made.port)
        live.lines(18)
        live.close()
    assert caplog.text.count("look mirrored (height); say backward_columns = 'time'") == 1


def test_what_is_wrong_is_said(controller: Stepped) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        free = nobody.getsockname()[1]
    with pytest.raises(
        ValueError, match=rf"no Nanonis at localhost:{free}: .* programming interface"
    ):
        Live(free)
    with pytest.raises(ValueError, match="no channel 'frequency'; there are amplitude, height"):
        Live(controller.port, only=["frequency"])
    with pytest.raises(ValueError, match=r"no channel 'X' for height; there are Z, Phase"):
        Live(controller.port, channels={"height": "X"})
    controller.engine.channels = ()
    with pytest.raises(ValueError, match=r"has 0 channels of 6 x 8; set up the scan first"):
        Live(controller.port)
    controller.engine.channels = (3,)
    live = Live(controller.port, channels={"height": 0})
    assert live.stream.fields["height"].units == "V"
    live.close()
