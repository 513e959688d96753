"""The view interface: how a plugin draws a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from daq.streams import Batch, Stream

if TYPE_CHECKING:
    from daq.viewer.figure import Figure


class View:
    """Draws streams that the default panels draw badly. No Qt is imported before `widget`.

    A plugin returns the class from the hook ``daq_views``.
    """

    name: ClassVar[str] = ""
    """Short name, shown in the title of the panel."""

    rank: ClassVar[int] = 50
    """Panels stand in the order of their ranks, the lowest first, and the last give way where not all
    fit. Results that are drawn by their shape have 100, instruments 200, the log 300."""

    aside: ClassVar[bool] = False
    """True: the panel is not shown unless asked for."""

    wide: ClassVar[int] = 1
    """How many times as wide as others the panel is, where there is room: for pictures side by side."""

    records: ClassVar[int | None] = None
    """How many records, up to the newest valid one, `update` is given at most (64 MiB), whether they
    came at once or one by one. Those among them that were lost, or did not come yet, read as fill
    values and are not ``valid``. None: the newest batch as it came."""

    figure: Callable[[], Figure]
    """Makes an empty figure in the colours of the viewer (see `daq.viewer.figure`), which a view may
    draw on and return from `widget`. The viewer sets it before it calls `widget`."""

    @classmethod
    def can_draw(cls, stream: Stream) -> bool:
        """Tell whether this view draws the stream."""
        raise NotImplementedError

    @classmethod
    def beside(cls, stream: Stream) -> Sequence[str]:
        """Return the names of further streams whose records this view of ``stream`` wants (none)."""
        return ()

    def widget(self, stream: Stream) -> Any:
        """Return a figure, or any Qt widget; called once, in the viewer's process."""
        raise NotImplementedError

    def update(self, batch: Batch) -> None:
        """Draw the newest records of ``batch.stream``; called at most 30 times a second."""
        raise NotImplementedError
