"""What docs/reference says about the protocol: its clients stream, its tables are complete."""

from __future__ import annotations

import ast
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zmq

import daq.bus.broker
import daq.streams
from daq import protocol
from daq.bus.broker import Broker, BusSettings
from daq.bus.client import Closed, Consumer, Delivery
from daq.bus.publisher import Publisher
from daq.streams import Batch, Field, Stream

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (REFERENCE / "protocol.md").read_text()
TRANSCRIPT = REFERENCE / "transcript.txt"
BUS = Path(daq.bus.broker.__file__).parent
DEADLINE = 30.0

Arrays = dict[str, np.ndarray[Any, Any]]


# -- buses, clients and data ------------------------------------------------------------------------


class RunningBus:
    """A bus in a thread."""

    def __init__(self, endpoint: str) -> None:
        # All history stays: no consumer of a test comes too late.
        self.broker = Broker(BusSettings(endpoint, lookback=1e6, lookback_bytes=1 << 30))
        self.endpoint = endpoint
        self._thread = threading.Thread(target=self.broker.serve)
        self._thread.start()

    def stop(self) -> None:
        self.broker.stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def records(self, stream: str) -> int:
        streams = self.broker.status()["streams"]
        return streams[stream]["records"] if stream in streams else -1


@pytest.fixture
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if getattr(request, "param", "ipc") == "ipc":
        return f"ipc://{tmp_path}/bus"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def bus(endpoint: str) -> Iterator[RunningBus]:
    running = RunningBus(endpoint)
    yield running
    running.stop()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a client of the page in a process of its own, without `daq` on its path."""
    started: list[subprocess.Popen[str]] = []

    def start(client: str, *arguments: str | Path) -> subprocess.Popen[str]:
        # -I: no PYTHONPATH and no current folder, so that nothing of ours comes in by chance.
        command = [sys.executable, "-I", REFERENCE / client, *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def succeed(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    return out


def wait_until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.005)


@pytest.fixture
def arrays(tmp_path: Path) -> Arrays:
    """Data with every bit that may get lost: NaN with a payload, infinities, the last bit, text."""
    random = np.random.default_rng(20260401)
    count = 700
    data: Arrays = {
        "frame": random.integers(0, 1 << 16, (count, 24, 40)).astype("<u2"),
        "current": random.normal(size=count) * 10.0 ** random.integers(-300, 300, count),
        "phase": random.normal(size=(count, 3)).astype("<c8"),
        "shutter": random.integers(0, 2, count).astype(bool),
        "note": np.array([f"größe {n}".encode() for n in range(count)], "|S16"),
        "time": 1_700_000_000_000_000_000 + np.cumsum(random.integers(1, 1 << 40, count)),
    }
    data["current"].view("<u8")[:3] = [0x7FF8_0000_0000_0001, 0x7FF0_0000_0000_0000, 1]
    np.savez(tmp_path / "data.npz", **data)
    return data


def same(got: Arrays, expected: Arrays) -> None:
    assert set(got) == set(expected)
    for name, array in expected.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        assert got[name].tobytes() == array.tobytes(), name


class Following:
    """A consumer of `daq` in a thread, that copies a stream to its end."""

    def __init__(self, endpoint: str, name: str, stream: str, *, ring: bool) -> None:
        self._consumer = Consumer(endpoint, name)
        self._consumer.subscribe([stream], start=0, ring=ring)
        self.slots = 0
        self._batches: list[Arrays] = []
        self._closed = False
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while not self._closed and time.monotonic() < deadline:
            event = self._consumer.receive(0.1)
            if isinstance(event, Delivery):
                self.slots += event.slot is not None
                copies = {name: array.copy() for name, array in event.batch.raw.items()}
                if event.intact():
                    self._batches.append(copies)
                self._consumer.release(event)
            self._closed = isinstance(event, Closed)
        self._consumer.close()

    def result(self) -> Arrays:
        self._thread.join(DEADLINE)
        assert self._closed
        names = self._batches[0]
        return {name: np.concatenate([batch[name] for batch in self._batches]) for name in names}


# -- the clients of the page ------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["tcp", "ipc"], indirect=True)
@pytest.mark.parametrize("client", ["source_client.py", "ring_source_client.py"])
def test_an_outside_client_gets_its_data_back_bit_for_bit(
    bus: RunningBus, start: Any, arrays: Arrays, tmp_path: Path, client: str
) -> None:
    """A client of the page streams; inline, ring and outside consumers side by side see the same."""
    outside = start("consumer_client.py", bus.endpoint, "camera", tmp_path / "result.npz")
    inline = Following(bus.endpoint, "inline", "camera", ring=False)
    ring = Following(bus.endpoint, "ring", "camera", ring=True)

    source = start(client, bus.endpoint, "camera", tmp_path / "data.npz")

    assert succeed(source) == "camera: 700 records taken, on disk: None\n"
    assert succeed(outside) == "camera: 700 records, complete\n"
    same(inline.result(), arrays)
    same(ring.result(), arrays)
    with np.load(tmp_path / "result.npz") as result:
        same(dict(result), arrays)
    assert inline.slots == 0
    assert (ring.slots > 0) == (client == "ring_source_client.py")


def test_a_source_that_was_killed_goes_on_where_the_bus_stands(
    bus: RunningBus, start: Any, arrays: Arrays, tmp_path: Path
) -> None:
    with Outsider(bus.endpoint, "slow", "consumer") as slow:
        slow.send("subscribe", streams=["camera"], credit=100, start=0)
        source = start("source_client.py", bus.endpoint, "camera", tmp_path / "data.npz")
        # Eight batches of 64 are its credit: the consumer gives nothing back.
        wait_until(lambda: bus.records("camera") == 512, "the end of the credit")
        source.kill()
        source.communicate()
        again = start("source_client.py", bus.endpoint, "camera", tmp_path / "data.npz")
        got: dict[str, list[Any]] = {}
        while (message := slow.receive())[0] != "close":
            kind, header, parts = message
            if kind == "data":
                for part, buffer in zip(header["parts"], parts, strict=True):
                    array = np.frombuffer(buffer, part["dtype"]).reshape(part["shape"])
                    got.setdefault(part["field"], []).append(array)
                through = header["first"] + header["count"]
                slow.send("credit", stream="camera", batches=1, through=through)
        succeed(again)

    same({name: np.concatenate(batches) for name, batches in got.items()}, arrays)
    assert bus.broker.status()["streams"]["camera"]["repeats"] == 0


def test_a_source_that_waits_learns_that_the_bus_was_restarted(
    endpoint: str, start: Any, arrays: Arrays, tmp_path: Path
) -> None:
    first = RunningBus(endpoint)
    try:
        # Without credit for the reader there is soon none for the source.
        with Outsider(endpoint, "reader", "consumer") as reader:
            reader.send("subscribe", streams=["camera"], credit=1, start=0)
            source = start("source_client.py", endpoint, "camera", tmp_path / "data.npz")
            wait_until(lambda: first.records("camera") == 512, "the end of the credit")
            first.stop()
    finally:
        first.stop()
    second = RunningBus(endpoint)
    try:
        _, error = source.communicate(timeout=DEADLINE)
        assert source.returncode == 1
        assert json.loads(error)["code"] == "hello_first"

        following = Following(endpoint, "following", "camera", ring=False)
        succeed(start("source_client.py", endpoint, "camera", tmp_path / "data.npz"))
        same(following.result(), arrays)
    finally:
        second.stop()


def test_a_ring_consumer_written_from_the_page(bus: RunningBus, tmp_path: Path) -> None:
    """Offsets, sequence and name as the page says, read without `daq`."""
    fields = {"frame": Field("<u2", (50, 41)), "dose": Field("<f4")}
    random = np.random.default_rng(5)
    sent = [
        {
            "frame": random.integers(0, 999, (3, 50, 41)).astype("<u2"),
            "dose": random.normal(size=3).astype("<f4"),
            "time": np.arange(3 * n, 3 * n + 3),
        }
        for n in range(20)
    ]
    got: list[Arrays] = []
    publisher = Publisher(bus.endpoint, "camera")
    with Outsider(bus.endpoint, "reader", "consumer") as reader:
        reader.send("subscribe", streams=["camera"], credit=2, start=0, ring=True)
        publisher.open(Stream("camera", fields), batch_records=3, timeout=DEADLINE)
        for arrays in sent:
            publisher.send(Batch("camera", arrays), DEADLINE)
            _, header, parts = reader.receive("data")
            assert not parts
            ring = header["ring"]
            path = Path("/dev/shm") / ring["name"]
            memory = np.memmap(path, np.uint8, "r").reshape(ring["slots"], ring["slot_bytes"])
            slot, offset, batch = memory[header["slot"]], 64, {}
            for part in header["parts"]:
                dtype = np.dtype(part["dtype"])
                size = dtype.itemsize * int(np.prod(part["shape"]))
                raw = slot[offset : offset + size].tobytes()
                batch[part["field"]] = np.frombuffer(raw, dtype).reshape(part["shape"])
                offset += -(-size // 64) * 64
            assert slot[:8].view("<u8")[0] == header["sequence"]
            got.append(batch)
            through = header["first"] + header["count"]
            reader.send("credit", stream="camera", batches=1, through=through)
        publisher.close_stream("camera", timeout=DEADLINE)
    publisher.close()

    for mine, theirs in zip(got, sent, strict=True):
        same(mine, theirs)


# -- a client that is not Python --------------------------------------------------------------------


def replay(endpoint: str, transcript: Path = TRANSCRIPT) -> subprocess.CompletedProcess[str]:
    perl = shutil.which("perl")
    if perl is None:
        pytest.skip("no perl on this machine")
    return subprocess.run(
        [perl, REFERENCE / "replay_transcript.pl", endpoint, transcript],
        capture_output=True, text=True, check=False, timeout=DEADLINE,
    )  # fmt: skip


@pytest.mark.parametrize("endpoint", ["tcp", "ipc"], indirect=True)
def test_a_client_that_is_not_python_replays_the_transcript(bus: RunningBus) -> None:
    done = replay(bus.endpoint)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(messages())} messages, all as in the transcript\n"


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('"through":4,', '"through":5,', r'line \d+: source got another answer\n.*"through":5'),
        ("hex 01 00 01", "hex 01 01 01", r"line \d+: consumer got .*\n.*x01.*\n.*x01.x00.x01"),
        ("text closed", "text credit", r"source got another answer\n  expected credit"),
    ],
)
def test_the_replay_notices_a_difference(
    bus: RunningBus, tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    text = TRANSCRIPT.read_text()
    assert text.count(before) == 1
    changed = tmp_path / "changed.txt"
    changed.write_text(text.replace(before, after))

    done = replay(bus.endpoint, changed)

    assert done.returncode == 1
    assert re.search(complaint, done.stderr), done.stderr


def test_the_replay_says_what_it_wants(tmp_path: Path) -> None:
    (tmp_path / "wrong.txt").write_text("hello?\n")

    wrong, absent = replay("ipc:///nowhere", tmp_path / "wrong.txt"), replay(f"ipc://{tmp_path}/no")

    assert (wrong.returncode, absent.returncode) == (2, 1)
    assert "line 1: not understood" in wrong.stderr
    assert "No such file" in absent.stderr


# -- what the page promises -------------------------------------------------------------------------


class Outsider:
    """A DEALER with JSON, as the page describes it."""

    def __init__(self, endpoint: str, name: str, role: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(endpoint)
        self.send("hello", protocol=1, name=name, role=role)
        self.receive("welcome")

    def __enter__(self) -> Outsider:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(linger=1000)

    def send(self, kind: str, payload: tuple[bytes, ...] = (), **header: Any) -> None:
        self.send_raw(kind, json.dumps(header).encode(), *payload)

    def send_raw(self, kind: str, *frames: bytes) -> None:
        self._socket.send_multipart([kind.encode(), *frames])

    def receive(self, *kinds: str) -> tuple[str, dict[str, Any], list[bytes]]:
        while True:
            assert self._socket.poll(DEADLINE * 1000), f"nothing came: {kinds}"
            kind, header, *parts = self._socket.recv_multipart()
            if not kinds or kind.decode() in kinds:
                return kind.decode(), json.loads(header), parts


@pytest.mark.parametrize(
    "header",
    [
        b'{"stream":"bad","fields":{"v":{"dtype":"<f8"}},"attributes":{"x":NaN}}',
        b'{"stream":"bad","fields":{"v":{"dtype":"<f8"}},"scan":{"shape":[2],"step":1e999}}',
        b'{"stream":"bad","fields":{"v":{"dtype":"<f8"}},"attributes":{"x":9007199254740993}}',
        b'{"stream":"bad","fields":{"v":{"dtype":"<f8"}},"attributes":{"x":"\\ud800"}}',
        # Deep enough to exhaust whoever packs it, but not the one who reads it first.
        *(
            b'{"stream":"bad","fields":{"v":{"dtype":"<f8"}},"attributes":{"x":%s}}'
            % (b"[" * depth + b"]" * depth)
            for depth in (40, 980, 985, 990)
        ),
        '{"stream":"bad","fields":{"v":{"dtype":"<f8"}}}'.encode("utf-16"),
    ],
    ids=[
        "nan",
        "infinity",
        "integer",
        "surrogate",
        "deep",
        "deeper",
        "deepest",
        "endless",
        "utf16",
    ],
)
def test_a_header_that_cannot_be_passed_on_is_refused_and_nobody_notices(
    bus: RunningBus, header: bytes
) -> None:
    with Outsider(bus.endpoint, "early", "consumer") as early:
        early.send("subscribe", streams=["*"], credit=1)
        with Outsider(bus.endpoint, "hostile", "source") as hostile:
            hostile.send_raw("open", header)
            assert hostile.receive("error")[1]["code"] == "malformed"
        with Outsider(bus.endpoint, "good", "source") as good:
            good.send("open", stream="good", fields={"v": {"dtype": "<f8"}})
            good.receive("opened")
        with Outsider(bus.endpoint, "late", "consumer") as late:
            late.send("subscribe", streams=["*"], credit=1)
            for consumer in (early, late):
                kind, opened, _ = consumer.receive("open", "error")
                assert (kind, opened.get("stream")) == ("open", "good")
    assert list(bus.broker.status()["streams"]) == ["good"]


def test_parts_may_come_in_any_order_and_time_need_not_be_declared(bus: RunningBus) -> None:
    with (
        Outsider(bus.endpoint, "source", "source") as source,
        Outsider(bus.endpoint, "consumer", "consumer") as consumer,
    ):
        source.send("open", stream="s", fields={"v": {"dtype": "<f8"}})
        source.receive("opened")
        consumer.send("subscribe", streams=["?"], credit=1, start=0)
        assert "time" in consumer.receive("open")[1]["fields"]
        parts = [
            {"field": "time", "dtype": "<i8", "shape": [2]},
            {"field": "v", "dtype": "<f8", "shape": [2]},
        ]
        payload = (np.arange(2).tobytes(), np.array([0.5, np.nan]).tobytes())
        source.send("data", payload, stream="s", first=0, count=2, parts=parts)
        _, header, got = consumer.receive("data")
        assert (header["parts"], tuple(got)) == (parts, payload)


def test_one_owner_per_stream_but_the_same_name_takes_over(bus: RunningBus) -> None:
    about = {"stream": "s", "fields": {"v": {"dtype": "<f8"}}}
    with (
        Outsider(bus.endpoint, "camera", "source") as camera,
        Outsider(bus.endpoint, "other", "source") as other,
        Outsider(bus.endpoint, "camera", "source") as again,
    ):
        camera.send("open", **about)
        camera.receive("opened")
        other.send("open", **about)
        assert other.receive("error")[1]["code"] == "owned"
        again.send("open", **about)
        assert again.receive("opened")[1]["next"] == 0
        assert camera.receive("error")[1]["code"] == "replaced"


# -- the page is complete ---------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """The text of each kind's section."""
    found = re.split(r"^### `(\w+)`$", PAGE, flags=re.MULTILINE)[1:]
    return {
        kind: re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0]
        for kind, text in zip(found[::2], found[1::2], strict=True)
    }


def documented() -> dict[str, dict[str, set[str]]]:
    """Header keys by kind and direction, from the tables of the page."""
    keys: dict[str, dict[str, set[str]]] = {}
    for kind, text in sections().items():
        keys[kind] = {"client": set(), "bus": set()}
        for key, direction in re.findall(r"^\| \*?`(\w+)`\*? \| (client|bus|both) \|", text, re.M):
            for side in ("client", "bus") if direction == "both" else (direction,):
                keys[kind][side].add(key)
    return keys


def messages() -> list[tuple[str, str, dict[str, Any] | None]]:
    """Sender (client, bus), kind and header (None: any) of each message of the transcript."""
    found = re.findall(
        r"^\w+ (->|<-) bus\n  text (\w+)\n  text (.*)$", TRANSCRIPT.read_text(), re.MULTILINE
    )
    result = []
    for arrow, kind, text in found:
        text = re.sub(r"(?<!\")\{\{\w+\}\}", "null", text)
        header = json.loads(text)
        result.append(("client" if arrow == "->" else "bus", kind, header))
    return result


def nodes_of_the_bus() -> Iterator[ast.AST]:
    """What stands in the source of the bus and its clients."""
    for path in (*sorted(BUS.glob("*.py")), Path(protocol.__file__), Path(daq.streams.__file__)):
        yield from ast.walk(ast.parse(path.read_text()))


def calls_of_the_bus() -> Iterator[tuple[str, list[ast.expr]]]:
    """Dotted name and arguments of every call."""
    for node in nodes_of_the_bus():
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.args


def sent_by_the_bus() -> set[str]:
    """Kinds that stand in the source of the bus as sent to a peer."""
    passed_on = {"data", "missing"}
    return passed_on | {
        kind
        for name, arguments in calls_of_the_bus()
        if name.endswith(("peers.send", "self.send")) and len(arguments) > 2
        for kind in constants(arguments[1:2])
    }


def errors_in_the_source() -> set[str]:
    codes = set()
    for name, arguments in calls_of_the_bus():
        code = {"ProtocolError": 0, "self._fail": 1}.get(name.removeprefix("protocol."))
        if code is not None:
            either = arguments[code]
            codes |= constants(
                [either.body, either.orelse] if isinstance(either, ast.IfExp) else [either]
            )
    return codes


def keys_in_the_source() -> set[str]:
    """Header keys that the bus and its clients read or write."""
    keys = set()
    for node in nodes_of_the_bus():
        if isinstance(node, ast.Subscript) and is_header(node.value):
            keys |= constants([node.slice])
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).split(".")[-1]
            if (
                name == "get"
                and isinstance(node.func, ast.Attribute)
                and is_header(node.func.value)
            ):
                keys |= constants(node.args[:1])
            elif name == "check_count" and is_header(node.args[0]):
                keys |= constants(node.args[1:2])
            elif name in ("send", "_send", "refuse"):
                for argument in node.args:
                    keys |= constants(argument.keys) if isinstance(argument, ast.Dict) else set()
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if isinstance(node.value, ast.Dict) and any(is_header(target) for target in targets):
                keys |= constants(node.value.keys)
    return keys


def is_header(node: ast.expr) -> bool:
    names = ("header", "close_header", "subscription", "order", "held", "more")
    return ast.unparse(node).split(".")[-1] in names


def constants(nodes: Any) -> set[str]:
    return {
        node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is str
    }


def test_every_kind_is_documented(bus: RunningBus) -> None:
    handled = {"hello", *bus.broker._handlers}
    sent = sent_by_the_bus()
    assert {"welcome", "opened", "closed", "credit", "fetched", "probe", "error"} <= sent

    assert set(sections()) == handled | sent
    overview = PAGE.split("## Kinds")[1].split("###")[0]
    for kind in sections():
        assert f"`{kind}`" in overview, kind


def test_every_kind_is_in_the_transcript_in_every_direction(bus: RunningBus) -> None:
    seen = {(sender, kind) for sender, kind, _ in messages()}

    assert {kind for sender, kind in seen if sender == "bus"} == sent_by_the_bus()
    assert {kind for sender, kind in seen if sender == "client"} == {
        "hello", "dance", *bus.broker._handlers,
    }  # fmt: skip


def test_every_header_key_is_documented() -> None:
    table = documented()
    for sender, kind, header in messages():
        if kind in table and header is not None:
            assert set(header) <= table[kind][sender], (sender, kind)
    everywhere = {key for sides in table.values() for keys in sides.values() for key in keys}
    found = keys_in_the_source()
    assert {"stream", "fields", "next", "given_up", "held", "sequence", "arguments"} <= found
    # Below the header: of a ring.
    assert found - everywhere <= {"slots", "slot_bytes"}
    assert everywhere - found - {key for _, _, header in messages() for key in header or ()} <= {
        # What only the answer of `status` has.
        "recording", "streams", "consumers", "errors", "peers",
    }  # fmt: skip


def test_keys_of_more_than_one_level_are_documented(bus: RunningBus) -> None:
    with Outsider(bus.endpoint, "source", "source") as source:
        source.send(
            "open", stream="s", fields={"v": {"dtype": "<f8"}}, ring={"slots": 2, "slot_bytes": 9}
        )
        ring = source.receive("opened")[1]["ring"]
        with Outsider(bus.endpoint, "reader", "consumer") as reader:
            reader.send("subscribe", streams=["s"], credit=1)
            described = reader.receive("open")[1]["fields"]["v"]
            reader.send("status")
            status = reader.receive("status")[1]

    words = set(re.findall(r"`(\w+)`", PAGE))
    assert set(ring) | set(described) <= words
    assert set(status) == documented()["status"]["bus"] - {"id"}
    assert set(status["streams"]["s"]) <= words
    assert set(status["consumers"]["reader"]["s"]) <= words


def test_every_error_is_documented() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.split("## Errors")[1].split("\n## ")[0], re.MULTILINE)
    described = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    found = errors_in_the_source()
    assert {"hello_first", "internal", "jump", "malformed", "no_answer", "no_credit"} <= found

    # `bad_ring` is raised in a client that was told of a ring that is not there; never sent.
    assert described == found - {"bad_ring"}


def test_limits_names_and_dtypes_are_those_of_the_code() -> None:
    limits = dict(re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", PAGE, re.MULTILINE))
    assert limits == {n: str(getattr(protocol, n)) for n in dir(protocol) if n.startswith("MAX_")}

    dtypes = PAGE.split("### Dtypes")[1].split("###")[0]
    listed = set(re.findall(r"`(\S+)`", dtypes))
    for code in "b1 u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 f16 c8 c16 S1 S65536 S65537 U1 V1 O".split():
        for order in "<>|=":
            try:
                allowed = bool(protocol.check_dtype(order + code))
            except protocol.ProtocolError:
                allowed = False
            assert allowed == (order + code in listed), order + code

    names = PAGE.split("### Names")[1].split("###")[0]
    reserved = re.findall(r"`(\w+)`", names.split("not, in any case:")[1].split("(A\n")[0])
    assert set(reserved) == set(protocol._RESERVED)
    for name in reserved:
        with pytest.raises(protocol.ProtocolError):
            protocol.check_stream_name(name.upper())


def test_programs_on_the_page_are_the_files() -> None:
    blocks = re.findall(r"<!-- (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)

    assert {name for name, _ in blocks} == {path.name for path in REFERENCE.glob("*_client.py")}
    for name, text in blocks:
        assert text == (REFERENCE / name).read_text(), name
        body = ast.parse(text).body[1:]
        imports = {a.name for n in body if isinstance(n, ast.Import) for a in n.names}
        assert imports <= {"json", "sys", "numpy", "zmq"}
    for link in re.findall(r"\]\((?!#)([^)]+)\)", PAGE):
        assert (REFERENCE / link).exists(), link
    anchors = {
        re.sub(r"[^\w -]", "", t).lower().replace(" ", "-")
        for t in re.findall(r"^#+ (.*)$", PAGE, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


def test_examples_on_the_page_are_of_the_transcript() -> None:
    headers = {kind: [h for _, k, h in messages() if k == kind] for kind in sections()}
    for kind, text in sections().items():
        keys = documented()[kind]
        for example in re.findall(r"```json\n(.*)\n```", text):
            header = json.loads(example)
            assert set(header) <= keys["client"] | keys["bus"], kind
            if kind == "error":
                header["message"] = "{{text}}"
            if kind not in ("welcome", "opened"):
                assert header in headers[kind], kind


# -- into the file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["source_client.py", "ring_source_client.py"])
def test_an_outside_client_finds_its_data_in_the_file(
    start: Any, start_run: Any, arrays: Arrays, tmp_path: Path, client: str
) -> None:
    run = start_run('[sources.camera]\ntype = "wire"\n')
    run.until(lambda: "recorder" in run.status()["peers"], "the recorder")

    said = succeed(start(client, run.endpoint, "camera", tmp_path / "data.npz"))

    assert said == "camera: 700 records taken, on disk: 700\n"
    assert run.finish() == 0, run.said()
    with h5py.File(run.run_folder / f"{run.run_folder.name}.nxs") as file:
        group = file["entry/camera"]
        same({name: group[name][()] for name in arrays}, arrays)
        assert group["valid"][()].all()
