"""The numbers in a value, as the node describes it: what can become fields of a record.

SECoP 1.1, "Data info". Every number becomes float64, also an enum (its code), an integer and a bool:
NaN is where it is not known, and integers of SECoP are small.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Value = npt.NDArray[np.float64]

SCALARS: Final = frozenset({"double", "scaled", "int", "bool", "enum"})
TEXTS: Final = frozenset({"string", "blob"})

MOST_ELEMENTS: Final = 65536
"""Of one array."""

DEEPEST: Final = 16


@dataclasses.dataclass(frozen=True)
class Number:
    """A number, or an array of them, somewhere in the value of a parameter.

    Parameters
    ----------
    path
        Members of structs and places in tuples that lead to it; empty where it is the value itself.
    shape
        Of an array; shorter arrays are filled up with NaN.
    units
        As the node gives them; empty where it does not.
    kind
        ``double``, ``scaled``, ``int``, ``bool`` or ``enum``.
    scale
        By which the integers of ``scaled`` are multiplied.
    names
        Of an enum: {name: code}.
    """

    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    units: str
    kind: str
    scale: float = 1.0
    names: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The path as the end of a field's name."""
        return "_".join(str(part) for part in self.path)

    @property
    def unknown(self) -> Value:
        """What stands for a value that is not known: NaN, in the shape of the number."""
        return np.full(self.shape, np.nan)

    def read(self, value: Any) -> Value:
        """Return the number in a value of the parameter; raise ValueError where it is not in it."""
        for part in self.path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                raise ValueError(f"{_short(value)} has no member {part!r}") from None
        found = self.unknown
        self._fill(found, value)
        return found

    def _fill(self, into: Value, value: Any) -> None:
        if into.ndim == 0:
            into[...] = self._scalar(value)
            return
        if not isinstance(value, list) or len(value) > len(into):
            raise ValueError(f"{_short(value)} is no array of at most {len(into)}")
        for at, element in enumerate(value):
            self._fill(into[at : at + 1].reshape(into.shape[1:]), element)

    def _scalar(self, value: Any) -> float:
        if self.kind == "enum" and isinstance(value, str) and value in self.names:
            return float(self.names[value])
        if self.kind == "bool":
            if value in (False, True):
                return float(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(value) * self.scale
            except OverflowError:
                raise ValueError(f"{_short(value)} is too large") from None
        raise ValueError(f"{_short(value)} is no {self.kind}")


def numbers_of(datainfo: Any) -> list[Number]:
    """Return the numbers in values of a datainfo; texts in tuples and structs are left out.

    Raises ValueError, saying what it is instead, where there is none or where it is not understood.
    """
    found = _numbers(datainfo, 0)
    if not found:
        raise ValueError(f"{_kind(datainfo)}, not a number")
    for number in found:
        if math.prod(number.shape) > MOST_ELEMENTS:
            raise ValueError(f"an array of more than {MOST_ELEMENTS} numbers")
    return found


def _numbers(datainfo: Any, depth: int) -> list[Number]:
    kind = _kind(datainfo)
    if depth > DEEPEST:
        raise ValueError("of too many levels")
    if kind in TEXTS:
        return []
    if kind in SCALARS:
        return [_one(datainfo, kind)]
    members = datainfo.get("members")
    if kind == "array":
        return _of_array(datainfo, members, depth)
    if kind == "tuple" and isinstance(members, list):
        named: list[tuple[str | int, Any]] = list(enumerate(members))
    elif kind == "struct" and isinstance(members, dict):
        named = list(members.items())
    else:
        raise ValueError(f"of the type {kind}, which is no value")
    return [
        dataclasses.replace(number, path=(name, *number.path))
        for name, member in named
        for number in _numbers(member, depth + 1)
    ]


def _of_array(datainfo: Mapping[str, Any], members: Any, depth: int) -> list[Number]:
    found = _numbers(members, depth + 1)
    longest = datainfo.get("maxlen")
    if not found:
        return []
    if len(found) > 1 or found[0].path:
        raise ValueError("an array of tuples or structs, which cannot be a field")
    if not isinstance(longest, int) or isinstance(longest, bool) or longest < 1:
        raise ValueError(f"an array without a proper maxlen ({_short(longest)})")
    return [dataclasses.replace(found[0], shape=(longest, *found[0].shape))]


def _one(datainfo: Mapping[str, Any], kind: str) -> Number:
    units = datainfo.get("unit")
    scale = datainfo.get("scale") if kind == "scaled" else 1.0
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise ValueError(f"scaled by {_short(scale)}")
    names = datainfo.get("members") if kind == "enum" else {}
    if not isinstance(names, dict) or not all(type(code) is int for code in names.values()):
        raise ValueError("an enum without codes")
    return Number((), (), units if isinstance(units, str) else "", kind, float(scale), dict(names))


def _kind(datainfo: Any) -> str:
    kind = datainfo.get("type") if isinstance(datainfo, dict) else None
    if not isinstance(kind, str):
        raise ValueError("described without a type")
    return kind


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
