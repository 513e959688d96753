"""Our source beside the client of frappy at its simulated cryostat, and our node before that client."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import record_source
from daq_secop.client import Client
from daq_secop.source import Secop
from daq_simulators.secop_instruments import Furnace, Settings
from daq_simulators.secop_node import Clock, Node

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

NODE = """
Node('cryo.demo.frappy', 'simulated cryostat and all types', interface='tcp://{port}')
Mod('cryo', 'frappy_demo.cryo.Cryostat', 'simulated cryostat', jitter=0.1, T_start=10.0,
    target=Param(10.0), looptime=1, ramp=Param(6), maxpower=20.0, heater=4.1, pid=Param((40, 10, 2)),
    mode='ramp', tolerance=0.1, window=30, timeout=900, pollinterval=0.5, meaning=['temperature', 30])
Mod('types', 'frappy_demo.modules.DatatypesTest', 'all types', value=Param(3.5))
Mod('many', 'frappy_demo.modules.ArrayTest', 'long lines', value=Param(1.0))
"""


class Frappy:
    """A frappy server that can be ended and started again at its port."""

    def __init__(self, peer: Any, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "demo_cfg.py").write_text(NODE.format(port=self.port))
        self._folder = folder
        self._command = [peer.python.parent / "frappy-server", "-c", "demo_cfg.py", "demo"]

    def start(self) -> None:
        """Start the server and wait until it listens."""
        places = {f"FRAPPY_{name}": str(self._folder) for name in ("CONFDIR", "PIDDIR", "LOGDIR")}
        with (self._folder / "said.txt").open("w") as said:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env={**os.environ, **places}, stdout=said,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        pytest.fail((self._folder / "said.txt").read_text())

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def frappy(
    peer: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Frappy]:
    server = Frappy(peer("frappy"), tmp_path_factory.mktemp("frappy"))
    server.start()
    yield server
    server.kill()


def source_at(port: int, **values: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, **values}


def test_both_clients_hear_the_same(peer: Callable[[str], Any], frappy: Frappy) -> None:
    config = source_at(frappy.port, modules=["cryo"], duration=12.0)
    with ThreadPoolExecutor(1) as pool:
        ours = pool.submit(record_source, Secop, config, name="cryo")
        theirs = peer("frappy").run(
            "listen_with_frappy.py", uri=f"tcp://127.0.0.1:{frappy.port}", module="cryo",
            seconds=6, count=100, target=30.0,
        )  # fmt: skip
        records = ours.result(60)["cryo.cryo"]
    assert records.stream.fields["value"].units == "K"
    assert records.stream.attributes["meaning"] == {"cryo": "temperature"}
    heard = {round(t * 1e9): value for t, value in theirs["heard"].tolist()}
    found = dict(zip(records["time"].tolist(), records["value"].tolist(), strict=True))
    common = sorted(set(heard) & set(found))
    # theirs begins with a value that may be older than ours, and both end at some moment
    assert len(common) >= len(heard) - 2 >= 8
    assert [heard[t] for t in common] == [found[t] for t in common]
    assert records["target"][0] == 10.0
    assert records["target"][-1] == 30.0 == theirs["target"]
    assert {100, 300} >= set(records["status"].tolist()) >= {300}
    assert np.all(np.diff(records["time"]) > 0)


def test_all_types_of_frappy_are_taken(frappy: Frappy) -> None:
    streams = {
        "types": {
            "value": "types:value", "enum": "types:_enum", "tuple": "types:_tupleof",
            "array": "types:_arrayof", "struct": "types:_struct", "whole": "types:_intrange",
            "second": "types:_tupleof.1",
        },
        "many": {"value": "many:value"},
    }  # fmt: skip
    client = Client("127.0.0.1", frappy.port)
    client.change("types", "_enum", 9)
    client.change("types", "_tupleof", [7, -1.5, "text"])
    client.change("types", "_arrayof", [True, False])
    client.change("types", "_intrange", 5)
    client.close()
    found = record_source(
        Secop, source_at(frappy.port, streams=streams, ask_after=0.2), name="demo", records=1
    )
    types = found["demo.types"]
    assert list(types.stream.fields) == [
        "value", "enum", "tuple_0", "tuple_1", "array", "struct_b", "struct_c", "whole", "second",
        "time",
    ]  # fmt: skip
    assert types.stream.attributes["codes"] == {"enum": {"boo": 1, "faar": 2, "z": 9}}
    first = {name: types[name][0].tolist() for name in types.stream.fields}
    assert (first["enum"], first["tuple_0"], first["tuple_1"]) == (9, 7, -1.5)
    assert (first["whole"], first["second"]) == (5, -1.5)
    np.testing.assert_array_equal(first["array"], [1, 0, np.nan])
    with pytest.raises(ValueError, match="many:_x is an array of more than 65536 numbers"):
        Secop().open(Secop.Config(**source_at(frappy.port, streams={"many": {"x": "many:_x"}})))


def test_a_server_that_is_killed_and_comes_back(frappy: Frappy) -> None:
    stop = threading.Event()
    source = Secop()
    source.context = daq.SourceContext(stop)
    source.open(Secop.Config(**source_at(frappy.port, modules=["cryo"])))
    batches = source.batches({})
    before = next(batches).time[-1]
    frappy.kill()
    frappy.start()
    begun = time.time_ns()
    while next(batches).time[-1] < begun:  # what was on its way comes first
        continue
    assert before < begun
    stop.set()
    list(batches)
    source.close()


def test_their_client_understands_our_node(peer: Callable[[str], Any]) -> None:
    settings = Settings(start=300.0, ramp=60.0, noise=0.05, fault=(8.0, 10.0))
    node = Node(Furnace(settings), Clock(1767225600.0, 10.0), 1.0, port=0)
    node.start()
    try:
        theirs = peer("frappy").run(
            "listen_with_frappy.py", uri=f"tcp://127.0.0.1:{node.port}", module="sample",
            seconds=20, count=25, target=320.0, stop=True,
        )  # fmt: skip
    finally:
        node.close()
    described = json.loads(str(theirs["described"]))
    assert set(described) == {"sample", "heater"}
    assert set(described["sample"]) == {"value", "status", "target", "setpoint", "ramp"}
    seconds, value = theirs["heard"][:, 0] - 1767225600.0, theirs["heard"][:, 1]
    known = (seconds < 8) | (seconds >= 10)
    np.testing.assert_array_equal(np.isnan(value), ~known)
    assert 303 < value[-1] < 325
    assert theirs["target"] == 320.0
    assert str(theirs["refused"]) == "ReadOnlyError"
