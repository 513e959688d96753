"""A text file that may be appended to: whole lines as they come, in whatever encoding."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

CHECKED: Final = 256
"""Bytes before the place of reading that are compared: a file that was written anew differs."""


class AppendedText:
    """Gives the lines of a file, and later those that were added.

    A byte-order mark tells UTF-8 and UTF-16; without one, zeros in every other byte tell UTF-16,
    else it is UTF-8 as long as that can be, and cp1252 from the first line where it cannot. The
    file is opened anew at each reading, so it may be replaced by a longer one.

    Parameters
    ----------
    path
        Of the file.
    encoding
        Where it is known.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self._path = path
        self._encoding = encoding
        self._read = 0
        self._before = b""
        self._tail = b""

    def lines(self) -> list[str]:
        """Return the whole lines that are new, without their ends.

        Raises ValueError where what was read before has changed.
        """
        with self._path.open("rb") as file:
            file.seek(self._read - len(self._before))
            if file.read(len(self._before)) != self._before:
                raise ValueError(
                    f"{self._path.name}: what was read has changed: the file was written anew"
                )
            new = file.read()
        if not new:
            return []
        self._before = (self._before + new)[-CHECKED:]
        first = self._read == 0
        self._read += len(new)
        if first:
            new = self._begin(new)
        new = self._tail + new
        wide = self._wide()
        end = _last_line_end(new, self._encoding or "", wide=wide)
        self._tail = new[end:]
        if not end:
            return []
        return [line.rstrip("\r") for line in self._decoded(new[:end]).split("\n")[:-1]]

    def rest(self) -> str:
        """Return what stands after the last line end, and take it."""
        rest, self._tail = self._tail, b""
        return self._decoded(rest).strip("\r\n\0")

    def _begin(self, data: bytes) -> bytes:
        for mark, encoding in (
            (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
            (codecs.BOM_UTF16_BE, "utf-16-be"),
        ):  # fmt: skip
            if data.startswith(mark):
                if self._encoding is None or encoding.startswith(self._encoding.lower()):
                    self._encoding = encoding
                return data[len(mark) :]
        if self._encoding is None and len(data) > 3:
            if data[1:40:2].strip(b"\0") == b"":
                self._encoding = "utf-16-le"
            elif data[0:40:2].strip(b"\0") == b"":
                self._encoding = "utf-16-be"
        return data

    def _wide(self) -> bool:
        return (self._encoding or "").lower().startswith(("utf-16", "utf_16"))

    def _decoded(self, data: bytes) -> str:
        if self._encoding is not None and self._encoding != "utf-8":
            return data.decode(self._encoding, "replace")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            if self._encoding is None:
                self._encoding = "cp1252"
            return data.decode("cp1252", "replace")


def _last_line_end(data: bytes, encoding: str, *, wide: bool) -> int:
    """Return where the last whole line ends."""
    if not wide:
        return data.rfind(b"\n") + 1
    mark = b"\0\n" if encoding.endswith("be") else b"\n\0"
    at = len(data)
    while (at := data.rfind(mark, 0, at)) >= 0:
        if at % 2 == 0:
            return at + 2
        at += 1
    return 0


def beginning(path: Path, most: int = 1 << 16) -> str:
    """Return the beginning of a text file, to recognise its format by."""
    with path.open("rb") as file:
        data = file.read(most)
    text = AppendedText(path)
    data = text._begin(data)
    if text._wide():
        data = data[: len(data) // 2 * 2]
    return text._decoded(data)
