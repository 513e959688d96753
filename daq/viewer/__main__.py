"""``python -m daq.viewer``: the viewer in a process of its own."""

from __future__ import annotations

import sys

from daq.viewer.start import main

if __name__ == "__main__":
    sys.exit(main())
