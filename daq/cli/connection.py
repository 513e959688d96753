"""How the commands reach a running bus."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daq.bus.client import Consumer

ANSWER_SECONDS = 3.0


@contextlib.contextmanager
def connected(endpoint: str | None, purpose: str) -> Iterator[tuple[Consumer, str]]:
    """Give a control client on a bus, and the endpoint; ConnectionError where none answers."""
    from daq.bus.client import Consumer
    from daq.bus.endpoint import check_endpoint, default_endpoint

    where = check_endpoint(endpoint or default_endpoint())
    try:
        client = Consumer(where, f"{purpose}-{os.getpid()}", "control", ANSWER_SECONDS)
    except TimeoutError:
        raise ConnectionError(
            f"no bus answers at {where}; is a run on? daq run CONFIG starts one"
        ) from None
    try:
        yield client, where
    finally:
        client.close()
