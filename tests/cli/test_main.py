"""The command line: what it answers to anybody, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import daq
import daq.cli
from daq.bus.broker import Broker, BusSettings
from daq.bus.client import Command, consumer
from daq.bus.publisher import Publisher
from daq.cli import main
from daq.cli.options import seconds

CONFIG = '[sources.camera]\ntype = "moving_spots"\nrecords = 10\n'


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed on standard error, which must be one line."""
    text = capsys.readouterr().err
    assert text.startswith("daq: ")
    assert text.count("\n") == 1, text
    return text


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


# -- help -----------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from daq.cli import main; status = main(['--help'])\n"
        "heavy = {'numpy', 'numba', 'scipy', 'h5py', 'zmq', 'pydantic', 'PySide6'} & set(sys.modules)\n"
        "print(); print(status, sorted(heavy))"
    )

    assert python(code).stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("function", daq.cli.COMMANDS, ids=lambda function: function.__name__)
def test_every_command_teaches(
    function: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([function.__name__, "--help"]) == 0

    text = capsys.readouterr().out
    assert f"daq {function.__name__}" in text.split("For example")[1]


def test_without_a_word_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    captured = capsys.readouterr()
    assert "Usage: daq" in captured.out + captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"glasswatch {daq.__version__}\n"


def test_as_a_module_and_as_a_script() -> None:
    script = Path(sys.executable).with_name("daq")
    for command in ([sys.executable, "-m", "daq"], [str(script)]):
        if not Path(command[0]).exists():
            pytest.skip(f"{command[0]} is not installed")
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout) == (0, f"glasswatch {daq.__version__}\n")


# -- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "Did you mean 'run'"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "absent.toml"], "absent.toml: no such file"),
        (
            ["run", "c.toml", "--duration", "3x"],
            "'3x' is not a length of time; use 90, 90s, 1.5min or 2h",
        ),
        (["run", "c.toml", "--set", "sources.camera.rat=3"], "did you mean 'rate'"),
        (["run", "c.toml", "--set", "sources.camera.rate"], "KEY=VALUE is needed"),
        (["run", "c.toml", "--plugins-dir", "absent"], "absent: no such folder"),
        (["verify", "absent"], "absent: no such run"),
        (["repair", "absent"], "absent: no such run"),
        (["replay", "absent"], "absent: no such file or run"),
        (["view", "absent"], "neither a run that is there nor an endpoint"),
        (["status", "tcp://0.0.0.0:5555"], "without keys a bus is on the loopback only"),
        (["command", "camera", "stop", "now"], "'now': KEY=VALUE is needed"),
        (["plugins", "moving_spot"], "did you mean 'moving_spots'"),
        (["new", "import"], "'import' is no name for a plugin"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_asked_wrongly_is_one_line_and_status_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(CONFIG)
    if words[0] == "view":
        monkeypatch.setattr("daq.viewer.availability", lambda: None)

    assert main(words) == 2
    assert message in said(capsys)


def test_no_bus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("daq.cli.connection.ANSWER_SECONDS", 0.05)

    assert main(["status", f"ipc://{tmp_path / 'bus'}"]) == 2
    assert "is a run on? daq run CONFIG starts one" in said(capsys)


def test_an_error_of_ours_is_one_line_status_1_and_a_traceback_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("daq.discovery.Plugins.load", broken)

    assert main(["plugins"]) == 1
    assert said(capsys) == "daq: KeyError: 'lost'; --debug shows where\n"
    with pytest.raises(KeyError):
        main(["plugins", "--debug"])
    with pytest.raises(KeyError):
        main(["--debug", "plugins"])


def test_an_error_with_a_file_name_and_of_several_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors: list[Exception] = [
        PermissionError(13, "Permission denied", "/data"),
        ValueError("a\nb"),
    ]

    def broken(*_: object) -> None:
        raise errors.pop(0)

    monkeypatch.setattr("daq.discovery.Plugins.load", broken)

    assert main(["plugins"]) == 2
    assert said(capsys) == "daq: /data: Permission denied\n"
    assert main(["plugins"]) == 2
    assert said(capsys) == "daq: a b\n"


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("daq.discovery.Plugins.load", interrupted)

    assert main(["plugins"]) == 130


@pytest.mark.parametrize("word", ["--version", "--help", "plugins"])
def test_who_reads_no_further_is_no_error(word: str) -> None:
    code = f"import sys; from daq.cli import main; sys.exit(main(['{word}']))"
    # with output that is buffered the error comes at the very end
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["sh", "-c", f'{sys.executable} -c "{code}" | true'],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90.0), ("90s", 90.0), ("1.5min", 90.0), ("2h", 7200.0), (".5 s", 0.5)],
)
def test_lengths_of_time(text: str, value: float) -> None:
    assert seconds(text) == value


# -- run, replay, view ----------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Any]]:
    """What `run_experiment` was called with, instead of a run that ends with status 1."""
    calls: list[Any] = []

    def run_experiment(experiment: Any, **options: Any) -> int:
        calls.append((experiment, options))
        return 1

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("daq.runtime.supervisor.run_experiment", run_experiment)
    Path("c.toml").write_text(CONFIG)
    return calls


def test_run_passes_everything_on_and_gives_the_status_of_the_run(started: list[Any]) -> None:
    words = "run c.toml -o out --headless --set sources.camera.rate=5 --duration 2min --endpoint ipc://x"

    assert main(words.split()) == 1

    ((experiment, options),) = started
    assert experiment.sources["camera"].config.rate == 5.0
    assert experiment.text == CONFIG
    assert options == {
        "output": Path("out"), "headless": True, "duration": 120.0, "plugins_dir": None,
        "endpoint": "ipc://x",
    }  # fmt: skip


def test_run_with_plugins_from_a_folder(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daq.discovery._loaded", None)
    Path("more").mkdir()
    Path("more/gw_cli_plugin.py").write_text(
        "import daq\nclass A(daq.Analysis):\n    name = 'cli_test'\n"
        "@daq.hookimpl\ndef daq_analyses(): return [A]\n"
    )
    words = ["run", "c.toml", "--plugins-dir", "more", "--set", "analyses.a.type=cli_test"]

    assert main([*words, "--set", "analyses.a.input=camera"]) == 1

    ((experiment, options),) = started
    assert experiment.analyses["a"].analysis.__module__ == "gw_cli_plugin"
    assert options["plugins_dir"] == Path("more")
    del sys.modules["gw_cli_plugin"]


def test_replay_runs_what_replay_makes(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def replay_experiment(*arguments: Any) -> str:
        asked.append(arguments)
        return "an experiment"

    monkeypatch.setattr("daq.runtime.replay.replay_experiment", replay_experiment)

    assert main(["replay", "c.toml", "--speed", "2", "-c", "x.toml", "--set", "a=1"]) == 1

    assert asked == [(Path("c.toml"), Path("x.toml"), 2.0, ["a=1"])]
    assert started[0][0] == "an experiment"


def test_view(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[Any] = []
    reason: list[str | None] = [None, "libEGL.so.1 is not there; apt install libegl1"]
    monkeypatch.setattr("daq.viewer.availability", lambda: reason.pop(0))
    monkeypatch.setattr("daq.viewer.run_viewer", lambda *arguments: shown.append(arguments) or 0)

    assert main(["view", "tcp://127.0.0.1:5555", "--snapshot", "x.png"]) == 0
    assert shown == [("tcp://127.0.0.1:5555", Path("x.png"))]
    assert main(["view"]) == 2
    assert "the viewer cannot run: libEGL.so.1 is not there; apt install libegl1" in said(capsys)


# -- verify and repair ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_reports_of_a_run(
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    streams = {"camera": {"records": 10, "durable": 8}, "virtual.sums": {"records": 3}}
    reports = [
        SimpleNamespace(ok=True, problems=[], streams=streams),
        SimpleNamespace(ok=False, problems=["camera: record 7: checksum wrong"], streams={}),
    ]
    module = SimpleNamespace(**{command: lambda *_: reports.pop(0)})
    monkeypatch.setitem(sys.modules, f"daq.recording.{command}", module)

    assert main([command, str(tmp_path)]) == 0
    whole = capsys.readouterr().out
    assert main([command, str(tmp_path)]) == 1
    broken = capsys.readouterr().out

    assert re.search(r"camera +10 +8 *\n", whole)
    assert whole.splitlines()[-1] == f"{tmp_path}: {'whole' if command == 'verify' else 'readable'}"
    assert "camera: record 7: checksum wrong" in broken
    assert "1 problem;" in broken.splitlines()[-1]


# -- status and command ---------------------------------------------------------------------------


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """The endpoint of a bus that runs in a thread of the test."""
    endpoint = f"ipc://{tmp_path / 'bus'}"
    broker = Broker(BusSettings(endpoint, run="20260101T000000Z-test-0000", ring_bytes=0))
    thread = threading.Thread(target=broker.serve)
    thread.start()
    yield endpoint
    broker.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_status_of_a_bus(bus: str, capsys: pytest.CaptureFixture[str]) -> None:
    publisher = Publisher(bus, "camera", ring=False)
    try:
        publisher.open(daq.Stream("camera", {"value": daq.Field("<f8")}, expect=5000))
        time = np.arange(3, dtype=np.int64)
        publisher.send(daq.Batch("camera", {"value": np.zeros(3), "time": time}, 0))

        def records() -> int:
            assert main(["status", bus, "--json"]) == 0
            counters = json.loads(capsys.readouterr().out)
            return int(counters["streams"]["camera"]["records"])

        for _ in range(1000):
            publisher.pump(0.005)
            if records() == 3:
                break
        assert main(["status", bus]) == 0
    finally:
        publisher.close()

    text = capsys.readouterr().out
    assert "run 20260101T000000Z-test-0000   NOT recording" in text
    assert re.search(r"camera +open +3 +5 000 ", text)


def test_commands_reach_their_target_and_its_answer_is_shown(
    bus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Command] = []
    ready = threading.Event()

    def answer() -> None:
        with consumer(bus, "virtual", "control") as client:
            ready.set()
            while len(asked) < 2:
                event = client.receive(30)
                assert isinstance(event, Command)
                asked.append(event)
                more = (
                    {"error": "no"} if event.name == "stop" else {"stream": "camera", "index": 64}
                )
                client.done(event, **more)

    thread = threading.Thread(target=answer)
    thread.start()
    assert ready.wait(30)
    words = ["virtual", "reconfigure", "annuli.haadf=[20,40]", "image_every=64", "note=a b"]

    assert main(["command", *words, "--endpoint", bus]) == 0
    assert capsys.readouterr().out == "virtual reconfigure: done, from record 64 of camera on\n"
    assert main(["command", "virtual", "stop", "--endpoint", bus]) == 2
    assert said(capsys) == "daq: no\n"
    thread.join(30)

    assert asked[0].arguments == {"annuli": {"haadf": [20, 40]}, "image_every": 64, "note": "a b"}
    assert main(["command", "nobody", "stop", "--endpoint", bus]) == 2
    assert "nobody here is called 'nobody'" in said(capsys)


# -- plugins --------------------------------------------------------------------------------------


def test_plugins_and_their_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    listed = capsys.readouterr().out
    assert main(["plugins", "moving_spots"]) == 0
    explained = capsys.readouterr().out

    assert re.search(r"analysis +virtual +daq_stem +glasswatch", listed)
    assert re.search(r"rate +1000.0 +1/s +records per second", explained)


def test_a_plugin_that_failed_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("daq.discovery._loaded", None)
    (tmp_path / "gw_cli_bad.py").write_text("import gw_absent")

    assert main(["plugins", "--plugins-dir", str(tmp_path)]) == 1
    assert "failed: gw_cli_bad" in capsys.readouterr().out
