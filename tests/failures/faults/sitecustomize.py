"""Kills a process of a run at an aimed instant; read by Python at start where it is on the path.

``GLASSWATCH_TEST_FAULTS`` holds a JSON object::

    {"kills": [{"phase": "daq.runtime.recorder_process:flush", "at": 17, "part": 0.4, "whom": "self"}],
     "fired": "/path", "claims": "/path", "delay": 0.02, "free": "/path",
     "rings": "/path"}

The first entry of ``kills`` that has not fired (``fired`` holds a line for each that has) waits for
passing number ``at`` of its phase in one life of its process, and kills within that call, after
``part`` of the time that such a call takes; a kernel timer does it, so that it strikes inside C code
and system calls as well. ``whom`` is ``self``, ``supervisor`` (and nobody else) or ``all``.
``claims`` collects what the recorder reported ``durable``, ``delay`` is the first delay before a
restart, ``free`` a file with the bytes that the disk seems to have left, and ``rings`` collects the
names of the rings that the bus makes. Of the installed plugins only the simulators are there.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

PHASES = {
    "daq.runtime.recorder_process": {
        "open": ["daq.recording.writer:RunWriter.open_stream"],
        "start": ["daq.recording.writer:RunWriter.create", "daq.recording.writer:RunWriter.resume"],
        "write": ["daq.recording.part_file:PartFile.append"],
        "flush": ["daq.recording.part_file:PartFile._flush"],
        "journal": ["daq.recording.journal:JournalWriter.append"],
        "sync": ["daq.recording.writer:RunWriter.sync"],
        "close": ["daq.recording.writer:RunWriter.close_stream"],
        "finish": ["daq.recording.writer:RunWriter.finish"],
    },
    "daq.runtime.bus_process": {
        "open": ["daq.bus.broker:Broker._open"],
        "data": ["daq.bus.broker:Broker._data"],
        "credit": ["daq.bus.broker:Broker._credit"],
        "close": ["daq.bus.broker:Broker._close"],
    },
    "daq.runtime.analysis_process": {
        "open": ["daq.bus.publisher:Publisher.open"],
        "process": ["daq.runtime.direct:AnalysisDriver.feed"],
        "send": ["daq.bus.publisher:Publisher.send"],
        "slot": [],
        "close": ["daq.bus.publisher:Publisher.close_stream"],
    },
    "daq.runtime.source_process": {
        "open": ["daq.bus.publisher:Publisher.open"],
        "send": ["daq.bus.publisher:Publisher.send"],
        "slot": [],
        "close": ["daq.bus.publisher:Publisher.close_stream"],
    },
}
FIRST_GUESS = 300e-6
"""Seconds that a call is taken to last before one was measured."""


def fire_in(seconds):
    """Have the kernel send SIGKILL to this process after a time, wherever it is then."""

    class Event(ctypes.Structure):
        _fields_ = [
            ("value", ctypes.c_void_p), ("number", ctypes.c_int), ("notify", ctypes.c_int),
            ("rest", ctypes.c_byte * 48),
        ]  # fmt: skip

    class When(ctypes.Structure):
        _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "s", "ns")]

    library = ctypes.CDLL(None, use_errno=True)
    timer = ctypes.c_void_p()
    event = Event(number=signal.SIGKILL)
    nanoseconds = max(1, int(seconds * 1e9))
    when = When(0, 0, *divmod(nanoseconds, 10**9))
    if library.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) or library.timer_settime(
        timer, 0, ctypes.byref(when), None
    ):
        raise OSError(ctypes.get_errno(), "timer")


def kill_others(whom):
    """Kill the supervisor, and for ``all`` every child of it but this process."""
    parent, own = os.getppid(), os.getpid()
    others = []
    for path in Path("/proc").iterdir() if whom == "all" else ():
        if path.name.isdigit() and int(path.name) != own:
            try:
                fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                others.append(int(path.name))
    for pid in (parent, *others):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class Aim:
    """The one kill that this process waits for."""

    def __init__(self, kill, fired):
        self.at, self.part, self.whom = kill["at"], kill["part"], kill.get("whom", "self")
        self.fired = fired
        self.passed = 0
        self.lasted = []
        self.lock = threading.RLock()

    def due(self):
        with self.lock:
            self.passed += 1
            return self.passed - 1 == self.at

    def shoot(self):
        """Arm the timer for a part of the time that the call takes."""
        usual = sorted(self.lasted)[len(self.lasted) // 2] if self.lasted else FIRST_GUESS
        with Path(self.fired).open("a") as file:
            file.write(f"{self.passed}\n")
        if self.whom != "self":
            kill_others(self.whom)
        if self.whom != "supervisor":
            fire_in(self.part * usual)

    def end(self):
        """The call has ended: there is no later."""
        if self.whom != "supervisor":
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(place, aim):
    """Aim at calls of a function: ``module:Class.method``."""
    module_name, _, path = place.partition(":")
    class_name, _, name = path.partition(".")
    owner = getattr(importlib.import_module(module_name), class_name)
    bound = vars(owner)[name]
    function = bound.__func__ if isinstance(bound, classmethod) else bound

    @functools.wraps(function)
    def aimed(*arguments, **options):
        due = aim.due()
        if due:
            aim.shoot()
        began = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            aim.lasted.append(time.perf_counter() - began)
            if due:
                aim.end()

    setattr(owner, name, classmethod(aimed) if isinstance(bound, classmethod) else aimed)


def wrap_slots(aim):
    """Aim between the moments when a slot is marked as being filled, and as full."""
    from daq.bus.ring import Ring

    plain, began, due = Ring.set_sequence, {}, set()

    def set_sequence(self, slot, sequence):
        if sequence == 0:
            plain(self, slot, sequence)
            began[slot] = time.perf_counter()
            if aim.due():
                due.add(slot)
                aim.shoot()
            return
        aim.lasted.append(time.perf_counter() - began.pop(slot, time.perf_counter()))
        if slot in due:
            aim.end()
            due.discard(slot)
        plain(self, slot, sequence)

    Ring.set_sequence = set_sequence


def note_claims(path):
    """Write down what the recorder reports durable, before it says so."""
    from daq.bus.client import Consumer

    plain = Consumer.credit
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def credit(self, stream, batches, **more):
        plain(self, stream, batches, **more)
        if more.get("durable"):
            os.write(file, f"{stream} {more['durable']}\n".encode())

    Consumer.credit = credit


def note_rings(path):
    """Write down the name of every ring that is made."""
    from daq.posix import SharedMemory

    plain = SharedMemory.create.__func__

    def create(cls, suffix, size):
        memory = plain(cls, suffix, size)
        with Path(path).open("a") as file:
            file.write(f"{memory.name}\n")
        return memory

    SharedMemory.create = classmethod(create)


def pretend_free(path):
    """Let the disk have as many bytes left as a file says, where there is such a file."""
    plain = os.statvfs

    def statvfs(where):
        status = plain(where)
        try:
            free = int(Path(path).read_text())
        except (OSError, ValueError):
            return status
        fields = list(status)
        fields[4] = free // status.f_frsize
        return os.statvfs_result(fields)

    os.statvfs = statvfs


def leave_out_plugins():
    """Let no installed plugin be found but the simulators.

    A test starts some ten processes, most of them would import every analysis of ours.
    """
    from importlib import metadata

    plain = metadata.entry_points

    def entry_points(**chosen):
        found = plain(**chosen)
        if chosen.get("group") != "daq":
            return found
        return metadata.EntryPoints(entry for entry in found if entry.name == "daq_simulators")

    metadata.entry_points = entry_points


def main():
    faults = json.loads(os.environ.get("GLASSWATCH_TEST_FAULTS") or "{}")
    arguments = list(getattr(sys, "orig_argv", ()))
    module = arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else ""
    if not faults or not module.startswith("daq"):
        return
    leave_out_plugins()
    if module == "daq" and "delay" in faults:
        from daq.runtime import children

        children.FIRST_DELAY = faults["delay"]
    if "free" in faults and module == "daq.runtime.recorder_process":
        pretend_free(faults["free"])
    if "claims" in faults and module == "daq.runtime.recorder_process":
        note_claims(faults["claims"])
    if "rings" in faults and module == "daq.runtime.bus_process":
        note_rings(faults["rings"])
    fired = Path(faults.get("fired", os.devnull))
    done = len(fired.read_text().splitlines()) if fired.is_file() else 0
    kills = faults.get("kills", [])[done:]
    if not kills:
        return
    target, _, phase = kills[0]["phase"].partition(":")
    if target != module:
        return
    aim = Aim(kills[0], fired)
    if phase == "slot":
        wrap_slots(aim)
    for place in PHASES[module][phase]:
        wrap(place, aim)


main()
