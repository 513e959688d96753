"""Plugins: found by the entry-point group ``daq`` and in a folder, each kept apart from the others.

A plugin that fails, when it is imported or when a hook is called, is named in `Plugins.failed`
and skipped; what its other hooks give stays.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

import pluggy

from daq import hooks
from daq.analysis import Analysis
from daq.config import ConfigError, nearest
from daq.reader import Reader
from daq.run import Run
from daq.source import Source
from daq.view import View

GROUP: Final = "daq"
"""The entry-point group that a plugin registers in."""

BUILTIN: Final = "daq"
"""Owner of the types that come with the engine."""

BUILTIN_SOURCES: Final[Mapping[str, str]] = {
    "file": "daq.runtime.file_source",
    "folder": "daq.runtime.folder_source",
    "replay": "daq.runtime.replay",
    "wire": "daq.runtime.wire",
}
"""Source types of the engine: the module that holds the `daq.Source` of that name."""

SOURCE_KEYS: Final = frozenset({"type", "corrections", "attributes"})
"""Keys of ``[sources.NAME]`` that are the engine's own; a plugin's Config may not have them."""

READER_KEYS: Final = frozenset(
    "type path format rate batch pattern order existing settle look count quiet finished "
    "stop_name corrections".split()
)
"""Keys of the source types ``file`` and ``folder``; a reader's Config may not have them."""

ANALYSIS_KEYS: Final = frozenset({"type", "input", "inputs", "timeout", "group"})
"""Keys of ``[analyses.NAME]`` that are the engine's own; a plugin's Config may not have them."""

Type = TypeVar("Type")


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a plugin comes from: ``glasswatch 0.1.0`` or the path of a file."""

    module: str
    distribution: str


class Plugins:
    """The plugins of this process and the types that they register.

    Types are collected when first asked for: `sources`, `analyses`, `readers` and `views` are
    dictionaries by the name that the configuration uses. Each raises `ConfigError` where two
    plugins use one name.

    Parameters
    ----------
    directory
        A folder of further plugins: single ``.py`` files and packages. Raises `ConfigError` where
        it is not a folder.
    installed
        Whether installed plugins are looked for.
    """

    def __init__(self, directory: Path | None = None, *, installed: bool = True) -> None:
        self.manager = pluggy.PluginManager("daq")
        self.manager.add_hookspecs(hooks)
        self.origins: dict[str, Origin] = {}
        """Where each plugin comes from, by name; failed ones too."""
        self.failed: dict[str, str] = {}
        """Plugins that failed, and why, in one line."""
        self._owners: dict[type[object], str] = {}
        if os.environ.get("GLASSWATCH_TRACE_PLUGINS"):
            self.manager.add_hookcall_monitoring(_trace_before, _trace_after)
        if installed:
            for entry in sorted(importlib.metadata.entry_points(group=GROUP)):
                self._load_entry_point(entry)
        if directory is not None:
            self._load_directory(directory)

    @classmethod
    def load(cls, directory: Path | None = None) -> Plugins:
        """Return the plugins of this process.

        The first call, and one with a ``directory``, looks for them; a call without returns what
        the last one found, so that a source sees the plugins with which its process was started.
        """
        global _loaded  # noqa: PLW0603 - what a process has imported is a fact of the process
        if _loaded is None or directory is not None:
            _loaded = cls(directory)
        return _loaded

    @cached_property
    def sources(self) -> dict[str, type[Source]]:
        """Source types by name, those of the engine too."""
        builtin = {}
        for name, module in BUILTIN_SOURCES.items():
            try:
                builtin[name] = _source_in(module, name)
            except Exception as error:
                self._fail(f"{BUILTIN}.{name}", f"{type(error).__name__}: {error}")
        return self._collect("daq_sources", Source, SOURCE_KEYS, builtin)

    @cached_property
    def analyses(self) -> dict[str, type[Analysis]]:
        """Analysis types by name."""
        return self._collect("daq_analyses", Analysis, ANALYSIS_KEYS)

    @cached_property
    def readers(self) -> dict[str, type[Reader]]:
        """File readers by name."""
        return self._collect("daq_readers", Reader, READER_KEYS)

    @cached_property
    def views(self) -> dict[str, type[View]]:
        """Views by name."""
        return self._collect("daq_views", View)

    def source(self, name: str, where: str = "type") -> type[Source]:
        """Return the source type ``name``; raise `ConfigError` with the nearest one.

        ``where`` begins the message: the place in the configuration that asks for it.
        """
        return self._find(self.sources, "source", name, where)

    def analysis(self, name: str, where: str = "type") -> type[Analysis]:
        """Return the analysis type ``name``; raise `ConfigError` with the nearest one."""
        return self._find(self.analyses, "analysis", name, where)

    def owner(self, kind: type[object]) -> str:
        """Return the name of the plugin that registered a type (``daq`` for the engine's own)."""
        return self._owners.get(kind, BUILTIN)

    def run_started(self, run: Run) -> None:
        """Call ``daq_run_started`` of every plugin; one that raises goes to `failed`."""
        self._call("daq_run_started", run=run)

    def run_finished(self, run: Run) -> None:
        """Call ``daq_run_finished`` of every plugin; one that raises goes to `failed`."""
        self._call("daq_run_finished", run=run)

    # -- inside ---------------------------------------------------------------------------------

    def _load_entry_point(self, entry: importlib.metadata.EntryPoint) -> None:
        distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""
        origin = Origin(entry.value, distribution)
        if (other := self.origins.get(entry.name)) is not None:
            if other.module != origin.module:  # else one plugin, seen twice on the path
                self._fail(
                    entry.name,
                    f"{other.distribution} and {distribution} both register a plugin of this "
                    "name; the second is skipped",
                )
            return
        self.origins[entry.name] = origin
        self._load(entry.name, entry.load)

    def _load_directory(self, directory: Path) -> None:
        if not directory.is_dir():
            raise ConfigError(f"--plugins-dir {directory}: no such folder")
        for path in sorted(directory.iterdir()):
            file = path / "__init__.py" if path.is_dir() else path
            if path.name.startswith(("_", ".")) or file.suffix != ".py" or not file.is_file():
                continue
            if path.stem in self.origins:
                self._fail(path.stem, f"{path}: a plugin of this name is there already; skipped")
                continue
            self.origins[path.stem] = Origin(path.stem, str(path))
            self._load(path.stem, partial(_import_file, path.stem, file))

    def _load(self, name: str, load: Callable[[], Any]) -> None:
        try:
            plugin = load()
            _check_hooks(plugin)
            self.manager.register(plugin, name)
        except (Exception, SystemExit) as error:
            self._fail(name, f"{type(error).__name__}: {error}")

    def _fail(self, name: str, reason: str) -> None:
        line = " ".join(reason.split())
        self.failed[name] = f"{self.failed[name]}; {line}" if name in self.failed else line

    def _collect(
        self,
        hook: str,
        base: type[Type],
        engine_keys: frozenset[str] = frozenset(),
        builtin: Mapping[str, type[Type]] | None = None,
    ) -> dict[str, type[Type]]:
        found: dict[str, type[Type]] = dict(builtin or {})
        for plugin_name, classes in self._call(hook):
            try:
                listed = list(classes)
            except TypeError:
                self._fail(plugin_name, f"{hook} returned {classes!r}, not a list of classes")
                continue
            for item in listed:
                if reason := _unfit(item, base, engine_keys):
                    self._fail(plugin_name, f"{hook}: {reason}")
                    continue
                if found.setdefault(item.name, item) is not item:
                    raise ConfigError(
                        f"two plugins register the {base.__name__.lower()} type {item.name!r}: "
                        f"{self._describe(self.owner(found[item.name]))} and "
                        f"{self._describe(plugin_name)}; uninstall one of them"
                    )
                self._owners.setdefault(item, plugin_name)
        return found

    def _call(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Call a hook of each plugin by itself, so that one that raises takes no other with it."""
        results = []
        plugins = self.manager.list_name_plugin()
        for name, plugin in plugins:
            others = [other for _, other in plugins if other is not plugin]
            try:
                given = self.manager.subset_hook_caller(hook, others)(**arguments)
            except (Exception, SystemExit) as error:
                self._fail(name, f"{hook}: {type(error).__name__}: {error}")
                continue
            results += [(name, value) for value in given]
        return results

    def _find(
        self, types: Mapping[str, type[Type]], kind: str, name: str, where: str
    ) -> type[Type]:
        if (found := types.get(name)) is not None:
            return found
        message = f"{where}: no {kind} type {name!r}{nearest(name, types)}"
        if self.failed:
            reasons = "; ".join(f"{plugin} ({reason})" for plugin, reason in self.failed.items())
            message += f"; plugins that failed: {reasons}"
        raise ConfigError(message)

    def _describe(self, plugin: str) -> str:
        if (origin := self.origins.get(plugin)) is None:
            return "the engine itself"
        return f"{plugin} ({origin.distribution})"


_loaded: Plugins | None = None


def _source_in(module: str, name: str) -> type[Source]:
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, type) and issubclass(value, Source) and value.name == name:
            return value
    raise LookupError(f"{module} holds no source named {name!r}")


def _import_file(name: str, file: Path) -> Any:
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(file):
        return loaded
    if loaded is not None or importlib.util.find_spec(name) is not None:
        raise ImportError(f"{file}: {name!r} is the name of an installed module; rename the file")
    package = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=package)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _check_hooks(plugin: Any) -> None:
    """Refuse what pluggy would pass over without a word: a misspelt hook, a forgotten marker."""
    known = {name for name in vars(hooks) if name.startswith("daq_")}
    for name in vars(plugin):
        if not name.startswith("daq_") or not callable(getattr(plugin, name)):
            continue
        marked = hasattr(getattr(plugin, name), "daq_impl")
        if marked and name not in known:
            raise ConfigError(f"{name}: no such hook{nearest(name, known)}")
        if name in known and not marked:
            raise ConfigError(f"{name}: mark it with @daq.hookimpl")


def _unfit(item: Any, base: type[object], engine_keys: frozenset[str]) -> str:
    if not isinstance(item, type) or not issubclass(item, base):
        return f"{item!r} is not a subclass of daq.{base.__name__}"
    name = getattr(item, "name", "")
    if not isinstance(name, str) or not name:
        return f'{item.__name__} has no name; write name = "..." in the class'
    config = getattr(item, "Config", None)
    taken = engine_keys & set(getattr(config, "model_fields", ()))
    if taken:
        return (
            f"{item.__name__}.Config has the key {min(taken)!r}, which is the engine's; rename it"
        )
    return ""


def _trace_before(hook_name: str, implementations: Any, arguments: Mapping[str, Any]) -> None:
    for implementation in implementations:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        print(f"plugins: {implementation.plugin_name}.{hook_name}({given})", file=sys.stderr)


def _trace_after(outcome: Any, hook_name: str, implementations: Any, arguments: Any) -> None:
    if not implementations:
        return
    names = ", ".join(implementation.plugin_name for implementation in implementations)
    result = outcome.exception or outcome.get_result()
    print(f"plugins: {names}.{hook_name} -> {result!r}", file=sys.stderr)
