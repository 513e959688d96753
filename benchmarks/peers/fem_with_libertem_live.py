"""Run in the environment of LiberTEM-live: scans of its simulated Merlin camera through a UDF.

Its one argument is JSON: ``header`` (path of the .hdr file), ``shape`` of a scan, ``scans``,
``centre`` in px, ``ring`` in px (null: SumUDF), ``result`` (where the last scan's map goes). Says
"begin" and "end" on lines of their own; the camera is warm by then, and its frames in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from libertem.executor.pipelined import PipelinedExecutor
from libertem.udf.FEM import FEMUDF
from libertem.udf.sum import SumUDF
from libertem_live.api import LiveContext


@contextlib.contextmanager
def camera(header: str) -> Iterator[tuple[int, int]]:
    """Start the simulator; give the ports of control and data."""
    data, control, trigger = free_ports(3)
    command = [Path(sys.executable).parent / "libertem-live-mib-sim", header, "--cached", "MEMFD",
               "--host", "127.0.0.1", "--data-port", str(data), "--control-port", str(control),
               "--trigger-port", str(trigger)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            # it reads the file into memory before it listens
            while not all(map(listens, (data, control))):
                if process.poll() is not None:
                    raise RuntimeError("the simulated camera did not start")
                time.sleep(0.1)
            yield control, data
        finally:
            process.kill()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def listens(port: int) -> bool:
    """Tell without connecting: the simulator would begin to send."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(f[1].endswith(f":{port:04X}") and f[3] == "0A" for f in map(str.split, lines))


def main() -> None:
    asked = json.loads(sys.argv[1])
    centre, ring, shape = tuple(asked["centre"]), asked["ring"], tuple(asked["shape"])
    udf = FEMUDF(center=centre, rad_in=ring[0], rad_out=ring[1]) if ring else SumUDF()
    spec = PipelinedExecutor.make_spec(cpus=range(os.cpu_count() or 1), cudas=[])
    executor = PipelinedExecutor(spec=spec, pin_workers=False)
    with camera(asked["header"]) as (control, data), LiveContext(executor=executor) as context:
        merlin = context.make_connection("merlin")
        with merlin.open(api_port=control, data_port=data) as connection:
            for scan in range(-1, asked["scans"]):
                if scan == 0:
                    print("begin", flush=True)
                acquisition = context.make_acquisition(conn=connection, nav_shape=shape)
                found = context.run_udf(dataset=acquisition, udf=udf)
            print("end", flush=True)
    np.save(asked["result"], np.asarray(found["intensity"]))


if __name__ == "__main__":
    main()
