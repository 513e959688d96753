"""The viewer: a consumer of the bus like any other, and the only part of `daq` that knows Qt.

It knows streams, not instruments: what a record holds decides how it is drawn. `choice`,
`history`, `canvas`, `levels`, `progress`, `content` and `scene` hold what is drawn and know no
Qt; `feed` fills a scene from a bus or a file; `panels` and `window` draw it.
"""

from __future__ import annotations

from daq.viewer.requirements import availability, has_screen
from daq.viewer.start import run_viewer

__all__ = ["availability", "has_screen", "run_viewer"]
