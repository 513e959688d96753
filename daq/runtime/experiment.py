"""The configuration of a run: a TOML file, checked whole before anything starts."""

from __future__ import annotations

import builtins
import dataclasses
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import pydantic

from daq import protocol
from daq.analysis import Analysis
from daq.config import Config, ConfigError, nearest, setting, validated
from daq.discovery import ANALYSIS_KEYS, SOURCE_KEYS, Plugins
from daq.source import Source
from daq.streams import Array

TABLES: Final = ("run", "bus", "sources", "analyses", "recorder", "viewer")


class RunSettings(Config):
    """``[run]``: what the run is called and of what and by whom it is."""

    title: str = setting("", "", "what the run is called", max_length=200)
    sample: dict[str, Any] = setting({}, "", "name, chemical_formula, thermal history ...")
    user: dict[str, Any] = setting({}, "", "name, affiliation, ORCID ...")


class BusSettings(Config):
    """``[bus]``: where the bus listens and what it holds."""

    endpoint: str | None = setting(
        None,
        "",
        "ipc:///path or tcp://127.0.0.1:PORT; by default a socket in the user's own folder",
    )
    ring: int = setting(256, "MiB", "shared memory for large frames; 0: none", ge=0, le=1 << 20)
    credit: int = setting(8, "", "batches that a source may have under way", ge=1, le=1024)


class RecorderSettings(Config):
    """``[recorder]``: whether, where and how the run is recorded."""

    record: Literal["now", "command", "never"] = setting(
        "now", "", "from the start; from a `record` command on; not at all"
    )
    output: Path = setting(Path("runs"), "", "folder in which the run gets a folder of its own")
    durable_interval: float = setting(1.0, "s", "longest time until data are safe on disk", gt=0)
    lookback: float = setting(5.0, "s", "kept before a `record` command, and recorded", ge=0)
    compression: Literal["bitshuffle-lz4", "gzip", "none"] = setting(
        "bitshuffle-lz4", "", "of large fields; gzip: for readers without the HDF5 plugin"
    )


class ViewerSettings(Config):
    """``[viewer]``: whether the streams are drawn."""

    enabled: bool = setting(True, "", "open the viewer if there is a screen")
    picture: bool = setting(True, "", "at the end, write a picture of the viewer beside the file")


Pixels = tuple[float, float]


class DescanSettings(Config):
    """``descan = {...}``: where the pattern stands, in pixels [y, x] of the camera, over the scan.

    Either a table, or an offset that grows evenly along rows and columns. Only differences
    matter: pixel p of what analyses see is pixel p + shift of the frame.
    """

    table: Path | None = setting(None, "px", ".npy file [row, column, 2]")
    offset: Pixels = setting((0.0, 0.0), "px", "[y, x] at the first position")
    per_row: Pixels = setting((0.0, 0.0), "px", "[y, x] more for each row of the scan")
    per_column: Pixels = setting((0.0, 0.0), "px", "[y, x] more for each column of the scan")

    @pydantic.model_validator(mode="after")
    def _one_of_both(self) -> DescanSettings:
        if self.table is not None and any((*self.offset, *self.per_row, *self.per_column)):
            raise ValueError("table, or offset, per_row and per_column; not both")
        return self


class CorrectionSettings(Config):
    """``[sources.NAME.corrections]``: numbers, or ``.npy`` files of the shape of a record."""

    dark: float | Path | None = setting(None, "counts", "subtracted first")
    gain: float | Path | None = setting(None, "", "multiplied after that")
    mask: bool | Path | None = setting(None, "", "true where a pixel is bad")
    bad_pixels: Literal["mask", "interpolate"] | None = setting(
        None, "", "leave bad pixels out (default), or give them the mean of good ones around"
    )
    descan: DescanSettings | None = setting(None, "", "moves patterns back to one place")


class _SourceTable(Config):
    type: str
    corrections: CorrectionSettings = CorrectionSettings()
    attributes: dict[str, Any] | Path = setting(
        {}, "", "of its streams of images, in place of what it says: a table, or a TOML file"
    )


class _AnalysisTable(Config):
    type: str
    input: str | None = None
    inputs: tuple[str, ...] | None = None
    timeout: float = setting(60.0, "s", "longest time for one batch before it is restarted", gt=0)
    group: str | None = setting(None, "", "analyses of one group share a process")


@dataclasses.dataclass(frozen=True)
class SourceSettings:
    """One ``[sources.NAME]``: its type and class, and its own validated ``config``."""

    name: str
    type: str
    source: builtins.type[Source]
    config: Any
    corrections: CorrectionSettings
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def resolved(self) -> dict[str, Any]:
        """Return the table with all defaults, as plain JSON."""
        table = {"type": self.type, **self.config.model_dump(mode="json")}
        corrections = self.corrections.model_dump(mode="json", exclude_none=True)
        if corrections:
            table["corrections"] = corrections
        if self.attributes:
            table["attributes"] = dict(self.attributes)
        return table


@dataclasses.dataclass(frozen=True)
class AnalysisSettings:
    """One ``[analyses.NAME]``: its type and class, its inputs, and its own validated ``config``."""

    name: str
    type: str
    analysis: builtins.type[Analysis]
    inputs: tuple[str, ...]
    timeout: float
    group: str | None
    config: Any

    def resolved(self) -> dict[str, Any]:
        """Return the table with all defaults, as plain JSON."""
        return {
            "type": self.type,
            "inputs": list(self.inputs),
            "timeout": self.timeout,
            "group": self.group,
            **self.config.model_dump(mode="json"),
        }


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A configuration that can be run: every key known, every type and input there.

    ``text`` is the file word for word (empty where a program made it), ``overrides`` what
    ``--set`` changed, ``base`` the folder that paths of corrections are relative to.
    ``reconfigurations`` are made while the run goes on, each ``{"analysis", "stream", "index",
    "config"}``: a replay repeats those of the recorded run.
    """

    run: RunSettings
    bus: BusSettings
    sources: Mapping[str, SourceSettings]
    analyses: Mapping[str, AnalysisSettings]
    recorder: RecorderSettings
    viewer: ViewerSettings
    text: str = ""
    overrides: tuple[str, ...] = ()
    base: Path = Path()
    reconfigurations: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_text(
        cls,
        text: str,
        overrides: Sequence[str] = (),
        plugins: Plugins | None = None,
        *,
        base: Path | None = None,
        where: str = "configuration",
    ) -> Experiment:
        """Return the experiment that a TOML text describes; raise `ConfigError`.

        ``where`` names the text in the message about a syntax error.
        """
        tables = _parsed(text, where)
        experiment = cls.from_dict(tables, overrides, plugins, base=base)
        return dataclasses.replace(experiment, text=text)

    @classmethod
    def from_dict(
        cls,
        tables: Mapping[str, Any],
        overrides: Sequence[str] = (),
        plugins: Plugins | None = None,
        *,
        base: Path | None = None,
        reconfigurations: Sequence[Mapping[str, Any]] = (),
    ) -> Experiment:
        """Return the experiment of tables as TOML gives them (or `resolved`); raise `ConfigError`."""
        tables = _overridden(tables, overrides)
        plugins = plugins or Plugins.load()
        base = Path.cwd() if base is None else base.absolute()
        if unknown := sorted(set(tables) - set(TABLES)):
            raise ConfigError(f"[{unknown[0]}]: no such table{nearest(unknown[0], TABLES)}")
        for name in TABLES:
            if not isinstance(tables.get(name, {}), Mapping):
                raise ConfigError(f"{name}: a table is needed, [{name}]")
        bus = validated(BusSettings, dict(tables.get("bus", {})), "bus")
        if bus.endpoint is not None:
            from daq.bus.endpoint import check_endpoint

            _as_config_error(partial(check_endpoint, bus.endpoint), "bus.endpoint")
        sources = {
            name: _source(name, table, plugins, base)
            for name, table in _named_tables(tables, "sources").items()
        }
        analyses = {
            name: _analysis(name, table, plugins)
            for name, table in _named_tables(tables, "analyses").items()
        }
        if not sources:
            raise ConfigError(
                'no source: write [sources.camera] with type = "moving_spots", for instance'
            )
        if both := sorted(set(sources) & set(analyses)):
            raise ConfigError(f"{both[0]}: a source and an analysis have this name; rename one")
        _check_inputs(sources, analyses)
        return cls(
            validated(RunSettings, dict(tables.get("run", {})), "run"),
            bus,
            sources,
            analyses,
            validated(RecorderSettings, dict(tables.get("recorder", {})), "recorder"),
            validated(ViewerSettings, dict(tables.get("viewer", {})), "viewer"),
            overrides=tuple(overrides),
            base=base,
            reconfigurations=tuple(reconfigurations),
        )

    def resolved(self) -> dict[str, Any]:
        """Return all tables with every default filled in, as plain JSON that `from_dict` takes."""
        return {
            "run": self.run.model_dump(mode="json"),
            "bus": self.bus.model_dump(mode="json"),
            "sources": {name: source.resolved() for name, source in self.sources.items()},
            "analyses": {name: analysis.resolved() for name, analysis in self.analyses.items()},
            "recorder": self.recorder.model_dump(mode="json"),
            "viewer": self.viewer.model_dump(mode="json"),
        }

    def groups(self) -> list[list[AnalysisSettings]]:
        """Return the analyses as they share processes, each after those that it takes from."""
        together: dict[str, list[AnalysisSettings]] = {}
        for name in _in_order(self.analyses):
            analysis = self.analyses[name]
            key = f"group {analysis.group}" if analysis.group else name
            together.setdefault(key, []).append(analysis)
        return list(together.values())


def load_experiment(
    path: Path, overrides: Sequence[str] = (), plugins: Plugins | None = None
) -> Experiment:
    """Return the experiment in a TOML file; raise `ConfigError` in one line that says what to do.

    Parameters
    ----------
    path
        Of the file, UTF-8.
    overrides
        ``a.b.c=VALUE`` each, the value as in TOML, or a bare word for a text; lists and tables
        are replaced whole.
    plugins
        Those that types are looked up in; by default `daq.discovery.Plugins.load`.
    """
    text = _text(path)
    return Experiment.from_text(text, overrides, plugins, base=path.parent, where=str(path))


def load_tables(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file, unchecked; raise `ConfigError` where it is none."""
    return _parsed(_text(path), str(path))


def load_corrections(
    corrections: CorrectionSettings | Mapping[str, Any] | None, base: Path
) -> dict[str, Array]:
    """Return corrections as arrays, constants of a stream (see `daq.corrections`); those given only.

    Paths are relative to ``base``. Raises `ConfigError` where a file is no array of numbers.
    """
    import numpy as np

    if not isinstance(corrections, CorrectionSettings):
        corrections = validated(CorrectionSettings, dict(corrections or {}), "corrections")
    arrays: dict[str, Array] = {}
    for name in ("dark", "gain", "mask"):
        value = getattr(corrections, name)
        if value is None:
            continue
        if isinstance(value, Path):
            value = _array(base / value.expanduser(), f"corrections.{name}")
        kind = np.bool_ if name == "mask" else np.float32
        arrays[name] = np.asarray(value, kind)
    if corrections.bad_pixels is not None:
        arrays["interpolate"] = np.asarray(corrections.bad_pixels == "interpolate")
    if (descan := corrections.descan) is not None:
        if descan.table is not None:
            table = _array(base / descan.table.expanduser(), "corrections.descan.table")
        else:
            table = np.array([descan.offset, descan.per_row, descan.per_column])
        arrays["descan"] = table.astype(np.float32)
    return arrays


def _array(file: Path, where: str) -> Array:
    import numpy as np

    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{where}: {file}: {_reason(error)}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise ConfigError(f"{where}: {file}: not one array of numbers (.npy)")
    return array


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else Path()
        there = [str(other) for other in folder.glob("*.toml")]
        close = nearest(str(path), there)
        raise ConfigError(f"{path}: no such file{close if 'mean' in close else ''}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None


# -- one table ----------------------------------------------------------------------------------


def _named_tables(tables: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    named: dict[str, Mapping[str, Any]] = {}
    for name, table in tables.get(kind, {}).items():
        where = f"{kind}.{name}"
        if "." in name:
            raise ConfigError(f"{where}: a name without dots is needed")
        _as_config_error(partial(protocol.check_stream_name, name), where)
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where}: a table is needed, [{where}]")
        if not isinstance(table.get("type"), str):
            raise ConfigError(f"{where}.type: is needed and not given")
        named[name] = table
    return named


def _source(name: str, table: Mapping[str, Any], plugins: Plugins, base: Path) -> SourceSettings:
    where = f"sources.{name}"
    kind = plugins.source(table["type"], f"{where}.type")
    own = _own_keys(table, kind.Config, SOURCE_KEYS, where)
    common = validated(_SourceTable, _common_keys(table, SOURCE_KEYS), where)
    corrections = _found(common.corrections, base, f"{where}.corrections")
    attributes = common.attributes
    if isinstance(attributes, Path):
        file = base / attributes.expanduser()
        if not file.is_file():
            raise ConfigError(f"{where}.attributes: {file}: no such file")
        attributes = _parsed(_text(file), f"{where}.attributes: {file}")
    # what is recorded and sent is JSON
    if not _is_plain(attributes):
        raise ConfigError(f"{where}.attributes: text, numbers, true and false, and arrays of them")
    config = validated(kind.Config, own, where)
    return SourceSettings(name, common.type, kind, config, corrections, attributes)


def _is_plain(value: Any) -> bool:
    """Tell whether something from TOML is in JSON what it is."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _found(corrections: CorrectionSettings, base: Path, where: str) -> CorrectionSettings:
    """Return the corrections with the paths of their files made absolute."""

    def there(value: Path, key: str) -> Path:
        file = base / value.expanduser()
        if not file.is_file():
            raise ConfigError(f"{where}.{key}: {file}: no such file")
        return file

    files: dict[str, Any] = {
        key: there(value, key)
        for key in ("dark", "gain", "mask")
        if isinstance(value := getattr(corrections, key), Path)
    }
    descan = corrections.descan
    if descan is not None and descan.table is not None:
        table = there(descan.table, "descan.table")
        files["descan"] = descan.model_copy(update={"table": table})
    return corrections.model_copy(update=files)


def _analysis(name: str, table: Mapping[str, Any], plugins: Plugins) -> AnalysisSettings:
    where = f"analyses.{name}"
    kind = plugins.analysis(table["type"], f"{where}.type")
    own = _own_keys(table, kind.Config, ANALYSIS_KEYS, where)
    common = validated(_AnalysisTable, _common_keys(table, ANALYSIS_KEYS), where)
    if (common.input is None) == (common.inputs is None):
        raise ConfigError(
            f'{where}: one of input = "camera" and inputs = ["camera", "stage"] is needed'
        )
    inputs = (common.input,) if common.input is not None else common.inputs or ()
    if not inputs:
        raise ConfigError(f"{where}.inputs: at least one stream is needed")
    key = "input" if common.input is not None else "inputs"
    for stream in inputs:
        check = partial(protocol.check_stream_name, stream, reserved_ok=True)
        _as_config_error(check, f"{where}.{key}")
    if len(set(inputs)) < len(inputs):
        raise ConfigError(f"{where}.inputs: a stream is named twice")
    if common.group is not None:
        check = partial(protocol.check_stream_name, common.group, reserved_ok=True)
        _as_config_error(check, f"{where}.group")
    config = validated(kind.Config, own, where)
    return AnalysisSettings(
        name, common.type, kind, tuple(inputs), common.timeout, common.group, config
    )


def _common_keys(table: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}


def _own_keys(
    table: Mapping[str, Any], model: type[pydantic.BaseModel], engine: frozenset[str], where: str
) -> dict[str, Any]:
    """Return the plugin's part of a table; a misspelt key is held against the engine's keys too."""
    own = {key: value for key, value in table.items() if key not in engine}
    known = {field.alias or name for name, field in model.model_fields.items()}
    if model.model_config.get("extra") != "allow" and (unknown := sorted(set(own) - known)):
        raise ConfigError(f"{where}.{unknown[0]}: no such key{nearest(unknown[0], known | engine)}")
    return own


def _as_config_error(check: Callable[[], object], where: str) -> None:
    try:
        check()
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"not a .npy file of numbers ({error})"


# -- who waits for whom -------------------------------------------------------------------------


def _check_inputs(
    sources: Mapping[str, SourceSettings], analyses: Mapping[str, AnalysisSettings]
) -> None:
    known = {*sources, *analyses}
    for name, analysis in analyses.items():
        for stream in analysis.inputs:
            first = stream.split(".")[0]
            if first not in known:
                raise ConfigError(
                    f"analyses.{name}: input {stream!r}: no source or analysis {first!r}"
                    f"{nearest(first, known - {name})}"
                )
            if stream in analyses:
                raise ConfigError(
                    f"analyses.{name}: input {stream!r} is an analysis; name one of its streams, "
                    f"{stream}.STREAM"
                )
    _in_order(analyses)


def _in_order(analyses: Mapping[str, AnalysisSettings]) -> list[str]:
    """Return the names, each after those that it takes from; raise `ConfigError` for a circle."""
    order: list[str] = []
    path: list[str] = []

    def visit(name: str) -> None:
        if name in order or name not in analyses:
            return
        if name in path:
            circle = path[path.index(name) :]
            if len(circle) == 1:
                raise ConfigError(f"analyses.{name}: it waits for itself; change its input")
            listed = f"{', '.join(circle[:-1])} and {circle[-1]}"
            raise ConfigError(f"analyses {listed} wait for each other; change one input")
        path.append(name)
        for stream in analyses[name].inputs:
            visit(stream.split(".")[0])
        path.pop()
        order.append(name)

    for name in analyses:
        visit(name)
    return order


# -- --set a.b.c=VALUE --------------------------------------------------------------------------


def _overridden(tables: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    changed: dict[str, Any] = _copied(tables)
    for override in overrides:
        keys, value = parse_assignment(override)
        named = len(keys) > 2 and keys[0] in ("sources", "analyses") and keys[2] != "type"
        there = changed.get(keys[0], {})
        if named and isinstance(there, dict) and keys[1] not in there:
            raise ConfigError(
                f"--set {override}: {keys[0]} has no {keys[1]!r}{nearest(keys[1], there)}"
            )
        table = changed
        for depth, key in enumerate(keys[:-1], 1):
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {override}: {'.'.join(keys[:depth])} is not a table")
            table = inner
        table[keys[-1]] = value
    return changed


def parse_assignment(text: str) -> tuple[list[str], Any]:
    """Return the keys and the value of ``a.b.c=VALUE``; raise `ConfigError`.

    The value is TOML (``3``, ``[1, 2]``, ``{a = 1}``, ``true``, ``"text"``); what is not, and does
    not look like a list, table or quoted text, is a text: ``--set recorder.record=never``.
    """
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"{text!r}: KEY=VALUE is needed, recorder.record=never for instance")
    try:
        nested: Any = tomllib.loads(f"{key.strip()} = 0") if "\n" not in key else None
    except tomllib.TOMLDecodeError:
        nested = None
    keys = []
    while isinstance(nested, dict):
        name, nested = next(iter(nested.items()))
        keys.append(name)
    if nested is None:
        raise ConfigError(f"{text!r}: {key.strip()!r} is not a key such as sources.camera.rate")
    value = value.strip()
    try:
        parsed = tomllib.loads(f"value = {value}")
        if set(parsed) == {"value"}:
            return keys, parsed["value"]
    except tomllib.TOMLDecodeError as error:
        if value.startswith(("[", "{", '"', "'")):
            raise ConfigError(f"{text!r}: the value is not valid TOML: {error}") from None
    return keys, value


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value
