"""What a column of an export is: the quantities that are known, by the names that vendors use."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

from daq_exports.units import Conversion, conversion, spelled, split_label


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """A field of the streams and the columns that hold it; of several the first name counts."""

    field: str
    units: str
    dimension: str
    names: tuple[str, ...]
    long_name: str


QUANTITIES: Final = (
    Quantity("temperature", "K", "temperature",
             ("sample temperature", "temperature", "temp.", "temp", "sample temp.", "ts", "tr"),
             "sample temperature"),
    Quantity("heat_flow", "W/g", "power",
             ("heat flow (normalized)", "normalized heat flow", "heat flow normalized",
              "heat flow", "heatflow", "dsc", "unsubtracted heat flow"),
             "heat flow, endothermic positive"),
    Quantity("reversing_heat_flow", "W/g", "power",
             ("reversing heat flow (normalized)", "reversing heat flow", "rev heat flow"),
             "reversing heat flow, endothermic positive"),
    Quantity("programme_temperature", "K", "temperature",
             ("program temperature", "programme temperature", "set temperature",
              "set point temperature", "program temp."), "temperature asked for"),
    Quantity("heating_rate", "K/min", "rate", ("heating rate",), "heating rate asked for"),
    Quantity("frequency", "Hz", "frequency",
             ("frequency", "freq.", "freq", "test frequency", "angular frequency",
              "ang. frequency"), "frequency"),
    Quantity("storage_modulus", "Pa", "pressure", ("storage modulus", "e'", "g'"),
             "storage modulus"),
    Quantity("loss_modulus", "Pa", "pressure", ("loss modulus", "e''", 'e"', "g''", 'g"'),
             "loss modulus"),
    Quantity("tan_delta", "", "number", ("tan(delta)", "tan delta", "tandelta", "tan d"),
             "loss factor"),
    Quantity("strain", "", "ratio", ("oscillation strain", "strain"), "strain"),
    Quantity("stress", "Pa", "pressure", ("oscillation stress", "stress"), "stress"),
)  # fmt: skip

TIME: Final = Quantity(
    "time", "s", "time", ("run time", "time", "test time", "step time"), "time since the start"
)
SEGMENT: Final = Quantity("segment", "", "number", ("segment", "step"), "step of the programme")

OWN: Final = ("sample", "mass", "annealing_temperature", "annealing_time", "valid")
"""Fields that are made here, or that the file has for its own use."""

KNOWN: Final = {quantity.field: quantity for quantity in (*QUANTITIES, TIME, SEGMENT)}


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column of a file: its name, and its unit as it is written (empty where there is none)."""

    name: str
    unit: str = ""

    @classmethod
    def labelled(cls, label: str) -> Column:
        """Return the column of a label that holds both."""
        return cls(*split_label(label))


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A field, where it stands in a row, and how it is converted."""

    field: str
    index: int
    units: str
    conversion: Conversion
    column: Column
    long_name: str


def find_columns(
    columns: Sequence[Column], wanted: Mapping[str, str | int], units: Mapping[str, str],
    also: Sequence[str],
) -> dict[str, Found]:  # fmt: skip
    """Return the known quantities among the columns of a file, by field.

    Parameters
    ----------
    columns
        As they stand in the file.
    wanted
        Name or number (from 1) of the column of a field, where the configuration says it.
    units
        Units that the configuration gives, by name of a column or by field.
    also
        Names of further columns to keep, with the units that they have.

    Raises
    ------
    ValueError
        Where a column that is asked for is not there, or a unit is not known.
    """
    found: dict[str, Found] = {}
    names = [_plain(column.name) for column in columns]
    for quantity in KNOWN.values():
        index = _index(quantity, columns, names, wanted.get(quantity.field))
        if index is None:
            index = _bracketed(quantity, names)
            if index is None:
                continue
            # Heat Flow (furlong): not passed over, but said.
            columns = [*columns[:index], _split(columns[index]), *columns[index + 1 :]]
        column = columns[index]
        given = units.get(column.name, units.get(quantity.field))
        unit = column.unit if given is None else given
        found[quantity.field] = _known(quantity, index, column, unit)
    for name in also:
        index = _place(name, columns, names)
        column = columns[index]
        field = _slug(column.name)
        if field in KNOWN or field in found or field in OWN:
            raise ValueError(f"also: {name!r} would be the field {field}, which is there already")
        unit = spelled(units.get(column.name, column.unit))
        found[field] = Found(field, index, unit, (1.0, 0.0), column, column.name)
    return found


def _known(quantity: Quantity, index: int, column: Column, unit: str) -> Found:
    dimension, units = quantity.dimension, quantity.units
    if dimension == "power":
        from daq_exports.units import UNITS

        if spelled(unit) in UNITS["specific power"]:
            dimension = "specific power"
        else:
            units = "mW"
    if quantity.field == "frequency":
        angular = _plain(column.name).startswith("ang")
        if angular and spelled(unit) not in ("", "rad/s", "rad/sec"):
            raise ValueError(
                f"column {column.name!r} is in {unit!r}: an angular frequency is in rad/s; say "
                f'units = {{ "{column.name}" = "rad/s" }}, or rename the column'
            )
    if quantity.field == "segment":
        return Found("segment", index, "", (1.0, 0.0), column, quantity.long_name)
    return Found(
        quantity.field, index, units, conversion(dimension, unit, column.name), column,
        quantity.long_name,
    )  # fmt: skip


def _index(
    quantity: Quantity, columns: Sequence[Column], names: Sequence[str], wanted: str | int | None
) -> int | None:
    if wanted is not None:
        return _place(wanted, columns, names)
    for name in quantity.names:
        if name in names:
            return names.index(name)
    return None


def _bracketed(quantity: Quantity, names: Sequence[str]) -> int | None:
    """Return the column whose name is known but for what stands in brackets after it."""
    for index, name in enumerate(names):
        if name.endswith((")", "]")) and re.split(r"\s*[(\[]", name)[0] in quantity.names:
            return index
    return None


def _split(column: Column) -> Column:
    name, _, unit = column.name.replace("[", "(").partition("(")
    return Column(name.strip(), column.unit or unit.strip(" )]"))


def _place(wanted: str | int, columns: Sequence[Column], names: Sequence[str]) -> int:
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(columns):
            raise ValueError(f"columns: there is no column {wanted}, but {len(columns)}")
        return wanted - 1
    for index, column in enumerate(columns):
        if column.name == wanted:
            return index
    if _plain(wanted) in names:
        return names.index(_plain(wanted))
    there = ", ".join(column.name for column in columns)
    raise ValueError(f"there is no column {wanted!r}; there are {there}")


def _plain(name: str) -> str:
    return " ".join(name.strip().lower().lstrip("#").split())


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "column"
