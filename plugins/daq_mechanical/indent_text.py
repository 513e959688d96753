"""Indents from text: exports of Hysitron's kind, one indent a file, and tables of many indents."""

from __future__ import annotations

import csv
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydantic

import daq

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

NAMES: Final[dict[str, tuple[str, ...]]] = {
    "depth": ("depth", "displacement", "disp", "disp.", "indentation depth", "h"),
    "load": ("load", "force", "p"),
    "elapsed": ("time", "test time", "elapsed", "t"),
    "x": ("x", "x position", "position x"),
    "y": ("y", "y position", "position y"),
    "indent": ("indent", "test", "point", "indent number"),
}
"""Names of columns, lower case, of each field."""
UNITS: Final[dict[str, dict[str, float]]] = {
    "depth": {"nm": 1.0, "um": 1e3, "mm": 1e6, "m": 1e9},
    "load": {"uN": 1.0, "mN": 1e3, "nN": 1e-3, "N": 1e6},
    "elapsed": {"s": 1.0, "sec": 1.0, "ms": 1e-3},
    "x": {"um": 1.0, "mm": 1e3, "nm": 1e-3},
    "y": {"um": 1.0, "mm": 1e3, "nm": 1e-3},
}
"""By field: how many nm, uN, s and um a unit is."""
HEAD_LINES: Final = 200
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*|\s*nan\s*", re.I)


class IndentText(daq.Reader):
    """Load, depth and time of indents, as text.

    A line of names is needed, ``Depth (nm)``, ``Load (µN)``, ``Time (s)``, in any order, among other
    columns (the first of each name and known unit counts, so ``Load (V)`` does not), separated by
    tabs, semicolons or commas; decimals may have a comma where that does not separate. Lines before it
    may be ``key = value`` or ``key: value``: ``Number of Points``, ``X`` and ``Y`` (with their units) are
    taken. With a column ``Indent`` (or Test, Point) rows of one number are one indent; else the whole
    file is one. Names and units can be told by ``columns`` and ``units``.

    Stream ``""``, one record an indent: ``load`` uN, ``depth`` nm, ``elapsed`` s, each [sample], NaN
    after the last; ``x``, ``y`` um, NaN where not known; ``indent`` (int32, counted on from file to file
    in a folder). Its time is that of the file's last change, and a nanosecond for each indent.

    Tried on files made after the description of the format, on none of an instrument.
    """

    name = "indent_text"
    suffixes = (".txt", ".csv", ".tsv", ".dat")
    counters = ("indent",)

    class Config(daq.Config):
        """What ``[sources.NAME]`` may say about a file of indents."""

        columns: dict[str, str] = daq.setting({}, "", "column of a field: { depth = 'h' }")
        units: dict[str, str] = daq.setting({}, "", "of a field, where the file does not say")
        tip_radius: float | None = daq.setting(None, "m", "of the tip, kept as attribute", gt=0)
        poisson_ratio: float | None = daq.setting(None, "", "of the sample", ge=0, lt=0.5)
        shape: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "indents of the scan: rows, columns"
        )
        step: float | None = daq.setting(None, "nm", "from indent to indent of the scan", gt=0)
        samples: int | None = daq.setting(
            None, "", "room for so many in each record; by default those of the first indent", ge=2
        )
        encoding: str | None = daq.setting(None, "", "of text; by default UTF-8, else cp1252")

        @pydantic.field_validator("columns", "units")
        @classmethod
        def _fields(cls, given: dict[str, str]) -> dict[str, str]:
            for field in given:
                if field not in NAMES:
                    raise ValueError(f"{field!r} is no field; there are {', '.join(NAMES)}")
            return given

    @classmethod
    def knows(cls, path: Path) -> bool:
        """Tell whether there is a line of names with a depth and a load."""
        with path.open("rb") as file:
            text = _decoded(file.read(1 << 16), None)
        for line in text.splitlines()[:HEAD_LINES]:
            names = [_split_label(label)[0] for label in _fields_of(line)]
            if all(any(n in NAMES[f] for n in names) for f in ("depth", "load")):
                return True
        return False

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether as many rows are there as the head announces, where it does."""
        lines = _decoded(path.read_bytes(), None).splitlines()
        announced = None
        for line in lines[:HEAD_LINES]:
            match = re.match(r"\s*number of points\s*[=:]\s*(\d+)", line, re.I)
            announced = int(match[1]) if match else announced
        rows = sum(1 for line in lines if _NUMBER.fullmatch(_fields_of(line)[0]))
        return rows > 0 and (announced is None or rows >= announced)

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read the file; ValueError says what is missing or not known."""
        self._path = path
        head, columns, table = self._read(_decoded(path.read_bytes(), config.encoding), config)
        self._indents = self._cut(columns, table, head)
        longest = max(len(indent["load"]) for indent in self._indents)
        samples = config.samples or len(self._indents[0]["load"])
        if longest > samples:
            raise ValueError(
                f"{path.name}: an indent has {longest} samples, there is room for {samples}: say "
                f"samples = {longest} or more"
            )
        self._samples = samples
        self._time = path.stat().st_mtime_ns
        attributes: dict[str, Any] = {"file": path.name, "format": self.name}
        for name in ("tip_radius", "poisson_ratio"):
            if getattr(config, name) is not None:
                attributes[name] = getattr(config, name)
        scan: dict[str, Any] | None = None
        if config.shape is not None:
            scan = {"shape": list(config.shape)}
            if config.step is not None:
                scan["step"] = config.step
        axis = [{"name": "sample", "units": "", "offset": 0, "step": 1}]
        position = daq.Field("<f8", (), "um", "position")
        return [
            daq.Stream(
                "",
                {
                    "load": daq.Field("<f8", (samples,), "uN", "load"),
                    "depth": daq.Field("<f8", (samples,), "nm", "depth"),
                    "elapsed": daq.Field("<f8", (samples,), "s", "time since the indent began"),
                    "x": position, "y": position,
                    "indent": daq.Field("<i4", (), "", "number of the indent"),
                },
                axes={"load": axis, "depth": axis, "elapsed": axis},
                scan=scan,
                attributes=attributes,
            )
        ]  # fmt: skip

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the indents from ``start`` on, one by one."""
        for i in range(start.get("", 0), len(self._indents)):
            indent = self._indents[i]
            arrays: dict[str, npt.NDArray[Any]] = {}
            for name in ("load", "depth", "elapsed"):
                arrays[name] = np.full((1, self._samples), np.nan)
                arrays[name][0, : len(indent[name])] = indent[name]
            arrays["x"], arrays["y"] = indent["x"], indent["y"]
            arrays["indent"] = np.array([i], np.int32)
            arrays["time"] = np.array([self._time + i], np.int64)
            yield daq.Batch("", arrays, i)

    def _read(self, text: str, config: Any) -> tuple[dict[str, float], dict[str, int], Floats]:
        """Return positions of the head, the columns of fields, and the rows."""
        lines = text.splitlines()
        head: dict[str, float] = {}
        at = -1
        for line in lines[:HEAD_LINES]:
            at += 1
            labels = _fields_of(line)
            columns, factors = self._columns(labels, config)
            if {"depth", "load", "elapsed"} <= set(columns):
                break
            self._position(line, head)
        else:
            raise ValueError(
                f"{self._path.name}: no line of names with depth, load and time and their units: say "
                'columns = { depth = "...", load = "...", elapsed = "..." } and units'
            )
        sign = _separator(lines[at])
        rows, odd = [], 0
        for line in lines[at + 1 :]:
            fields = _split(line, sign)
            if not line.strip() or not _NUMBER.fullmatch(fields[0]):
                odd += bool(line.strip())
                continue
            if len(fields) < len(labels):
                odd += 1
                continue
            rows.append([_number(fields[k]) for k in columns.values()])
        if not rows:
            raise ValueError(f"{self._path.name}: no rows of numbers below the names")
        if odd:
            log.warning("%s: %d lines left out that are no rows", self._path.name, odd)
        table = np.array(rows) * np.array([factors[name] for name in columns])
        return head, {name: k for k, name in enumerate(columns)}, table

    def _columns(
        self, labels: Sequence[str], config: Any
    ) -> tuple[dict[str, int], dict[str, float]]:
        columns: dict[str, int] = {}
        factors: dict[str, float] = {}
        for field, names in NAMES.items():
            for k, label in enumerate(labels):
                name, unit = _split_label(label)
                told = config.columns.get(field)
                if (told is None and name not in names) or (
                    told is not None and told not in (label.strip(), name)
                ):
                    continue
                if field == "indent":
                    columns[field], factors[field] = k, 1.0
                    break
                unit = config.units.get(field, unit).replace("µ", "u").replace("\u03bc", "u")
                if unit in UNITS[field]:
                    columns[field], factors[field] = k, UNITS[field][unit]
                    break
        return columns, factors

    def _position(self, line: str, head: dict[str, float]) -> None:
        match = re.match(
            r"\s*([xy])(?: position)?\s*(?:[(\[](\S+?)[)\]])?\s*[=:]\s*(\S+)\s*(\S*)", line, re.I
        )
        if match is None or not _NUMBER.fullmatch(match[3]):
            return
        unit = (match[2] or match[4] or "um").replace("µ", "u").replace("\u03bc", "u")
        if unit in UNITS["x"]:
            head[match[1].lower()] = _number(match[3]) * UNITS["x"][unit]

    def _cut(
        self, columns: dict[str, int], table: Floats, head: dict[str, float]
    ) -> list[dict[str, Floats]]:
        """Return the indents: rows of one number, or all."""
        edges = [0, len(table)]
        if "indent" in columns:
            number = table[:, columns["indent"]]
            edges = [0, *(np.flatnonzero(np.diff(number) != 0) + 1).tolist(), len(table)]
        found = []
        for first, stop in itertools.pairwise(edges):
            indent = {n: table[first:stop, columns[n]] for n in ("load", "depth", "elapsed")}
            for name in ("x", "y"):
                value = table[first, columns[name]] if name in columns else head.get(name, np.nan)
                indent[name] = np.array([value], np.float64)
            found.append(indent)
        return found


def _decoded(data: bytes, encoding: str | None) -> str:
    if encoding is not None:
        return data.decode(encoding, "replace")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _separator(line: str) -> str:
    return next((sign for sign in ("\t", ";", ",") if sign in line), " ")


def _fields_of(line: str) -> list[str]:
    return _split(line, _separator(line))


def _split(line: str, sign: str) -> list[str]:
    if sign == " ":
        return line.split() or [""]
    if '"' in line:
        return next(csv.reader([line], delimiter=sign))
    return line.split(sign)


def _split_label(label: str) -> tuple[str, str]:
    """Return name, lower case, and unit of ``Load (µN)`` or ``Load [µN]``."""
    match = re.fullmatch(r"\s*([^(\[]*?)\s*(?:[(\[]\s*(\S*?)\s*[)\]])?\s*", label.strip('"'))
    return (match[1].lower(), match[2] or "") if match else (label.strip().lower(), "")


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return float("nan")
