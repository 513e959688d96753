"""Which class draws which kind of panel."""

from __future__ import annotations

from typing import Final

from daq.viewer.choice import PanelSpec
from daq.viewer.panels.panel import Panel
from daq.viewer.panels.picture import PicturePanel
from daq.viewer.panels.plugin import ViewPanel
from daq.viewer.panels.profile import ProfilePanel
from daq.viewer.panels.text import TextPanel
from daq.viewer.panels.trace import TracePanel
from daq.viewer.scene import Scene
from daq.viewer.theme import Theme

KINDS: Final[dict[str, type[Panel]]] = {
    "trace": TracePanel,
    "profile": ProfilePanel,
    "image": PicturePanel,
    "map": PicturePanel,
    "stack": PicturePanel,
    "text": TextPanel,
    "view": ViewPanel,
}


def make_panel(spec: PanelSpec, scene: Scene, colours: Theme) -> Panel:
    """Return the panel that draws ``spec``."""
    return KINDS[spec.kind](spec, scene, colours)
