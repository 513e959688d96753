"""What the attributes of a stream's group say."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from daq.recording.layout import describe_group
from daq.streams import Field, Stream


@pytest.mark.parametrize(
    ("step", "written"),
    [
        (1.5, 1.5),
        ([0.5, 0.25], [0.5, 0.25]),
        ((1, 2), [1.0, 2.0]),
        (None, None),
        ([], None),
        ("0.5", None),
        ([0.5, None], None),
    ],
)
def test_the_step_of_a_scan(step: Any, written: Any) -> None:
    scan = {"shape": [2, 3]} | ({} if step is None else {"step": step})
    stream = Stream("afm", {"height": Field("<f4", (3,))}, scan=scan)
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        describe_group(file, stream, 0, "open", complete=False)
        found = file.attrs.get("scan_step")
        assert (None if found is None else np.asarray(found).tolist()) == written
        assert file.attrs["scan_shape"].tolist() == [2, 3]
