"""What a node says of itself: modules, their parameters, and what these hold.

SECoP 1.1, "Descriptive Data". Only what is used is checked: a module that is described badly does not
keep the others from being read.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a module: its datainfo, and its value where that is constant."""

    name: str
    description: str
    datainfo: Mapping[str, Any]
    constant: Any = None

    @property
    def is_command(self) -> bool:
        """It is no parameter but a command."""
        return self.datainfo.get("type") == "command"


@dataclasses.dataclass(frozen=True)
class Module:
    """A module, with its accessibles by name."""

    name: str
    description: str
    interface_classes: tuple[str, ...]
    features: tuple[str, ...]
    meaning: str
    parameters: Mapping[str, Parameter]

    @property
    def has_offset(self) -> bool:
        """Clients are to add the parameter ``offset`` to value and target."""
        return "HasOffset" in self.features and "offset" in self.parameters


@dataclasses.dataclass(frozen=True)
class Node:
    """A node, with its modules by name."""

    equipment_id: str
    description: str
    firmware: str
    modules: Mapping[str, Module]

    def find(self, module: str, parameter: str) -> Parameter:
        """Return a parameter; raise ValueError, with the nearest name, where there is none."""
        if module not in self.modules:
            raise ValueError(f"the node has no module {module!r}{_nearest(module, self.modules)}")
        parameters = self.modules[module].parameters
        if parameter not in parameters:
            raise ValueError(
                f"{module} has no parameter {parameter!r}{_nearest(parameter, parameters)}"
            )
        return parameters[parameter]


def node_of(report: Any) -> Node:
    """Return the node that a structure report describes; raise ValueError where it describes none."""
    if not isinstance(report, dict) or not isinstance(report.get("modules"), dict):
        raise ValueError("the node's description holds no modules")
    return Node(
        _text(report, "equipment_id"),
        _text(report, "description"),
        _text(report, "firmware"),
        {
            name: _module(name, module)
            for name, module in report["modules"].items()
            if isinstance(module, dict)
        },
    )


def _module(name: str, report: Mapping[str, Any]) -> Module:
    accessibles, meaning = report.get("accessibles"), report.get("meaning")
    if isinstance(meaning, list):
        meaning = meaning[0] if meaning else ""
    return Module(
        name,
        _text(report, "description"),
        _texts(report, "interface_classes"),
        _texts(report, "features"),
        meaning if isinstance(meaning, str) else "",
        {
            key: _parameter(key, accessible)
            for key, accessible in (accessibles if isinstance(accessibles, dict) else {}).items()
            if isinstance(accessible, dict)
        },
    )


def _parameter(name: str, report: Mapping[str, Any]) -> Parameter:
    datainfo = report.get("datainfo")
    return Parameter(
        name,
        _text(report, "description"),
        datainfo if isinstance(datainfo, dict) else {},
        report.get("constant"),
    )


def _text(report: Mapping[str, Any], key: str) -> str:
    value = report.get(key)
    return value if isinstance(value, str) else ""


def _texts(report: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = report.get(key)
    return tuple(str(part) for part in value) if isinstance(value, list) else ()


def _nearest(name: str, known: Iterable[str]) -> str:
    if close := difflib.get_close_matches(name, list(known), 1, 0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; it has {', '.join(sorted(known)) or 'none'}"
