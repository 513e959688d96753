"""Starting the viewer from the command line, as a window or for one picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daq.viewer.requirements import availability, has_screen

if TYPE_CHECKING:
    from daq.view import View
    from daq.viewer.feed import Feed


def run_viewer(
    target: str,
    snapshot: Path | None = None,
    *,
    views: Sequence[type[View]] | None = None,
    size: tuple[int, int] = (1600, 1000),
    theme: str = "auto",
    until: Callable[[], object] | None = None,
) -> int:
    """View a live bus or a recorded run, or draw it once into a PNG.

    Parameters
    ----------
    target
        An endpoint (``ipc://...``, ``tcp://...``), the folder of a run, or its ``.nxs``.
    snapshot
        The PNG to write; None opens a window.
    views
        Views that may draw a stream; by default those of the installed plugins.
    size
        Of the picture, width and height in pixels.
    theme
        ``auto``, ``dark`` or ``light``.
    until
        Returns when the picture shall be drawn: with what has come since the call, as far as panels
        keep it. Qt is not loaded before. None: at once, with what is there.

    Returns 0, or 1 after one line on stderr that says what is wrong and what to do.
    """
    if snapshot is None and not has_screen():
        return _complain("there is no screen here; use --snapshot PNG")
    try:
        feed = feed_for(target, watching=until is not None)
        views = plugin_views() if views is None else views
        if until is not None:
            from daq.viewer.scene import Scene

            feed.start(Scene(views))
            until()
    except (OSError, ValueError) as error:
        return _complain(str(error))
    if (reason := availability(screen=snapshot is None)) is not None:
        return _complain(reason)
    from daq.viewer import window

    try:
        if snapshot is None:
            return window.show(feed, views, theme)
        window.snapshot(feed, snapshot, size, views, theme)
    except (OSError, ValueError) as error:
        return _complain(str(error))
    if feed.scene is not None and not feed.scene.streams():
        said = feed.error or "nothing was there to draw"
        return _complain(f"{target}: {said}; the picture {snapshot} is empty")
    return 0


def feed_for(target: str, *, watching: bool = False) -> Feed:
    """Return the feed of an endpoint or a run; raise ValueError in one line where it is neither.

    ``watching``: nothing is drawn before the end.
    """
    from daq.viewer.feed import LARGE_RATE, WATCHED_RATE, LiveFeed, RunFeed

    if "://" in target:
        from daq.bus.endpoint import check_endpoint

        rate = WATCHED_RATE if watching else LARGE_RATE
        return LiveFeed(check_endpoint(target), large_rate=rate)
    path = Path(target)
    if not path.exists():
        raise ValueError(f"{target}: no such run; give its folder, its .nxs, or an endpoint")
    return RunFeed(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m daq.viewer TARGET [--snapshot PNG [--watch]]``."""
    parser = argparse.ArgumentParser(prog="python -m daq.viewer", description=main.__doc__)
    parser.add_argument("target", help="an endpoint, the folder of a run, or its .nxs")
    parser.add_argument("--snapshot", type=Path, metavar="PNG", help="draw once, without a screen")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="with --snapshot: draw when standard input ends, with what came until then",
    )
    parser.add_argument("--theme", choices=("auto", "dark", "light"), default="auto")
    parser.add_argument("--plugins-dir", type=Path, metavar="DIR", help="a folder of plugins")
    given = parser.parse_args(arguments)
    if given.watch and given.snapshot is None:
        parser.error("--watch needs --snapshot")
    try:
        views = plugin_views(given.plugins_dir)
    except ValueError as error:
        return _complain(str(error))
    until = sys.stdin.read if given.watch else None
    return run_viewer(given.target, given.snapshot, views=views, theme=given.theme, until=until)


def plugin_views(directory: Path | None = None) -> list[type[View]]:
    """Return the views of the plugins that are installed, and of those in a folder."""
    from daq.discovery import Plugins

    return list(Plugins(directory).views.values())


def _complain(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1
