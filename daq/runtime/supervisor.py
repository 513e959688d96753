"""The supervisor: starts bus, recorder, analyses and sources, restarts them, and ends the run in order.

Order of a run: bus; recorder; analyses, until they have subscribed; sources. When the sources have
ended the analyses see the end of their inputs and end too, then the run's own streams are closed,
the recorder finishes the file, the bus stops and the picture is drawn. Ctrl-C asks the sources to
end and then goes the same way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daq import posix
from daq.bus.client import Command, Consumer
from daq.bus.endpoint import check_endpoint, default_endpoint
from daq.bus.publisher import Publisher
from daq.config import ConfigError, nearest
from daq.discovery import Plugins
from daq.run import Run, new_uid
from daq.runtime import picture
from daq.runtime.analysis_group import AnalysisGroup
from daq.runtime.children import Child
from daq.runtime.ended_streams import EndedStreams
from daq.runtime.environment import environment
from daq.runtime.experiment import AnalysisSettings, Experiment
from daq.runtime.orders import Orders
from daq.runtime.result import RunResult, named, verdict
from daq.runtime.run_streams import RunStreams
from daq.runtime.terminal import Terminal

log = logging.getLogger("supervisor")

SUBSCRIBE_SECONDS = 30.0
"""How long sources wait for the analyses to subscribe; later ones catch up."""

STOP_SECONDS = 20.0
"""How long a source may take to end when it is asked to."""

SETTLE_SECONDS = 120.0
FINISH_SECONDS = 1800.0
"""How long the recorder may take for the end of the file."""


class Supervisor:
    """Runs one experiment.

    Parameters
    ----------
    experiment
        What to run.
    output
        Parent of the run's folder; overrides the configuration.
    headless
        Do not open the viewer.
    duration
        Seconds after which the sources are asked to end.
    plugins_dir
        A folder of further plugins.
    endpoint
        Of the bus; overrides the configuration.
    terminal
        Where progress is shown.
    """

    def __init__(
        self, experiment: Experiment, *, output: Path | None = None, headless: bool = True,
        duration: float | None = None, plugins_dir: Path | None = None,
        endpoint: str | None = None, terminal: Terminal | None = None,
    ) -> None:  # fmt: skip
        self.experiment = experiment
        self.endpoint = check_endpoint(endpoint or experiment.bus.endpoint or default_endpoint())
        self.run_info = Run(
            new_uid(experiment.run.title), experiment.run.title, experiment.run.sample,
            experiment.run.user, None, experiment.text, experiment.resolved(), environment(),
            time.time_ns(),
        )  # fmt: skip
        self.output = (output or experiment.recorder.output).expanduser().absolute()
        self.folder = self.output / self.run_info.uid
        self._plugins_dir = plugins_dir
        self._headless = headless
        self._duration = duration
        self._terminal = terminal or Terminal(quiet=True)
        self._recording = experiment.recorder.record == "now"
        self._recorded = self._recording
        self._stop_reason: str | None = None
        self._stop_sent: set[str] = set()
        self._stopped_at: float | None = None
        self._abandon = False
        self._interrupts = 0
        self._status: dict[str, Any] = {"streams": {}, "consumers": {}, "errors": {}, "peers": []}
        self._status_at = 0.0
        self._file: Path | None = None
        self._problems: list[str] = []
        self._children: list[Child] = []
        self._analyses: dict[str, AnalysisGroup] = {}
        self._sources: list[Child] = []
        self._wires = [n for n, s in experiment.sources.items() if s.type == "wire"]
        self._closed: dict[str, dict[str, Any]] = {}
        self._watcher: picture.Watcher | None = None
        self._control: Consumer | None = None
        self._own: RunStreams | None = None
        self._ended: EndedStreams | None = None
        self._publisher: Publisher | None = None
        self._changes = [dict(change) for change in experiment.reconfigurations]
        self._orders = Orders(experiment, self.run_info, self.endpoint, self.output, plugins_dir)

    # -- the course of a run --------------------------------------------------------------------

    def run(self) -> RunResult:
        """Run to the end; raise `ConfigError` or OSError where the run cannot begin."""
        if self._recording:
            _check_writable(self.output)
        plugins = Plugins.load(self._plugins_dir)
        with tempfile.TemporaryDirectory(prefix="glasswatch-") as scratch:
            self._scratch = Path(scratch)
            handler = _LogHandler(self)
            logging.getLogger().addHandler(handler)
            try:
                with posix.interrupts(self._interrupted):
                    self._start(plugins)
                    self._supervise()
                    result = self._finish(plugins)
                return result
            finally:
                logging.getLogger().removeHandler(handler)
                for child in self._children:
                    child.kill()
                if self._watcher is not None:
                    self._watcher.close()
                if self._control is not None:
                    self._control.close()
                if self._publisher is not None:
                    self._publisher.close()

    def _start(self, plugins: Plugins) -> None:
        self._bus = self._child(
            "bus", "daq.runtime.bus_process", lambda: self._orders.bus(recording=self._recording)
        )
        self._bus.start()
        self._wait_ready(self._bus, 20.0)
        self._control = Consumer(self.endpoint, "supervisor", "control", timeout=10.0)
        self._publisher = Publisher(
            self.endpoint, "supervisor", "control", on_command=self._on_command, ring=False
        )
        self._own = RunStreams(self._publisher)
        self._ended = EndedStreams(self._publisher)
        self._own.log("info", "supervisor", f"run {self.run_info.uid}", event="start")
        for name, reason in plugins.failed.items():
            self._say("warning", f"plugin {name} was skipped: {reason}")
        if self._recording:
            self._start_recorder()
        elif self.experiment.viewer.picture:
            # What is not recorded is gone when the picture is drawn: somebody must have seen it.
            path = self.output / f"{self.run_info.uid}.png"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._watcher = picture.Watcher(self.endpoint, path)
            except OSError as error:
                self._say("warning", f"there will be no picture: {error}")
        for group in self.experiment.groups():
            self._start_analyses(group)
        plugins.run_started(self.run_info)
        self._wait_subscribed()
        for name, settings in self.experiment.sources.items():
            if settings.type == "wire":
                self._say(
                    "info", f"waiting for a client to open the stream {name!r} at {self.endpoint}"
                )
                continue
            child = self._child(
                name,
                "daq.runtime.source_process",
                lambda n=name: self._orders.source(n, self._scratch),
            )
            self._sources.append(child)
            child.start()
        self._hopeless: dict[tuple[str, str], float] = {}
        self._viewer = None
        if not self._headless and self.experiment.viewer.enabled and picture.screen():
            self._viewer = picture.start_viewer(self.endpoint)
        self._began = time.monotonic()

    def _supervise(self) -> None:
        """Until sources and analyses are over."""
        terminal = self._terminal
        while not self._abandon:
            self._tick()
            if self._duration is not None and time.monotonic() - self._began > self._duration:
                self._stop_reason = self._stop_reason or "the duration is over"
            if self._stop_reason is not None:
                self._stop_sources()
            self._give_up_on_streams()
            self._watch_recorder()
            self._end_hopeless_analyses()
            if self._sources_over():
                if all(child.over for child in self._children if child.name in self._analyses):
                    return
            if self._bus.over:
                self._problems.append(f"bus: {self._bus.reason}")
                return
            terminal.show(self._status, time.monotonic() - self._began, self._recording)

    def _finish(self, plugins: Plugins) -> RunResult:
        self._tick(force_status=True)
        status, reason = self._verdict()
        file = image = None
        if not self._bus.over and not self._abandon:
            self._say(
                "info", f"the run is {status}" + (f": {reason}" if reason else ""), event="end"
            )
            if not self._recorded and self._watcher is not None:
                image = self._picture(self._watcher.draw)
            if self._own is not None:
                self._own.close("complete" if status == "complete" else "aborted", 20.0)
            if self._recorded:
                file = self._finish_recorder(status, reason)
            self._stop_bus()
        elif self._recorded:
            file = self._wait_recorder()
        status, reason = self._verdict()
        if file is not None and self.experiment.viewer.picture:
            path = self.folder / f"{self.run_info.uid}.png"
            image = self._picture(lambda: picture.draw(str(file), path))
        run = dataclasses.replace(self.run_info, folder=self.folder if file else None)
        plugins.run_finished(run)
        return RunResult(status == "complete", reason, file, image, self._status["streams"])

    def _verdict(self) -> tuple[str, str]:
        """Return how the run ended, and why it is not complete."""
        problems = ["abandoned"] if self._abandon else []
        failed = {c.name: c.reason for c in self._children if c.state == "failed"}
        return verdict([*problems, *self._problems], failed, self._status["streams"], self._closed)

    # -- one turn of the loop -------------------------------------------------------------------

    def _tick(self, *, force_status: bool = False) -> None:
        self._poll_children()
        self._watch_hangs()
        assert self._own is not None and self._control is not None and self._ended is not None
        try:
            self._own.pump()
            event = self._control.receive(0.02)
            while event is not None:
                if isinstance(event, Command):
                    self._answer(event)
                event = self._control.receive(0.0)
            now = time.monotonic()
            if force_status or now - self._status_at > 0.5:
                self._status = self._control.status(2.0)
                self._status_at = now
                if int(now) % 2 == 0 or force_status:
                    self._own.status(self._status)
                self._ended.remind(self._closed, self._status["streams"])
        except (ConnectionError, TimeoutError):
            # The bus is away; it is being restarted, or has failed.
            time.sleep(0.02)

    def _poll_children(self) -> None:
        for child in list(self._children):
            changed = child.poll()
            if (
                changed
                and child.state in ("waiting", "running")
                and child.restarts + (child.state == "waiting")
            ):
                what = "will be restarted" if child.state == "waiting" else "is restarted"
                self._say("warning", f"{child.name} {what}: {child.reason}", event="restart")
                if child.state == "waiting":
                    self._learn(child)

    def _sources_over(self) -> bool:
        streams = self._status["streams"]
        wires = all(name in streams and not streams[name]["open"] for name in self._wires)
        if self._stop_reason is not None and self._wires:
            wires = True
        return wires and all(child.over for child in self._sources)

    def _stop_sources(self) -> None:
        assert self._control is not None
        self._stopped_at = self._stopped_at or time.monotonic()
        late = time.monotonic() - self._stopped_at > STOP_SECONDS
        for child in self._sources:
            if late and not child.over:
                child.give_up(f"did not stop within {STOP_SECONDS:g} s")
            if child.over or child.name in self._stop_sent:
                continue
            if child.state == "waiting":
                child.give_up(self._stop_reason or "stopped")
                continue
            with contextlib.suppress(ConnectionError, TimeoutError):
                self._control.command(child.name, "stop", {"reason": self._stop_reason}, 2.0)
                self._stop_sent.add(child.name)
        for name in self._wires:
            counters = self._status["streams"].get(name)
            if counters and counters["open"] and name not in self._stop_sent:
                self._stop_sent.add(name)
                expect = counters["expect"]
                whole = expect is None or counters["records"] >= expect
                self._control.close_stream(
                    name, "complete" if whole else "aborted", self._stop_reason or ""
                )

    def _give_up_on_streams(self) -> None:
        """Close the streams of a source or analysis that will not come back."""
        assert self._control is not None
        for name, counters in self._status["streams"].items():
            if not counters["open"] or name in self._stop_sent:
                continue
            owner = next((c for c in self._children if c.name == counters["owner"]), None)
            group = next(
                (c for c in self._children if counters["owner"] in self._names_in(c)), owner
            )
            if group is not None and group.state == "failed" and counters["status"] == "stale":
                self._stop_sent.add(name)
                self._closed[name] = {"stream": name, "reason": group.reason}
                self._control.close_stream(name, "failed", group.reason[:400])

    def _end_hopeless_analyses(self) -> None:
        """An analysis whose input never opened, and never will, cannot end by itself.

        It would also hold back the sources of its other inputs, of which it takes nothing.
        """
        streams, now = self._status["streams"], time.monotonic()
        for child in self._children:
            group = self._analyses.get(child.name)
            if group is None or child.over:
                continue
            for settings in group.settings:
                for stream in settings.inputs:
                    producer = self._producer(stream)
                    if stream in streams or stream in self._closed:
                        continue  # The second: on a bus that was restarted it comes back.
                    if not (self._sources_over() if producer is None else producer.over):
                        continue
                    # what opened just before its producer ended stands in the next status
                    noticed = self._hopeless.setdefault((child.name, stream), now)
                    if self._status_at > noticed:
                        child.give_up(f"analyses.{settings.name}: its input {stream} never opened")

    def _watch_recorder(self) -> None:
        """Without a recorder that comes back no more data are taken: the run ends in order."""
        if not self._recording or self._recorder.state != "failed":
            return
        assert self._control is not None
        self._recording = False
        self._stop_reason = self._stop_reason or f"the recorder failed: {self._recorder.reason}"
        with contextlib.suppress(ConnectionError, TimeoutError):
            # Nobody waits any longer for records to be written.
            self._control.command("bus", "unrecord", {}, 2.0)

    def _watch_hangs(self) -> None:
        for child in self._children:
            group = self._analyses.get(child.name)
            if group is None or child.state != "running":
                continue
            if (hanging := group.hanging()) is not None:
                self._say(
                    "error", f"{hanging.name} hangs since {hanging.timeout:g} s: it is killed"
                )
                child.kill()

    def _learn(self, child: Child) -> None:
        group = self._analyses.get(child.name)
        for bad in group.learn() if group else ():
            self._say(
                "error",
                f"{bad.analysis}: record {bad.index} of {bad.stream} ended it twice and is skipped",
                event="skip", stream=bad.stream, index=bad.index,
            )  # fmt: skip

    # -- children -------------------------------------------------------------------------------

    def _child(self, name: str, module: str, order: Any) -> Child:
        child = Child(name, module, order, self._on_event)
        self._children.append(child)
        return child

    def _start_recorder(self) -> None:
        self._recorder = self._child(
            "recorder", "daq.runtime.recorder_process", self._orders.recorder
        )
        self._recorder.start()
        self._wait_ready(self._recorder, 20.0)
        self._recording = self._recorded = True

    def _start_analyses(self, settings: list[AnalysisSettings]) -> Child:
        name = settings[0].group if len(settings) > 1 and settings[0].group else settings[0].name
        if any(child.name == name for child in self._children):
            name = f"{name}.group"
        self._analyses[name] = AnalysisGroup(settings, self._scratch)
        child = self._child(
            name, "daq.runtime.analysis_process", lambda: self._analysis_order(name)
        )
        child.start()
        return child

    def _wait_ready(self, child: Child, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not child.ready:
            self._poll_children()
            if child.state == "failed" or (child.state == "waiting" and child.name == "bus"):
                raise ConfigError(child.reason)
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"{child.name} did not start within {seconds:g} s: {child.reason}"
                )
            if self._interrupts:
                raise KeyboardInterrupt
            time.sleep(0.005)

    def _wait_subscribed(self) -> None:
        """Let the analyses subscribe, so that none has to catch up; the slow ones do."""
        deadline = time.monotonic() + SUBSCRIBE_SECONDS
        names = set(self._analyses)
        while time.monotonic() < deadline and not self._interrupts:
            self._tick()
            if all(child.ready or child.over for child in self._children if child.name in names):
                return

    def _names_in(self, child: Child) -> list[str]:
        group = self._analyses.get(child.name)
        return group.names if group else []

    def _producer(self, stream: str) -> Child | None:
        first = stream.partition(".")[0]
        return next(
            (c for c in self._children if c.name == first or first in self._names_in(c)), None
        )

    def _analysis_order(self, child_name: str) -> dict[str, Any]:
        analyses = self._analyses[child_name].order(self._changes)
        return self._orders.analyses(analyses, recorded=self._recorded)

    def _on_event(self, child: Child, event: dict[str, Any]) -> None:
        match event["event"]:
            case "log":
                level = event["level"] if event["level"] in ("info", "warning", "error") else "info"
                self._say(level, event["message"], origin=child.name, at=event.get("time"))
            case "error":
                self._say("error", event["message"], origin=child.name)
            case "closed":
                self._closed.update(event["streams"])
            case "finished":
                self._file = Path(event["path"])
            case "missed":
                for stream, index in event["streams"].items():
                    self._say(
                        "warning", f"{event['name']} misses records 0 to {index - 1} of {stream}",
                        origin=event["name"], event="missed", stream=stream, index=index,
                    )  # fmt: skip
                    self._problems.append(f"{event['name']} misses {index} records of {stream}")
            case "reconfigured":
                change = {
                    "analysis": event["name"],
                    **{k: event[k] for k in ("stream", "index", "config")},
                }
                self._changes.append(change)
                self._say(
                    "info", json.dumps(event["config"]), origin=event["name"],
                    event="reconfigure", stream=event["stream"], index=event["index"],
                )  # fmt: skip
            case "opened" if child.name in self._analyses and "name" in event:
                self._check_followers(event["name"], list(event["streams"]))

    def _check_followers(self, producer: str, opened: list[str]) -> None:
        """An analysis that waits for a stream which its producer does not give waits for ever."""
        for child in self._children:
            group = self._analyses.get(child.name)
            for settings in group.settings if group else ():
                for stream in settings.inputs:
                    if stream.partition(".")[0] == producer and stream not in opened:
                        child.give_up(
                            f"analyses.{settings.name}: {producer} gives no stream {stream!r}"
                            f"{nearest(stream, opened)}"
                        )

    # -- commands -------------------------------------------------------------------------------

    def _answer(self, command: Command) -> None:
        assert self._control is not None
        try:
            answer = self._on_command(command.name, command.arguments)
        except (ValueError, OSError) as error:
            answer = {"error": str(error)}
        self._control.done(command, **answer)

    def _on_command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """``stop``, ``record``, ``note`` and ``add``; raises ValueError in one clear line."""
        match name:
            case "stop":
                self._stop_reason = str(arguments.get("reason") or "stopped by command")
            case "record":
                if not self._recorded:
                    _check_writable(self.output)
                    self._start_recorder()
                    self._say("info", f"recording to {self.folder}", event="record")
                return {"path": str(self.folder)}
            case "note":
                self._say("info", str(arguments.get("text", "")), origin="note", event="note")
            case "add":
                self._add(dict(arguments))
            case _:
                raise ValueError(
                    f"no command {name!r}{nearest(name, ['stop', 'record', 'note', 'add'])}"
                )
        return {}

    def _add(self, arguments: dict[str, Any]) -> None:
        """Add an analysis while the run goes on: ``name`` and the keys of its table."""
        name = str(arguments.pop("name", ""))
        tables = self.experiment.resolved()
        if name in tables["analyses"] or name in tables["sources"]:
            raise ValueError(f"{name} is there already")
        tables["analyses"][name] = arguments
        changed = Experiment.from_dict(
            tables, plugins=Plugins.load(self._plugins_dir), base=self.experiment.base
        )
        self.experiment = dataclasses.replace(changed, text=self.experiment.text)
        self._start_analyses([self.experiment.analyses[name]])
        self._say("info", json.dumps({"name": name, **arguments}), origin=name, event="add")

    # -- the end --------------------------------------------------------------------------------

    def _finish_recorder(self, status: str, reason: str) -> Path | None:
        assert self._control is not None
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and not self._abandon:
            if self._recorder.over:
                break
            self._tick(force_status=True)
            self._give_up_on_streams()
            streams = self._status["streams"].values()
            if all(
                s["settled"] or (not s["open"] and (s["durable"] or 0) >= s["records"])
                for s in streams
            ):
                break
        asked: int | None = None
        deadline = time.monotonic() + FINISH_SECONDS
        while not (self._recorder.over or self._abandon) and time.monotonic() < deadline:
            self._tick()
            process = self._recorder.process
            if process is None or not self._recorder.ready or process.pid == asked:
                continue
            order = {"status": status, "reason": reason}
            try:
                self._control.command("recorder", "finish", order, 0.1)
                asked = process.pid
            except TimeoutError:
                asked = process.pid  # It answers when the file is finished.
            except ConnectionError:
                continue  # Not there yet, or the bus is away.
        if self._recorder.state != "ended":
            self._problems.append(f"recorder: {self._recorder.reason or 'did not finish the file'}")
        return self._file

    def _wait_recorder(self) -> Path | None:
        """The bus has failed or the run is abandoned: the recorder ends by itself."""
        if self._recorder.process is not None and self._recorder.process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._recorder.process.stdin.close()
        self._recorder.wait(40.0)
        return self._file

    def _stop_bus(self) -> None:
        assert self._control is not None
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._control.command("bus", "stop", {}, 5.0)
        self._bus.wait(5.0)

    def _picture(self, draw: Callable[[], Path]) -> Path | None:
        try:
            return draw()
        except (picture.NoPictureError, OSError) as error:
            self._terminal.say("warning", f"no picture: {error}")
            return None

    def _interrupted(self, *_: object) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self._stop_reason = self._stop_reason or "interrupted by the user"
            self._terminal.say("warning", "ending the run in order; Ctrl-C twice more abandons it")
        elif self._interrupts >= 3:
            self._abandon = True

    def _say(self, level: str, message: str, *, origin: str = "supervisor", **more: Any) -> None:
        if self._own is not None:
            self._own.log(level, origin, message, **more)
        if level != "info" or more.get("event") in ("start", "end", "record"):
            self._terminal.say(level, message if origin == "supervisor" else named(origin, message))


def run_experiment(
    experiment: Experiment, *, output: Path | None = None, headless: bool = False,
    duration: float | None = None, plugins_dir: Path | None = None, endpoint: str | None = None,
) -> int:  # fmt: skip
    """Run an experiment with progress on the terminal; return 0 only if it is complete.

    The last line names the file and the picture.
    """
    terminal = Terminal()
    supervisor = Supervisor(
        experiment, output=output, headless=headless, duration=duration,
        plugins_dir=plugins_dir, endpoint=endpoint, terminal=terminal,
    )  # fmt: skip
    result = supervisor.run()
    terminal.summary(result.streams)
    if not result.complete:
        terminal.say("error", f"not complete: {result.reason}")
    named = [f"file {_short(result.file)}" if result.file else "nothing was recorded"]
    if result.picture:
        named.append(f"picture {_short(result.picture)}")
    terminal.last(("complete: " if result.complete else "NOT complete: ") + ", ".join(named))
    return 0 if result.complete else 1


class _LogHandler(logging.Handler):
    """Puts what the supervisor's own modules log into ``run.log``."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(logging.INFO)
        self._supervisor = supervisor

    def emit(self, record: logging.LogRecord) -> None:
        own = self._supervisor._own
        if own is not None:
            own.log(record.levelname.lower(), record.name, record.getMessage())


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"recorder.output: cannot write to {folder} ({error.strerror}); choose another with --output"
        ) from None


def _short(path: Path | None) -> str:
    if path is None:
        return ""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
