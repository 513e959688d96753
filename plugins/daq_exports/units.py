"""Units of export files: recognised as they are written, converted to those of the streams."""

from __future__ import annotations

import math
from typing import Final

Conversion = tuple[float, float]
"""Factor and offset: value in the stream = factor * value in the file + offset."""

_DIMENSIONLESS: Final = {"": 1.0, "-": 1.0, "1": 1.0, "mm/mm": 1.0, "m/m": 1.0, "%": 0.01}

UNITS: Final[dict[str, dict[str, Conversion]]] = {
    "temperature": {
        **dict.fromkeys(("°C", "degC", "C", "Celsius", "deg C"), (1.0, 273.15)),
        **dict.fromkeys(("K", "Kelvin"), (1.0, 0.0)),
        **dict.fromkeys(("°F", "degF"), (5 / 9, 273.15 - 32 * 5 / 9)),
    },
    "time": {
        **dict.fromkeys(("s", "sec"), (1.0, 0.0)),
        **dict.fromkeys(("min", "mins"), (60.0, 0.0)),
        **dict.fromkeys(("h", "hr"), (3600.0, 0.0)),
        "ms": (1e-3, 0.0),
    },
    "frequency": {
        "Hz": (1.0, 0.0), "mHz": (1e-3, 0.0), "kHz": (1e3, 0.0), "1/s": (1.0, 0.0),
        "rad/s": (1 / (2 * math.pi), 0.0), "rad/sec": (1 / (2 * math.pi), 0.0),
    },
    "pressure": {
        "Pa": (1.0, 0.0), "kPa": (1e3, 0.0), "MPa": (1e6, 0.0), "GPa": (1e9, 0.0),
        "N/mm2": (1e6, 0.0), "dyn/cm2": (0.1, 0.0), "psi": (6894.757293168361, 0.0),
    },
    "specific power": {
        "W/g": (1.0, 0.0), "mW/mg": (1.0, 0.0), "kW/kg": (1.0, 0.0), "mW/g": (1e-3, 0.0),
        "W/kg": (1e-3, 0.0), "µW/mg": (1e-3, 0.0),
    },
    "power": {"mW": (1.0, 0.0), "W": (1e3, 0.0), "µW": (1e-3, 0.0)},
    "rate": {
        **dict.fromkeys(("K/min", "°C/min"), (1.0, 0.0)),
        **dict.fromkeys(("K/s", "°C/s"), (60.0, 0.0)),
    },
    "mass": {"mg": (1.0, 0.0), "g": (1e3, 0.0), "µg": (1e-3, 0.0), "kg": (1e6, 0.0)},
    "ratio": {unit: (factor, 0.0) for unit, factor in _DIMENSIONLESS.items()},
    "number": {"": (1.0, 0.0), "-": (1.0, 0.0), "1": (1.0, 0.0)},
}  # fmt: skip
"""By dimension and unit, to K, s, Hz, Pa, W/g, mW, K/min, mg and 1."""


def spelled(unit: str) -> str:
    """Return a unit in one spelling: both letters mu, both degree signs, powers and spaces."""
    text = unit.strip().replace("μ", "µ").replace("º", "°").replace(" ", "")
    return text.replace("²", "2").replace("^", "").replace("deg.C", "°C").replace("uW", "µW")


def conversion(dimension: str, unit: str, column: str) -> Conversion:
    """Return factor and offset of a unit; ValueError says how to give it where it is not known."""
    known = UNITS[dimension]
    if (found := known.get(spelled(unit))) is not None:
        return found
    say = f'say units = {{ "{column}" = "..." }} with one of {", ".join(u for u in known if u)}'
    if not unit.strip():
        raise ValueError(f"the unit of column {column!r} is not given; {say}")
    raise ValueError(f"column {column!r}: {unit!r} is no unit of {dimension}; {say}")


def is_unit(text: str) -> bool:
    """Tell whether a text can stand in a row of units."""
    text = spelled(text)
    return any(text in known for known in UNITS.values())


def split_label(label: str) -> tuple[str, str]:
    """Return name and unit of ``Heat Flow (mW)``, ``Heat Flow [mW]`` or ``DSC/(mW/mg)``.

    What stands in brackets is a unit only where it is known as one: ``Gas Flow(purge1)/(ml/min)``,
    ``Oscillation strain (cmd)`` and ``Tan(delta)`` keep theirs.
    """
    label = label.strip().strip('"').strip()
    if label.endswith((")", "]")):
        close = label[-1]
        opening = "(" if close == ")" else "["
        depth = 0
        for at in range(len(label) - 1, -1, -1):
            depth += (label[at] == close) - (label[at] == opening)
            if depth == 0:
                name, unit = label[:at].rstrip(), label[at + 1 : -1].strip()
                if name.endswith("/"):
                    return name[:-1].rstrip(), unit
                if name and (close == "]" or is_unit(unit) or "/" in unit):
                    return name, unit
                break
    elif "/" in label:
        name, unit = label.rsplit("/", 1)
        if name.strip() and (is_unit(unit) or "." in name):
            return name.strip(), unit.strip()
    return label, ""


def mass_mg(text: str) -> float | None:
    """Return a mass such as ``28.0000 mg`` in mg; None where it is none, or zero."""
    parts = text.replace(",", ".").split()
    try:
        value = float(parts[0])
        factor, _ = UNITS["mass"][spelled(parts[1])]
    except (IndexError, ValueError, KeyError):
        return None
    return value * factor if value > 0 else None
