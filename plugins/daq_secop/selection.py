"""Which parameters of a node become which fields of which streams."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import daq
from daq_secop.datainfo import Number, numbers_of
from daq_secop.description import Module, Node, Parameter

log = logging.getLogger("secop")

Key = tuple[str, str]
"""Module and parameter."""

USUAL: Final = ("value", "target", "status", "offset")
"""Taken of a module by default, where it has them; the offset where clients are to add it."""

CORRECTED: Final = ("value", "target")
"""To these a client adds the offset of a module that has the feature HasOffset."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the values of a field come from.

    Parameters
    ----------
    key
        Module and parameter.
    number
        Which number of its value.
    offset
        The number in the module's parameter ``offset`` that is added; None where nothing is.
    """

    key: Key
    number: Number
    offset: Number | None = None

    @property
    def keys(self) -> set[Key]:
        """All parameters that it needs."""
        return {self.key} if self.offset is None else {self.key, (self.key[0], "offset")}


@dataclasses.dataclass(frozen=True)
class Selection:
    """One stream: its description, and where its fields come from, the first one first.

    An update of the first field's parameter makes a record.
    """

    stream: daq.Stream
    origins: Mapping[str, Origin]

    @property
    def main(self) -> Key:
        """The parameter whose updates make records."""
        return next(iter(self.origins.values())).key

    @property
    def keys(self) -> set[Key]:
        """All parameters that are needed."""
        return {key for origin in self.origins.values() for key in origin.keys}


def select(
    node: Node, modules: Sequence[str] | None, streams: Mapping[str, Mapping[str, str]]
) -> list[Selection]:
    """Return the streams that are wanted of a node.

    Parameters
    ----------
    modules
        Give a stream each with their value, target and status. None: all that have a value, if
        there are no ``streams``.
    streams
        ``{stream: {field: "module:parameter"}}``; members of a struct and places in a tuple
        follow after dots (``frame:value.force``).

    Raises
    ------
    ValueError
        In one line, where something is not there or cannot be a field.
    """
    found = [_explicit(node, name, fields) for name, fields in streams.items()]
    if modules is not None:
        for name in modules:
            node.find(name, "value")
            found.append(_usual(node.modules[name]))
    elif not streams:
        found += _all(node)
    if not found:
        raise ValueError(
            "no module of the node has a value that is a number; name what is wanted in streams"
        )
    names = [selection.stream.name for selection in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two streams would be called {min(twice)!r}")
    return [_described(node, selection) for selection in found]


def _all(node: Node) -> list[Selection]:
    found = []
    for module in node.modules.values():
        if "value" in module.parameters:
            try:
                found.append(_usual(module))
            except ValueError as error:
                log.info("left out: %s", error)
    return found


def _usual(module: Module) -> Selection:
    """Return the stream of a module: its main value, and target and status where it has them."""
    origins: dict[str, Origin] = {}
    for name in USUAL:
        if name not in module.parameters or (name == "offset" and not module.has_offset):
            continue
        parameter = module.parameters[name]
        try:
            numbers = _numbers(module, parameter)
        except ValueError:
            if name == "value":
                raise
            continue
        _add(origins, name, module, parameter, numbers)
    # Names of modules may begin with an underscore, those of streams may not.
    return _selection(module.name.lstrip("_"), origins)


def _explicit(node: Node, stream: str, fields: Mapping[str, str]) -> Selection:
    origins: dict[str, Origin] = {}
    for field, text in fields.items():
        name, _, rest = text.partition(":")
        key, *members = rest.split(".")
        if not key:
            raise ValueError(f"streams.{stream}.{field}: {text!r} is not module:parameter")
        try:
            parameter = node.find(name, key)
            module = node.modules[name]
            path = tuple(int(m) if m.isdecimal() else m for m in members)
            numbers = [n for n in _numbers(module, parameter) if n.path[: len(path)] == path]
            if not numbers:
                raise ValueError(f"{name}:{key} has no number at {'.'.join(members)!r}")
        except ValueError as error:
            raise ValueError(f"streams.{stream}.{field}: {error}") from None
        _add(origins, field, module, parameter, numbers, len(path))
    return _selection(stream, origins)


def _numbers(module: Module, parameter: Parameter) -> list[Number]:
    """Return the numbers of a parameter; raise ValueError, naming it, where there is none."""
    who = f"{module.name}:{parameter.name}"
    if parameter.is_command:
        raise ValueError(f"{who} is a command")
    if parameter.constant is not None:
        raise ValueError(f"{who} is constant: it is in the attributes")
    try:
        return numbers_of(parameter.datainfo)
    except ValueError as error:
        raise ValueError(f"{who} is {error}") from None


def _add(
    origins: dict[str, Origin], field: str, module: Module, parameter: Parameter,
    numbers: Sequence[Number], known: int = 0,
) -> None:  # fmt: skip
    """Add a field for each number; where there are several, their paths end the names."""
    offset = None
    if module.has_offset and parameter.name in CORRECTED:
        (offset,) = _numbers(module, module.parameters["offset"])
    for number in numbers:
        rest = "_".join(str(part) for part in number.path[known:])
        name = f"{field}_{rest}" if rest and len(numbers) > 1 else field
        if name in origins:
            raise ValueError(f"{module.name}: two fields would be called {name!r}")
        origins[name] = Origin((module.name, parameter.name), number, offset)


def _selection(name: str, origins: Mapping[str, Origin]) -> Selection:
    if not origins:
        raise ValueError(f"streams.{name}: at least one field is needed")
    fields = {
        field: daq.Field("<f8", origin.number.shape, origin.number.units)
        for field, origin in origins.items()
    }
    return Selection(daq.Stream(name, fields), origins)


def _described(node: Node, selection: Selection) -> Selection:
    """Return a selection whose stream says all that the node says of it."""
    fields = {}
    for field, origin in selection.origins.items():
        words = node.find(*origin.key).description.splitlines() or [""]
        fields[field] = dataclasses.replace(
            selection.stream.fields[field], long_name=words[0][:120]
        )
    stream = daq.Stream(selection.stream.name, fields, attributes=_attributes(node, selection))
    return dataclasses.replace(selection, stream=stream)


def _attributes(node: Node, selection: Selection) -> dict[str, Any]:
    origins = selection.origins
    modules = [node.modules[name] for name in dict.fromkeys(o.key[0] for o in origins.values())]
    constants = {
        f"{module.name}:{name}": parameter.constant
        for module in modules
        for name, parameter in module.parameters.items()
        if parameter.constant is not None
    }
    attributes: dict[str, Any] = {
        "instrument": node.equipment_id,
        "description": node.description.partition("\n")[0],
        "firmware": node.firmware,
        "parameters": {field: ":".join(origin.key) for field, origin in origins.items()},
        "codes": {f: dict(o.number.names) for f, o in origins.items() if o.number.names},
        "meaning": {m.name: m.meaning for m in modules if m.meaning},
        "constants": constants,
        "offset_added": [field for field, origin in origins.items() if origin.offset],
    }
    return {key: value for key, value in attributes.items() if value}
