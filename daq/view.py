"""The view interface: how a plugin draws a stream."""

from __future__ import annotations

from typing import Any, ClassVar

from daq.streams import Batch, Stream


class View:
    """Draws streams that the default panels draw badly. No Qt is imported before `widget`.

    A plugin returns the class from the hook ``daq_views``.
    """

    name: ClassVar[str] = ""
    """Short name, shown as the title of the panel."""

    @classmethod
    def can_draw(cls, stream: Stream) -> bool:
        """Tell whether this view draws the stream."""
        raise NotImplementedError

    def widget(self, stream: Stream) -> Any:
        """Return the pyqtgraph (Qt) widget; called once, in the viewer's process."""
        raise NotImplementedError

    def update(self, batch: Batch) -> None:
        """Draw the newest records; called at most 30 times a second."""
        raise NotImplementedError
