"""``python -m daq`` is ``daq``."""

from __future__ import annotations

import sys

from daq.cli import main

if __name__ == "__main__":
    sys.exit(main())
