"""Configuration models: pydantic, unknown keys refused with the nearest valid one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar

import pydantic


class ConfigError(ValueError):
    """A configuration that cannot be run: one line that says where, what, and what to do."""


class Config(pydantic.BaseModel):
    """Base of every configuration: unknown keys are refused, values may not be reassigned.

    Use plain annotations with units in the description::

        class Config(daq.Config):
            dwell_time: float = daq.setting(1e-3, "s", "time per pattern", gt=0)
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def setting(default: Any, units: str, description: str, **constraints: Any) -> Any:
    """Return a pydantic field with units; ``default=...`` makes it required.

    ``constraints`` are those of `pydantic.Field` (``gt``, ``ge``, ``le``, ``min_length``, ...).
    """
    return pydantic.Field(
        default, description=description, json_schema_extra={"units": units}, **constraints
    )


AnyConfig = TypeVar("AnyConfig", bound=pydantic.BaseModel)


def validated(model: type[AnyConfig], values: dict[str, Any], where: str) -> AnyConfig:
    """Return ``values`` as a ``model``; raise `ConfigError` in one line that names the place.

    ``where`` is the table that holds the values, ``sources.camera`` for instance.
    """
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        path = ".".join([part for part in [where] if part] + [str(p) for p in first["loc"]])
        if first["type"] == "extra_forbidden":
            known = _keys_at(model, first["loc"][:-1])
            raise ConfigError(
                f"{path}: no such key{nearest(str(first['loc'][-1]), known)}"
            ) from None
        if first["type"] == "missing":
            raise ConfigError(f"{path}: is needed and not given") from None
        more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
        given = "" if first["type"] == "value_error" else f", not {first['input']!r}"
        raise ConfigError(
            f"{path}: {first['msg'].removeprefix('Value error, ')}{given}{more}"
        ) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` or the list of what there is, to end an error message."""
    names = sorted(known)
    if close := difflib.get_close_matches(name, names, 1, 0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def _keys_at(model: type[pydantic.BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        inner = [
            a
            for a in (annotation, *getattr(annotation, "__args__", ()))
            if isinstance(a, type) and issubclass(a, pydantic.BaseModel)
        ]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)
