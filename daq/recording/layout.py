"""Where things stand in the HDF5 files of a run, and the NeXus attributes that say what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from daq.streams import NO_TIME, Array, Field, Stream

LARGE: Final = 4096
"""Fields of at least so many bytes per record (and not text) have one chunk per record."""

SMALL_CHUNK_BYTES: Final = 65536
SMALL_CHUNK_RECORDS: Final = 4096
HEADER: Final = "glasswatch_stream"
"""Attribute of a stream's group: the header of its ``open`` message, JSON."""

RUN: Final = "glasswatch_run"
"""Attribute of ``/entry`` in the master: everything of `daq.Run`, JSON."""


def group_path(stream: str) -> str:
    """Return the path of a stream's group: ``truth.<source>`` apart, all others by their name."""
    first, _, rest = stream.partition(".")
    return f"/entry/truth/{rest}" if first == "truth" and rest else f"/entry/{stream}"


def constants_path(stream: str) -> str:
    """Return the path of the group that holds a stream's constants, in its file and the master."""
    return f"/entry/instrument/{stream}"


def is_large(field: Field) -> bool:
    """Tell whether a field gets one chunk per record."""
    return bool(field.shape) and field.record_bytes >= LARGE


def is_raw(stream: Stream) -> bool:
    """Tell whether a stream comes from an instrument (not from an analysis, the run, a truth)."""
    return "process" not in stream.attributes and stream.name.split(".")[0] not in ("run", "truth")


def signal(stream: Stream) -> str | None:
    """Return the field to plot: as the attribute ``signal`` says, else the largest of numbers."""
    if (named := stream.attributes.get("signal")) in stream.fields:
        return str(named)
    plain = [
        name
        for name, field in stream.fields.items()
        if name != "time" and field.numpy_dtype.kind != "S" and not name.endswith("_errors")
    ]
    return max(plain, key=lambda name: stream.fields[name].record_bytes) if plain else None


def dataset_options(field: Field, name: str, expect: int | None) -> dict[str, Any]:
    """Return the arguments for `h5py.Group.create_dataset` of an empty field, filters apart."""
    rows = 1
    if not is_large(field):
        rows = max(1, min(SMALL_CHUNK_BYTES // field.record_bytes, SMALL_CHUNK_RECORDS))
        rows = max(1, min(rows, expect or rows))
    return {
        "shape": (0, *field.shape),
        "maxshape": (None, *field.shape),
        "chunks": (rows, *field.shape),
        "dtype": field.numpy_dtype,
        "fillvalue": fill_value(field, name),
    }


def fill_value(field: Field, name: str) -> Any:
    """Return what stands in the file where a record is missing."""
    return np.int64(NO_TIME) if name == "time" else field.fill


def describe_group(group: Any, stream: Stream, count: int, status: str, *, complete: bool) -> None:
    """Write attributes and coordinates of a stream's group; its fields need not be there."""
    group.attrs["NX_class"] = "NXcollection" if stream.name.startswith("truth.") else "NXdata"
    group.attrs[HEADER] = json.dumps(stream.header())
    group.attrs["complete"] = complete
    group.attrs["count"] = count
    group.attrs["status"] = status
    if stream.scan is not None:
        group.attrs["scan_shape"] = np.asarray(stream.scan["shape"], np.int64)
        step = stream.scan.get("step")
        steps = list(step) if isinstance(step, list | tuple) else [step]
        if steps and all(isinstance(s, int | float) for s in steps):
            group.attrs["scan_step"] = np.asarray(step, np.float64)
    plotted = signal(stream)
    for name in stream.fields:
        dims = _coordinates(group, stream, name)
        if name == plotted:
            group.attrs["signal"] = name
            group.attrs["axes"] = ["time", *dims]
            for number, dim in enumerate(["time", *dims]):
                if dim != ".":
                    group.attrs[f"{dim}_indices"] = number
            group.attrs["interpretation"] = interpretation(stream.fields[name])


def describe_field(dataset: Any, stream: Stream, name: str) -> None:
    """Write the attributes of one field's dataset."""
    if name == "valid":
        dataset.attrs["long_name"] = "false where the record was lost"
        return
    field = stream.fields[name]
    if field.units:
        dataset.attrs["units"] = field.units
    dataset.attrs["long_name"] = field.long_name or name
    if name == signal(stream):
        dataset.attrs["interpretation"] = interpretation(field)


def interpretation(field: Field) -> str:
    """Return what NeXus calls a record of this shape."""
    return "image" if len(field.shape) >= 2 else "spectrum"


def put(group: Any, key: str, value: Any) -> None:
    """Write a plain JSON value as a dataset, a mapping as a group of them; others as JSON text."""
    key = re.sub(r"[^A-Za-z0-9_.-]+", "_", str(key)).strip(".") or "_"
    if key in group:
        return
    if isinstance(value, Mapping):
        child = group.create_group(key)
        child.attrs["NX_class"] = "NXcollection"
        for name, inner in value.items():
            put(child, name, inner)
    elif value is None:
        return
    elif isinstance(value, bool | int | float | str):
        group[key] = (
            value if not isinstance(value, int) or -(1 << 63) <= value < 1 << 63 else str(value)
        )
    elif isinstance(value, Sequence) and _uniform(value):
        group[key] = list(value)
    else:
        group[key] = json.dumps(value, default=str)


def put_constants(group: Any, constants: Mapping[str, Array]) -> None:
    """Write the constants of a stream as datasets."""
    for name, array in constants.items():
        if name in group:
            del group[name]
        group[name] = array


def free_file_name(folder: Path, stream: str) -> str:
    """Return a name for the next file of a stream that no file has yet."""
    name, number = f"{stream}.h5", 0
    while (folder / name).exists():
        number += 1
        name = f"{stream}.part{number}.h5"
    return name


def _uniform(value: Sequence[Any]) -> bool:
    if not value or isinstance(value, bytes):
        return False
    kinds = {type(item) for item in value}
    return kinds in ({int}, {float}, {str}, {bool}, {int, float}) and all(
        not isinstance(item, int) or -(1 << 63) <= item < 1 << 63 for item in value
    )


def _coordinates(group: Any, stream: Stream, field_name: str) -> list[str]:
    """Write the coordinates of a field's axes; return their names, ``.`` where there is none."""
    field, names = stream.fields[field_name], []
    axes = list(stream.axes.get(field_name, ()))[: len(field.shape)]
    for number, length in enumerate(field.shape):
        axis = axes[number] if number < len(axes) else {}
        values = _values(stream, axis, length)
        label = re.sub(r"[^A-Za-z0-9_]+", "_", str(axis.get("name", ""))).strip("_")
        if values is None or not label:
            names.append(".")
            continue
        if label in stream.fields or label == "valid" or not _same(group, label, values):
            label = f"{field_name}_{label}_axis"
        if label not in group:
            group[label] = values
            if axis.get("units"):
                group[label].attrs["units"] = str(axis["units"])
            group[label].attrs["long_name"] = str(axis.get("long_name") or axis["name"])
        names.append(label)
    return names


def _values(stream: Stream, axis: Mapping[str, Any], length: int) -> Array | None:
    if "values" in axis:
        values = stream.constants.get(str(axis["values"]))
        return values if values is not None and values.shape == (length,) else None
    offset, step = axis.get("offset", 0.0), axis.get("step")
    if not isinstance(step, int | float) or not isinstance(offset, int | float):
        return None
    return offset + step * np.arange(length, dtype=np.float64)


def _same(group: Any, label: str, values: Array) -> bool:
    if label not in group:
        return True
    there = group[label]
    return there.shape == values.shape and bool(np.array_equal(there[()], values))
