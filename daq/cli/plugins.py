"""``daq plugins``: what is installed, what failed, and what each type may be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from daq.cli import options, terminal

if TYPE_CHECKING:
    from daq.discovery import Plugins

EXAMPLES: Final = {
    "plugins": ["daq plugins", "daq plugins virtual", "daq plugins --plugins-dir ~/my-plugins"]
}

KINDS: Final = {"source": "sources", "analysis": "analyses", "reader": "readers", "view": "views"}


def plugins(
    name: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="A type: its keys, units and defaults.")
    ] = None,
    plugins_dir: options.PluginsDir = None,
) -> int:
    """List the plugins and the types that they give; with a TYPE, what its table may say.

    The exit status is 1 if a plugin failed.
    """
    from daq.discovery import Plugins

    found = Plugins.load(plugins_dir)
    types = {kind: getattr(found, attribute) for kind, attribute in KINDS.items()}
    if name is not None:
        return _explain(name, types)
    console = terminal.console()
    drawn = terminal.table("kind", "type", "plugin", "from", "what it is")
    for kind, classes in types.items():
        for type_name, item in sorted(classes.items()):
            owner = found.owner(item)
            drawn.add_row(kind, type_name, owner, _origin(found, owner), _first_line(item))
    console.print(drawn)
    for plugin, reason in found.failed.items():
        print(f"failed: {plugin} ({_origin(found, plugin)}): {reason}")
    return 1 if found.failed else 0


def _explain(name: str, types: dict[str, dict[str, Any]]) -> int:
    from daq.config import nearest

    matching = [(kind, classes[name]) for kind, classes in types.items() if name in classes]
    if not matching:
        known = {type_name for classes in types.values() for type_name in classes}
        raise ValueError(f"no type {name!r}{nearest(name, known)}")
    console = terminal.console()
    for kind, item in matching:
        console.print(f"{kind} {name}: {_first_line(item)}")
        model = getattr(item, "Config", None)
        if model is None:
            continue
        drawn = terminal.table("key", "default", "units", "what it is")
        for key, field in model.model_fields.items():
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            default = (
                "needed"
                if field.is_required()
                else _value(field.get_default(call_default_factory=True))
            )
            drawn.add_row(key, default, str(extra.get("units", "")), field.description or "")
        console.print(drawn)
    return 0


def _value(value: Any) -> str:
    return "-" if value is None else str(value)


def _origin(found: Plugins, plugin: str) -> str:
    origin = found.origins.get(plugin)
    return "the engine" if origin is None else origin.distribution


def _first_line(item: type[object]) -> str:
    return (item.__doc__ or "").strip().split("\n")[0].replace("`", "")
