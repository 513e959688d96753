"""Rows measured in turn, several rounds, and printed as a table with the machine they ran on.

Rows of one table are measured one after the other, again and again, so that whatever else the
machine does meets all of them alike; the first round only warms up. A ratio is the median of the
ratios within each round, never the ratio of two medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import zmq


@dataclasses.dataclass
class Measured:
    """One measurement: ``count`` things (records, messages) of ``nbytes`` in all.

    ``cpu`` counts the CPU seconds of all processes that took part; ``more`` holds other figures
    of the row, by column.
    """

    count: int
    nbytes: int
    seconds: float
    cpu: float = 0.0
    more: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Things per second."""
        return self.count / self.seconds


Rows = Mapping[str, Callable[[], Measured]]


def arguments(description: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="after one that warms up")
    parser.add_argument("--only", default="", help="rows whose name contains this, and references")
    parser.add_argument("--json", type=Path, help="write every measurement there")
    return parser


def measure(
    rows: Rows, rounds: int, only: str = "", keep: tuple[str, ...] = (), touch: int = 0
) -> dict[str, list[Measured]]:
    """Measure every row ``rounds`` times, in turn, after a round that does not count.

    ``touch`` bytes of memory are written and freed before each row. A virtual machine may have
    given free memory back to its host; the row that takes it next would pay 1 to 2 s per GB.
    """
    chosen = {name: row for name, row in rows.items() if only in name or name in keep}
    found: dict[str, list[Measured]] = {name: [] for name in chosen}
    for number in range(rounds + 1):
        for name, row in chosen.items():
            _progress(f"round {number} of {rounds}: {name}")
            np.ones(touch, np.uint8)
            one = row()
            if number:
                found[name].append(one)
    _progress("")
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:79}", end="\r", file=sys.stderr, flush=True)


def machine() -> str:
    """Return date, processor and versions in one line."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    name = fields.get("model name", "unknown processor")
    model = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return (
        f"{datetime.datetime.now(datetime.UTC).date()}, {name} ({model}), {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; Python {sys.version.split()[0]}, numpy {np.__version__}, "
        f"libzmq {zmq.zmq_version()}, HDF5 {h5py.version.hdf5_version}"
    )


def show(
    title: str, found: Mapping[str, list[Measured]], references: tuple[str, ...], *,
    things: str, per_byte: bool = True, path: Path | None = None,
) -> None:  # fmt: skip
    """Print the table as markdown, with ratios to the reference rows, and write ``path``."""
    print(f"{title}\n{machine()}\n")
    extra = list(dict.fromkeys(key for many in found.values() for m in many for key in m.more))
    names = [r for r in references if r in found]
    head = ["", f"{things}/s", "range", *(["GB/s"] if per_byte else []),
            *(f"x {name}" for name in names), "CPU s/GB" if per_byte else f"CPU us/{things[:-1]}",
            *extra]  # fmt: skip
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for name, many in found.items():
        rates = [m.rate for m in many]
        line = [name, f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f}-{max(rates):,.0f}"]
        if per_byte:
            line.append(f"{statistics.median(m.nbytes / m.seconds for m in many) / 1e9:.2f}")
        line += [
            f"{statistics.median(m.rate / r.rate for m, r in zip(many, found[reference], strict=True)):.2f}"
            for reference in names
        ]
        scale = [m.nbytes / 1e9 if per_byte else m.count / 1e6 for m in many]
        cpu = statistics.median(m.cpu / s for m, s in zip(many, scale, strict=True))
        line.append(f"{cpu:.2f}" if per_byte else f"{cpu:.0f}")
        line += [
            f"{statistics.median(m.more[key] for m in many):.3g}" if key in many[0].more else ""
            for key in extra
        ]
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |")
    print()
    if path is not None:
        plain = {name: [dataclasses.asdict(m) for m in many] for name, many in found.items()}
        path.write_text(json.dumps({"machine": machine(), "title": title, "rows": plain}, indent=1))
