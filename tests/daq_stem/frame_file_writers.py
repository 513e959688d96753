"""Files of patterns as public descriptions have them, written by hand."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

Frames = np.ndarray[Any, Any]


def write_blo(path: Path, frames: Frames) -> None:
    """Write [row, column, y, x], uint8, as NanoMegas does: each pattern after six bytes."""
    rows, columns, size, _ = frames.shape
    images = 0x1000
    patterns = images + rows * columns
    head = struct.pack(
        "<6sHIIIHHHHHddIHId", b"IMGBLO", 258, images, patterns, 0, size, 0, columns, rows, 0,
        2.0, 2.0, 200_000, 100, 200, 43_000.0,
    )  # fmt: skip
    with path.open("wb") as file:
        file.write(head.ljust(images, b"\0") + bytes(rows * columns))
        for number, frame in enumerate(frames.reshape(-1, size, size)):
            file.write(b"\xaa\x55" + struct.pack("<I", number) + frame.astype("u1").tobytes())


def write_empad(path: Path, frames: Frames) -> None:
    """Write [row, column, 128, 128], float32: an .xml, and beside it the .raw, two rows more."""
    rows, columns = frames.shape[:2]
    raw = path.with_suffix(".raw")
    stored = np.full((rows * columns, 130, 128), -1, "<f4")
    stored[:, :128] = frames.reshape(-1, 128, 128)
    stored.tofile(raw)
    path.write_text(
        f'<?xml version="1.0"?><root><raw_file filename="{raw.name}"/><type>scan</type>'
        + "".join(
            f'<scan_parameters mode="{mode}"><scan_resolution_x>{x}</scan_resolution_x>'
            f"<scan_resolution_y>{y}</scan_resolution_y></scan_parameters>"
            for mode, x, y in (("search", 7, 7), ("acquire", columns, rows))
        )
        + "</root>"
    )


def write_mrc(path: Path, frames: Frames) -> None:
    """Write a series [record, y, x], int16, float32 or uint16."""
    count, height, width = frames.shape
    mode = {"int16": 1, "float32": 2, "uint16": 6}[frames.dtype.name]
    head = struct.pack(
        "<10i6f3i", width, height, count, mode, 0, 0, 0, width, height, 1,
        float(width), float(height), 1.0, 90.0, 90.0, 90.0, 1, 2, 3,
    ).ljust(208, b"\0") + b"MAP DD\0\0"  # fmt: skip
    path.write_bytes(head.ljust(1024, b"\0") + frames.tobytes())


def write_tvips(path: Path, frames: Frames, before: Frames) -> None:
    """Write [row, column, y, x], uint16, after frames [record, y, x] that came before the scan."""
    rows, columns, height, width = frames.shape
    positions = [(0, 0)] * len(before) + [(y, x) for y in range(rows) for x in range(columns)]
    series = np.concatenate([before, frames.reshape(-1, height, width)]).astype("<u2")
    with path.open("wb") as file:
        head = struct.pack(
            "<13i", 256, 2, width, height, 16, 0, 0, 1, 1, 15_000, 200, 1000, 128
        )  # fmt: skip
        file.write(head.ljust(256, b"\0"))
        for number, (frame, (y, x)) in enumerate(zip(series, positions, strict=True)):
            one = struct.pack("<4I", number, 1_700_000_000, 0, 0).ljust(68, b"\0")
            file.write((one + struct.pack("<2f", x, y)).ljust(128, b"\0") + frame.tobytes())


def write_ser(path: Path, frames: Frames, taken: int) -> None:
    """Write a scan [row, column, y, x], uint16, of which ``taken`` patterns were taken, as TIA does.

    The bottom row of a pattern comes first.
    """
    rows, columns, height, width = frames.shape
    dimensions = b"".join(
        struct.pack("<i2d2i", size, 0.0, 1.0, 0, 1) + b"m" + struct.pack("<i", 1) + b"m"
        for size in (columns, rows)
    )
    begin = 34 + len(dimensions)  # after the header
    axis = struct.pack("<2di", 0.0, 1.0, 0)
    elements = [
        axis + axis + struct.pack("<h2i", 2, width, height) + frame[::-1].astype("<u2").tobytes()
        for frame in frames.reshape(-1, height, width)[:taken]
    ]
    data = [begin + number * len(elements[0]) for number in range(taken)]
    end = begin + taken * len(elements[0])
    head = struct.pack(
        "<3h4iqi", 0x4949, 0x0197, 0x0220, 0x4122, 0x4152, rows * columns, taken, end, 2
    )
    offsets = struct.pack(f"<{2 * taken}q", *data, *data)
    path.write_bytes(head + dimensions + b"".join(elements) + offsets)


def write_dm(path: Path, frames: Frames, version: int, swapped: bool = True) -> None:
    """Write [..., y, x], uint16, as Gatan's .dm3 or .dm4, after a thumbnail."""
    thumbnail = np.zeros((4, 4), "<u4")
    swap = {"Meta Data": {"Format": "Diffraction image", "Data Order Swapped": int(swapped)}}
    tree = {
        "ImageList": [
            {"ImageData": _image(thumbnail, 5, 23), "ImageTags": {}},
            {"ImageData": _image(frames.astype("<u2"), 4, 10), "ImageTags": swap},
        ]
    }
    number = struct.Struct(">I" if version == 3 else ">Q")
    body = _group(tree, number)
    head = struct.pack(">I", version) + number.pack(len(body)) + struct.pack(">I", 1)
    path.write_bytes(head + body + bytes(8))


def _image(array: Frames, element: int, kind: int) -> dict[str, Any]:
    sizes = array.shape[::-1]
    return {
        "Calibrations": {"Dimension": [{"Origin": 0.0, "Scale": 1.0} for _ in sizes]},
        "Data": (element, array),
        "DataType": kind,
        "Dimensions": list(sizes),
    }


def _group(tree: dict[str, Any] | list[Any], number: struct.Struct) -> bytes:
    entries = tree.items() if isinstance(tree, dict) else (("", entry) for entry in tree)
    body = b"".join(_entry(name, value, number) for name, value in entries)
    return b"\1\0" + number.pack(len(tree)) + body


def _entry(name: str, value: Any, number: struct.Struct) -> bytes:
    group = isinstance(value, dict | list)
    if group:
        body = _group(value, number)
    elif isinstance(value, tuple):
        element, array = value
        body = _data((20, element, array.size), array.tobytes(), number)
    elif isinstance(value, str):
        text = value.encode("utf-16-le")
        body = _data((20, 4, len(value)), text, number)
    elif isinstance(value, float):
        body = _data((6,), struct.pack("<f", value), number)
    else:
        body = _data((5,), struct.pack("<I", value), number)
    label = name.encode()
    lead = struct.pack(">BH", 20 if group else 21, len(label)) + label
    return lead + (number.pack(len(body)) if number.size == 8 else b"") + body


def _data(told: tuple[int, ...], content: bytes, number: struct.Struct) -> bytes:
    return b"%%%%" + b"".join(number.pack(n) for n in (len(told), *told)) + content
