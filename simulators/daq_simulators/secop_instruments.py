"""What a simulated SECoP node stands for: a furnace or heating holder, and a load frame that creeps.

They know time and values, and what they are called in SECoP; `secop_node` serves them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

IDLE, RAMPING, STABILIZING, ERROR = 100, 370, 380, 400
STATUS: Final = {
    "type": "tuple",
    "members": [
        {
            "type": "enum",
            "members": {
                "IDLE": IDLE, "RAMPING": RAMPING, "STABILIZING": STABILIZING, "ERROR": ERROR,
            },
        },
        {"type": "string"},
    ],
}  # fmt: skip


class RefusedError(Exception):
    """A request that the node refuses: class of the error, and text."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


class Follower:
    """A setpoint that goes to its target at a rate, and a value that follows it with a lag.

    dy/dt = (s - y) / lag, integrated exactly.

    Parameters
    ----------
    start
        Where value, setpoint and target are at first.
    rate
        Of the setpoint, per second; 0: it is there at once.
    lag
        s.
    """

    def __init__(self, start: float, rate: float, lag: float) -> None:
        self.value = self.setpoint = self.target = start
        self.rate = rate
        self.lag = lag

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        way = self.target - self.setpoint
        arrives = abs(way) / self.rate if self.rate > 0 else 0.0
        ramp = min(seconds, arrives)
        if ramp < arrives:
            self._follow(ramp, math.copysign(self.rate, way))
            return
        if ramp:
            self._follow(ramp, way / ramp)
        self.setpoint = self.target
        self._follow(seconds - ramp, 0.0)

    def _follow(self, seconds: float, slope: float) -> None:
        behind = self.setpoint - slope * self.lag
        gone = math.exp(-seconds / self.lag) if self.lag > 0 else 0.0
        self.setpoint += slope * seconds
        self.value = self.setpoint - slope * self.lag + (self.value - behind) * gone


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is simulated. Times are simulated seconds.

    Parameters
    ----------
    start
        Of the target: K, or N.
    ramp
        Of the setpoint: K/min, or N/min; 0: at once.
    lag
        s, with which the temperature follows the setpoint.
    noise
        Standard deviation of a reading: K, or N.
    program
        (seconds since the beginning, target).
    fault
        (begin, end) of a time without a sensor.
    interval
        s between two readings.
    """

    start: float = 300.0
    ramp: float = 60.0
    lag: float = 2.0
    noise: float = 0.05
    program: Sequence[tuple[float, float]] = ()
    fault: tuple[float, float] | None = None
    interval: float = 1.0
    seed: int = 0


class Instrument:
    """Modules, their values, and what time does to them; see `Furnace` and `LoadFrame`."""

    equipment_id = ""
    driven = ""
    """The module whose target the program sets."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._noise = np.random.default_rng(settings.seed)
        self._program = sorted(settings.program)
        self._drive = Follower(settings.start, settings.ramp / 60, settings.lag)
        self.seconds = 0.0
        self._apply(self._program_until(0.0))
        self._drawn = self._noise.standard_normal(2)

    def advance(self, until: float) -> None:
        """Let time pass until ``until`` s since the beginning, along the program; read anew."""
        for at, target in self._program_until(until):
            self._pass(at - self.seconds)
            self._apply([(at, target)])
        self._pass(until - self.seconds)
        self._drawn = self._noise.standard_normal(2)

    def values(self) -> dict[tuple[str, str], Any]:
        """Return the value of each parameter as it would be sent; a `RefusedError` where none is."""
        drive = self._drive
        fault = self._settings.fault
        broken = fault is not None and fault[0] <= self.seconds < fault[1]
        reading = drive.value + self._settings.noise * self._drawn[0]
        return {
            (self.driven, "value"): RefusedError("HardwareError", "sensor disconnected")
            if broken
            else float(reading),
            (self.driven, "status"): [ERROR, "sensor disconnected"] if broken else self._status(),
            (self.driven, "target"): drive.target,
            (self.driven, "setpoint"): drive.setpoint,
            (self.driven, "ramp"): drive.rate * 60,
        }

    def change(self, parameter: str, value: Any) -> None:
        """Set ``target`` or ``ramp`` of the driven module; raise `RefusedError` for what it refuses."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RefusedError("WrongType", "a number is needed")
        if parameter not in ("target", "ramp"):
            raise RefusedError("ReadOnly", f"{parameter} cannot be changed")
        if not 0 <= value < 1e5:
            raise RefusedError("RangeError", "from 0 to 100000")
        if parameter == "target":
            self._drive.target = float(value)
        else:
            self._drive.rate = value / 60

    def stop(self) -> None:
        """Stay where it is."""
        self._drive.target = self._drive.setpoint

    def report(self) -> dict[str, Any]:
        """Return the structure report."""
        raise NotImplementedError

    def _pass(self, seconds: float) -> None:
        self._drive.advance(seconds)
        self.seconds += seconds

    def _program_until(self, until: float) -> list[tuple[float, float]]:
        due = [step for step in self._program if step[0] <= until]
        self._program = self._program[len(due) :]
        return due

    def _apply(self, steps: Sequence[tuple[float, float]]) -> None:
        for _, target in steps:
            self._drive.target = target

    def _status(self) -> list[Any]:
        drive = self._drive
        if drive.setpoint != drive.target:
            return [RAMPING, f"ramping to {drive.target:g}"]
        if abs(drive.value - drive.target) > max(0.1, 3 * self._settings.noise):
            return [STABILIZING, "stabilizing"]
        return [IDLE, "at target"]

    def _drivable(self, description: str, units: str, meaning: str) -> dict[str, Any]:
        number = {"type": "double", "min": 0.0, "unit": units}
        return {
            "description": description,
            "interface_classes": ["Drivable"],
            "features": [],
            "meaning": [meaning, 30],
            "accessibles": {
                "value": _parameter(f"measured {meaning}", number),
                "status": _parameter("status", STATUS),
                "target": _parameter(f"wanted {meaning}", number, readonly=False),
                "setpoint": _parameter("where the ramp is", number),
                "ramp": _parameter("rate", {**number, "unit": f"{units}/min"}, readonly=False),
                "stop": {"description": "stay", "datainfo": {"type": "command"}},
            },
        }


class Furnace(Instrument):
    """A furnace, or a heating holder: ``sample`` in K, which is driven, and ``heater`` in W.

    The heater's power is 0.05 W for each kelvin over 293 K, and 2 J for each kelvin of heating.
    """

    equipment_id = "glasswatch_simulated_furnace"
    driven = "sample"

    def values(self) -> dict[tuple[str, str], Any]:
        """Return the value of each parameter."""
        drive = self._drive
        heating = (drive.setpoint - drive.value) / drive.lag if drive.lag > 0 else 0.0
        power = max(0.0, 0.05 * (drive.value - 293.0) + 2.0 * heating)
        heater = {("heater", "value"): power, ("heater", "status"): [IDLE, ""]}
        return {**super().values(), **heater}

    def report(self) -> dict[str, Any]:
        """Return the structure report."""
        sample = self._drivable("specimen in the furnace", "K", "temperature")
        return _node(self.equipment_id, "simulated furnace", {
            "sample": sample, "heater": _readable("power of the heater", "W"),
        })  # fmt: skip


class LoadFrame(Instrument):
    """A load frame with a specimen that creeps: ``load`` in N, which is driven, ``displacement`` in mm.

    A standard linear solid: displacement = F / 500 N/mm + x, 30 s dx/dt = F / 1000 N/mm - x.
    The load follows its setpoint at once.
    """

    equipment_id = "glasswatch_simulated_load_frame"
    driven = "load"
    stiffness, creep_stiffness, creep_time = 500.0, 1000.0, 30.0

    def __init__(self, settings: Settings) -> None:
        super().__init__(dataclasses.replace(settings, lag=0.0))
        self._creep = Follower(settings.start / self.creep_stiffness, 0.0, self.creep_time)

    def values(self) -> dict[tuple[str, str], Any]:
        """Return the value of each parameter."""
        moved = self._drive.value / self.stiffness + self._creep.value
        noise = 1e-3 * self._settings.noise * self._drawn[1]
        displacement = {
            ("displacement", "value"): float(moved + noise),
            ("displacement", "status"): [IDLE, ""],
        }
        return {**super().values(), **displacement}

    def report(self) -> dict[str, Any]:
        """Return the structure report."""
        load = self._drivable("load on the specimen", "N", "force")
        return _node(self.equipment_id, "simulated load frame", {
            "load": load, "displacement": _readable("displacement of the crosshead", "mm"),
        })  # fmt: skip

    def _pass(self, seconds: float) -> None:
        # The creep follows a setpoint that moves as the load does.
        drive, creep = self._drive, self._creep
        creep.setpoint = drive.setpoint / self.creep_stiffness
        creep.target = drive.target / self.creep_stiffness
        creep.rate = drive.rate / self.creep_stiffness
        creep.advance(seconds)
        super()._pass(seconds)


def _node(equipment_id: str, description: str, modules: dict[str, Any]) -> dict[str, Any]:
    return {
        "equipment_id": equipment_id, "description": description, "firmware": "glasswatch",
        "modules": modules,
    }  # fmt: skip


def _parameter(
    description: str, datainfo: dict[str, Any], *, readonly: bool = True
) -> dict[str, Any]:
    return {"description": description, "datainfo": datainfo, "readonly": readonly}


def _readable(description: str, units: str) -> dict[str, Any]:
    return {
        "description": description,
        "interface_classes": ["Readable"],
        "accessibles": {
            "value": _parameter(description, {"type": "double", "unit": units}),
            "status": _parameter("status", STATUS),
        },
    }
