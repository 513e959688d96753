"""Which panels a stream gets, by its shape, and which of them are shown where not all fit.

| a record holds | panel |
|---|---|
| numbers, and the stream has a two-dimensional scan | ``map``, one per field |
| 1-D field, and each record is a row of a scan (`records_are_rows`) | ``map``, one row per record |
| numbers otherwise | ``trace`` against time, fields of the same units together |
| 1-D field | ``profile``: the newest record, fields of like units and length together |
| 2-D field | ``image``: the newest record (``map`` where its axes are those of a scan) |
| 3-D field and more | ``stack``: one plane of the newest record, with a selector |
| text | ``text``: the last lines |

Integers without units beside an image or a profile only count, and ``y`` beside rows is where they lie;
these are shown when asked for.

A plugin's view goes before all these, and says where it stands among the others (`daq.View.rank`).
Where several can draw a stream, one of the plugin whose analysis made it is taken, else the first.
``<field>_errors`` is drawn with ``<field>``, never alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence

from daq.streams import Field, Stream, matches
from daq.view import View
from daq.viewer import labels

log = logging.getLogger(__name__)

MAX_CURVES = 8
"""Curves in one trace or profile; more fields of the same units go to a further panel."""

MAX_SHOWN = 12
"""Panels that are shown at once by default."""

ASKED_FOR = ("*.files",)
"""Streams that are shown when asked for: which files a source has read."""

NOT_DRAWN = ("run.status", "truth.*")
"""Streams that are not drawn unless somebody asks for them."""

LENGTHS = frozenset(
    {"m", "mm", "um", "µm", "\u03bcm", "nm", "pm", "angstrom", "Angstrom", "positions"}
)
"""Units of axes that make a two-dimensional field a map of the specimen."""


@dataclasses.dataclass(frozen=True)
class PanelSpec:
    """One panel: what it draws and how.

    ``kind`` is ``trace``, ``map``, ``profile``, ``image``, ``stack``, ``text`` or ``view``.
    """

    kind: str
    stream: str
    fields: tuple[str, ...]
    title: str
    view: type[View] | None = None
    aside: bool = False
    """True for book-keeping beside an image or profile: not shown unless asked for."""
    beside: tuple[str, ...] = ()
    """Further streams that the view draws."""
    wide: int = 1
    """How many times as wide as others."""

    @property
    def key(self) -> str:
        """What identifies the panel among all others."""
        return f"{self.stream}/{self.kind}/{','.join(self.fields)}"


def panels_for(stream: Stream, views: Iterable[type[View]] = ()) -> list[PanelSpec]:
    """Return the panels of a stream, the most telling first (empty where it has nothing to draw).

    Of the views, those of the plugin that made the stream are asked first: it knows what it made,
    while another one may take its fields for something else.
    """
    made_by = maker(stream)
    for view in sorted(views, key=lambda view: view.__module__.split(".")[0] != made_by):
        try:
            draws = view.can_draw(stream)
            beside = tuple(view.beside(stream)) if draws else ()
        except Exception as error:  # a plugin may raise anything; the default stands
            log.warning("view %s.can_draw failed on %s: %s", view.__name__, stream.name, error)
            continue
        if draws:
            name = f"{stream.name}: {view.name or view.__name__}"
            return [PanelSpec("view", stream.name, (), name, view, view.aside, beside, view.wide)]
    return default_panels(stream)


def maker(stream: Stream) -> str:
    """Return the plugin (its outermost module) whose analysis made a stream; none of raw data: ``""``."""
    process = stream.attributes.get("process")
    return str(process.get("program", "")) if isinstance(process, Mapping) else ""


def default_panels(stream: Stream) -> list[PanelSpec]:
    """Return the panels that a stream gets by its shape alone."""
    specs: list[PanelSpec] = []
    rows = records_are_rows(stream)
    text = tuple(name for name, field in stream.fields.items() if is_text(field))
    traces: dict[tuple[str, bool], list[str]] = {}
    profiles: dict[tuple[str, tuple[int, ...], str], list[str]] = {}
    for name, field in stream.fields.items():
        if not drawn(stream, name):
            continue
        kind = kind_of(stream, name)
        if kind == "trace":
            traces.setdefault((field.units, field.dtype == "|b1"), []).append(name)
        elif kind == "profile":
            axis = str(list(stream.axes.get(name, [])))
            profiles.setdefault((field.units, field.shape, axis), []).append(name)
        else:
            specs.append(PanelSpec(kind, stream.name, (name,), labels.title(stream, (name,))))
    arrays = [spec for spec in specs if stream.fields[spec.fields[0]].shape] or profiles
    for kind, groups in (("profile", profiles.values()), ("trace", traces.values())):
        for names in groups:
            for start in range(0, len(names), MAX_CURVES):
                part = tuple(names[start : start + MAX_CURVES])
                aside = kind == "trace" and bool(arrays) and all(counts(stream, n) for n in part)
                aside = aside or (rows and part == ("y",))
                specs.append(
                    PanelSpec(kind, stream.name, part, labels.title(stream, part), aside=aside)
                )
    if text and (not specs or stream.name == "run.log"):
        specs = [PanelSpec("text", stream.name, text, stream.name)]
    if any(matches(pattern, stream.name) for pattern in ASKED_FOR):
        return [dataclasses.replace(spec, aside=True) for spec in specs]
    return specs


def kind_of(stream: Stream, name: str) -> str:
    """Return the kind of panel that draws one numeric field (see the module)."""
    shape, scan = stream.fields[name].shape, stream.scan_shape or ()
    dimensions, rows = len(shape), records_are_rows(stream)
    if dimensions == 0:
        return "map" if len(scan) >= 2 and not rows else "trace"
    if dimensions == 1:
        if rows:
            return "map" if shape == scan[-1:] else "profile"
        return "map" if len(scan) == 1 and scan[0] > 1 and shape[0] > 1 else "profile"
    if dimensions > 2:
        return "stack"
    return "map" if (shape == scan and not rows) or along_lengths(stream, name) else "image"


def records_are_rows(stream: Stream) -> bool:
    """Tell whether a record is a whole row of a two-dimensional scan, as an AFM gives it.

    Then some field has one value (or one array) for each column of the scan. So that no profile over
    something else is taken for a row, the stream must number its rows in a field ``line``, or the
    field must run along a length.
    """
    scan = stream.scan_shape or ()
    if len(scan) != 2 or scan[1] < 2:
        return False
    numbered = numbers_rows(stream)
    return any(
        field.shape[:1] == scan[1:]
        and (numbered or (len(field.shape) == 1 and along_lengths(stream, name)))
        for name, field in stream.fields.items()
    )


def numbers_rows(stream: Stream) -> bool:
    """Tell whether each record says in a field ``line`` which row of the scan it is."""
    line = stream.fields.get("line")
    return line is not None and line.shape == () and line.numpy_dtype.kind in "iu"


def along_lengths(stream: Stream, name: str) -> bool:
    """Tell whether all axes of a field are lengths."""
    units = {str(axis.get("units")) for axis in stream.axes.get(name, [])}
    return bool(units) and units <= LENGTHS


def drawn(stream: Stream, name: str) -> bool:
    """Tell whether a field is drawn for itself: not the time, not the errors of another, no text."""
    errors_of_another = name.endswith("_errors") and name.removesuffix("_errors") in stream.fields
    return name != "time" and not errors_of_another and not is_text(stream.fields[name])


def counts(stream: Stream, name: str) -> bool:
    """Tell whether a field merely counts: an integer without units."""
    field = stream.fields[name]
    return field.numpy_dtype.kind in "iu" and field.units in ("", "1")


def is_text(field: Field) -> bool:
    """Tell whether a field holds text."""
    return field.dtype.startswith("|S") and field.shape == ()


def is_drawn_by_default(stream: str) -> bool:
    """Tell whether a stream is drawn without being asked for."""
    return not any(matches(pattern, stream) for pattern in NOT_DRAWN)


def rank(stream: Stream, spec: PanelSpec) -> int:
    """Return where a panel stands: what a view says, else results, then instruments, then the log."""
    if spec.view is not None:
        return spec.view.rank
    if stream.name.startswith("run."):
        return 300
    return 100 if "process" in stream.attributes else 200


def arrange(
    panels: Sequence[tuple[Stream, Sequence[PanelSpec]]], limit: int = MAX_SHOWN
) -> tuple[list[PanelSpec], list[PanelSpec]]:
    """Return what is shown and what is not, of streams in the order in which they opened.

    Each stream gets one panel before any gets a second, by `rank`; what is shown stands in that
    order too, the panels of one stream together. A wide panel counts as often as it is wide.
    """
    turns = [
        (turn, rank(stream, spec), order, spec)
        for order, (stream, specs) in enumerate(panels)
        for turn, spec in enumerate(specs)
    ]
    turns.sort(key=lambda entry: entry[:3])
    fit = [entry for entry in turns if not entry[3].aside]
    room = itertools.accumulate(entry[3].wide for entry in fit)
    shown = max(1, sum(used <= limit for used in room))
    chosen, rest = fit[:shown], fit[shown:] + [entry for entry in turns if entry[3].aside]
    chosen.sort(key=lambda entry: (entry[1], entry[2], entry[0]))
    return [entry[3] for entry in chosen], [entry[3] for entry in rest]
