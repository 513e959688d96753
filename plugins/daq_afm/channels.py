"""Channels of a controller or file as fields: names, directions and units."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

Direction = Literal["trace", "retrace"]

LENGTHS: Final = {
    "m": 1e9, "mm": 1e6, "µm": 1e3, "um": 1e3, "nm": 1.0, "pm": 1e-3, "Å": 0.1, "Ang": 0.1,
}  # fmt: skip
"""Factors to nm. A is the ampere here, as controllers write it."""
_ANGLES: Final = {"deg": 1.0, "°": 1.0, "degree": 1.0, "degrees": 1.0, "rad": 180.0 / math.pi}
_FREQUENCIES: Final = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6}
_NUMBERS: Final = {"1": 1.0, "-": 1.0}
CONVERSIONS: Final = {
    **{unit: ("nm", factor) for unit, factor in LENGTHS.items()},
    **{unit: ("deg", factor) for unit, factor in _ANGLES.items()},
    **{unit: ("Hz", factor) for unit, factor in _FREQUENCIES.items()},
    **{unit: ("", factor) for unit, factor in _NUMBERS.items()},
}
"""By unit, the unit of the streams and the factor to it. Others are kept as they are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """A field that analyses know: the units it may have, and what vendors call it."""

    units: tuple[str, ...]
    names: tuple[str, ...]
    long_name: str


# Volts are let through: an analysis that needs a length says so.
QUANTITIES: Final = {
    "height": Quantity(("nm", "V"),
        ("height", "z height", "z", "topography", "z-axis", "measured height", "scan z-axis"), "height"),
    "phase": Quantity(("deg", "V"), ("phase", "tapping phase"), "phase of the cantilever"),
    "amplitude": Quantity(("nm", "V"), ("amplitude", "tapping amplitude"), "amplitude of the cantilever"),
    "frequency": Quantity(("Hz",), ("frequency", "contact resonance frequency"), "resonance frequency"),
    "quality_factor": Quantity(("",), ("qfactor", "quality factor", "q factor"), "quality factor"),
}  # fmt: skip
"""By field; of several names the first one counts."""

OWN: Final = frozenset("time valid scan line y place annealing_time annealing_temperature".split())
"""Names that no channel may have."""

_OTHER_UNITS: Final = re.compile(
    r"[fpnuµmkMG]?(A|V|N|W|s|F|K|C|T|S|Pa|eV|Ohm)(/([fpnuµmkMG]?(A|V|m|s)|Hz))?"
)
_DIRECTIONS: Final = re.compile(
    r"[\s_\-\[(]*\b(trace|retrace|forward|backward|fwd|bwd)\b[\s\])]*", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """A channel of a scan: its name without the direction, its unit as it is written (empty: not known)."""

    name: str
    unit: str = ""
    direction: Direction = "trace"

    @classmethod
    def labelled(cls, label: str, unit: str = "") -> Channel:
        """Return the channel of a label that may hold direction and unit: ``Phase (deg)``, ``HeightRetrace``."""
        text = label.strip()
        if not unit and (found := re.search(r"\(([^()]*)\)\s*$", text)) is not None:
            if spelled(found[1]) in CONVERSIONS or _OTHER_UNITS.fullmatch(found[1]):
                text, unit = text[: found.start()].rstrip(), found[1]
        direction: Direction = "trace"
        if (found := re.search(r"(?<=[a-z0-9])(Trace|Retrace)$", text)) is not None:
            word, text = found[1], text[: found.start()]
        elif (found := _DIRECTIONS.search(text)) is not None:
            word = found[1]
            text = f"{text[: found.start()]} {text[found.end() :]}".strip()
            text = re.sub(r"^scan\b\s*", "", text, flags=re.IGNORECASE).strip(" ()[]") or text
        else:
            word = ""
        if word.lower() in ("retrace", "backward", "bwd"):
            direction = "retrace"
        return cls(text or label.strip(), unit, direction)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A field: the channel (its number in the list) that fills it, and the factor to its units."""

    field: str
    index: int
    units: str
    factor: float
    long_name: str


def find_channels(
    channels: Sequence[Channel],
    wanted: Mapping[str, str | int],
    units: Mapping[str, str],
    only: Sequence[str] = (),
) -> dict[str, Found]:
    """Return the fields that channels give, by name; retraces end in ``_retrace``.

    Known quantities have the names of `QUANTITIES`, others their own in small letters. Lengths become
    nm, angles deg, frequencies Hz.

    Parameters
    ----------
    channels
        As the file or controller lists them.
    wanted
        Name, or number from 0, of the channel of a field, where the configuration says it.
    units
        Units that the configuration gives, by name of a channel or by field.
    only
        Fields (without ``_retrace``) to take; empty: all.

    Raises
    ------
    ValueError
        Where a channel that is asked for is not there, or a known quantity has no unit that fits.
    """
    names = _field_names(channels, wanted)
    if absent := [field for field in only if field not in names.values()]:
        have = ", ".join(sorted(set(names.values())))
        raise ValueError(f"no channel {absent[0]!r}; there are {have}")
    found: dict[str, Found] = {}
    for index, name in names.items():
        if only and name not in only:
            continue
        channel = channels[index]
        unit, factor = _conversion(name, channel, units)
        base = f"{name}_retrace" if channel.direction == "retrace" else name
        field, number = base, 2
        while field in found:
            field, number = f"{base}_{number}", number + 1
        known = QUANTITIES.get(name)
        long_name = known.long_name if known else channel.name
        if channel.direction == "retrace":
            long_name += ", retrace"
        found[field] = Found(field, index, unit, factor, long_name)
    return found


def spelled(unit: str) -> str:
    """Return a unit in one spelling: both letters mu, both degree signs."""
    text = unit.strip().replace("μ", "µ").replace("º", "°")
    return "deg" if text in ("Deg", "Degree", "Degrees") else text


def field_name(name: str) -> str:
    """Return the name of a channel as that of a field: ``NapPotential`` becomes ``nap_potential``."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name)
    text = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:50]
    if not text or text[0].isdigit() or text in OWN:
        text = f"channel_{text}".rstrip("_")
    return text


def _field_names(channels: Sequence[Channel], wanted: Mapping[str, str | int]) -> dict[int, str]:
    """Return the field of each channel, without the direction, by its index."""
    plain = [" ".join(channel.name.replace("_", " ").lower().split()) for channel in channels]
    names: dict[int, str] = {}
    taken: set[str] = set()
    for field, asked in wanted.items():
        name = _asked(field, asked, channels)
        names |= {index: field for index, channel in enumerate(channels) if channel.name == name}
        taken.add(field)
    for field, quantity in QUANTITIES.items():
        for known in quantity.names:
            if field in taken:
                break
            for index, text in enumerate(plain):
                # of an oscillation controller: OC M1 Phase
                if index not in names and re.sub(r"^(oc m\d+|li\w* demod \d+) ", "", text) == known:
                    names[index] = field
                    taken.add(field)
    for index, channel in enumerate(channels):
        if index in names:
            continue
        name = field_name(channel.name)
        # the name of a known quantity, whose channel is another one
        names[index] = f"other_{name}" if name in taken else name
    return dict(sorted(names.items()))


def _asked(field: str, asked: str | int, channels: Sequence[Channel]) -> str:
    have = ", ".join(dict.fromkeys(channel.name for channel in channels)) or "none"
    if isinstance(asked, int):
        if not 0 <= asked < len(channels):
            raise ValueError(
                f"channels: {field} = {asked}: there are {len(channels)}, from 0: {have}"
            )
        return channels[asked].name
    for channel in channels:
        if asked == channel.name or Channel.labelled(asked).name == channel.name:
            return channel.name
    raise ValueError(f"no channel {asked!r} for {field}; there are {have}")


def _conversion(field: str, channel: Channel, units: Mapping[str, str]) -> tuple[str, float]:
    given = units.get(channel.name, units.get(field, channel.unit))
    unit, factor = CONVERSIONS.get(spelled(given), (spelled(given), 1.0))
    quantity = QUANTITIES.get(field)
    if given and (quantity is None or unit in quantity.units):
        return unit, factor
    what = f"has the unit {given!r}" if given else "has no unit"
    fits = [name for name, (to, _) in CONVERSIONS.items() if quantity and to in quantity.units]
    one_of = f" with one of {', '.join(fits)}" if fits else ' ("1" for a number)'
    raise ValueError(
        f"the channel {channel.name!r} ({field}) {what}; say "
        f'units = {{ "{channel.name}" = "..." }}{one_of}, or leave it out by only = [...]'
    )
