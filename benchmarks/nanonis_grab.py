"""How long one channel of a scan takes to arrive: our transport beside nanonis-spm and nanonisTCP.

    python benchmarks/nanonis_grab.py [--rows 512] [--rounds 5]

All three ask the simulated controller of this tree (``Scan.FrameDataGrab``), which runs in a process of its own.
The peers run in the environment of ``tests/peers/nanonis.txt``. A round asks each once; the median is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from daq_afm.nanonis_connection import FORWARD, Connection

TREE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TREE / "tests" / "peers"))


def ours(port: int, rounds: int) -> list[float]:
    """Seconds of each grab; the first one is left out."""
    connection = Connection("127.0.0.1", port)
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        grab = connection.grab(14, FORWARD)
        seconds.append(time.perf_counter() - began)
        assert np.isfinite(grab.values).all()
    connection.close()
    return seconds[1:]


def theirs(port: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each grab by the two packages, or nothing where pip cannot install them."""
    from conftest import CannotInstallError, cache_folder, clean_environment, environment

    try:
        python = environment(TREE / "tests" / "peers" / "nanonis.txt", cache_folder())
    except CannotInstallError as error:
        print(error)
        return {}
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder, "arguments.json"), Path(folder, "answer.npz")
        asked.write_text(json.dumps({"port": port, "grabs": rounds}))
        script = TREE / "tests" / "peers" / "ask_nanonis.py"
        subprocess.run([python, script, asked, answer], check=True, env=clean_environment(),
                       stdout=subprocess.DEVNULL)  # fmt: skip
        with np.load(answer) as found:
            return {name: found[f"{name}_seconds"].tolist() for name in ("spm", "tcp")}


def main() -> None:
    """Print a row for each client."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    command = [
        sys.executable, "-m", "daq_simulators.nanonis_controller", "--port", "0", "--logger-port", "0",
        "--lines", str(given.rows), "--pixels", str(given.rows), "--line-time", "1e-6", "--once",
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split(":")[1].split(",")[0])
        mine = statistics.median(ours(port, 10 * given.rounds))
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; "
              f"{given.rows} x {given.rows} float32, one channel")  # fmt: skip
        print(f"{'glasswatch':<14}{mine * 1e3:>10.2f} ms")
        for name, seconds in theirs(port, given.rounds).items():
            median = statistics.median(seconds)
            label = {"spm": "nanonis-spm", "tcp": "nanonisTCP"}[name]
            print(f"{label:<14}{median * 1e3:>10.2f} ms{median / mine:>8.0f} x")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
