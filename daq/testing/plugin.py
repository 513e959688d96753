"""pytest plugin: fixtures for tests of analyses and sources, without imports.

It is found by its entry point (``pytest11``), so that a test needs nothing but the fixture's name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from daq.testing.records import Records


@pytest.fixture
def make_stream(request: pytest.FixtureRequest) -> Callable[..., Records]:
    """`daq.testing.make_stream`, with a seed of the test's own unless one is given."""
    from daq.testing.records import make_stream

    seed = zlib.crc32(request.node.nodeid.encode())

    def make(*args: Any, **options: Any) -> Records:
        return make_stream(*args, **{"seed": seed, **options})

    return make


@pytest.fixture
def check_analysis() -> Callable[..., Any]:
    """`daq.testing.check_analysis`."""
    from daq.testing.analyses import check_analysis

    return check_analysis


@pytest.fixture
def check_source() -> Callable[..., Any]:
    """`daq.testing.check_source`."""
    from daq.testing.sources import check_source

    return check_source
