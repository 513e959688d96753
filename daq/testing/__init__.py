"""Tests for plugins: does an analysis keep its promises, whatever a night brings.

An analysis gives the same numbers however its records were cut into batches, in whatever order
its inputs arrive, after a restart, with lost records and with NaN. One call checks all of it and
says in plain words what is wrong and where. A whole test of a plugin::

    import numpy as np
    from daq.testing import check_analysis, make_stream
    from my_plugin import Brightness

    def test_keeps_its_promises():
        camera = make_stream("camera", {"frame": ("<u2", (16, 16), "counts")}, records=100)
        check_analysis(Brightness, camera, {"threshold": 10})

    def test_is_right():
        frames = np.random.default_rng(1).poisson(20, (100, 16, 16)).astype("<u2")
        camera = make_stream("camera", {"frame": frames})
        result = check_analysis(Brightness, camera, {"threshold": 10})
        assert np.array_equal(result["mean"]["value"], frames.mean((1, 2)))

The second test is the one that only you can write: compare with plain numpy on the whole data.

- `make_stream` makes a stream of any shape with seeded data, or from your arrays; also as the
  fixture ``make_stream``, with a seed of the test's own. Several inputs: ``[camera, furnace]``.
- `check_analysis` takes ``reconfigure_to=`` for analyses whose parameters may change in mid-run,
  ``without={"nan"}`` for what yours openly does not promise. Its docstring lists the checks.
- `run_analysis` runs an analysis once, over `daq.Batch` and `daq.Missing`; `run_batched` over
  records cut in your own way. `batchings` is a hypothesis strategy of ways to cut.
- `check_source` does the same for sources and simulators; `record_source` gives their records,
  ready for `check_analysis`.

What most often goes wrong, and what to do:

==========================================  ====================================================
keeping ``batch["frame"]`` for later        copy it: the memory is used again
``self.total += batch["x"].sum()``          rounds differently: loop over records, or set `block`
``frames @ weights``                        as above: numpy rounds by the number of records
``frames[:, pixels].sum(1)``                as above; ``batch.gather`` does not
using "the last temperature that came"      pair by time: `daq.Join`
averaging over lost records                 look at ``batch.valid``
==========================================  ====================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daq.runtime.direct import OutputStream, run_analysis
    from daq.testing.analyses import CHECKS, check_analysis, run_batched
    from daq.testing.batching import (
        Batching,
        batchings,
        one_by_one,
        random_batching,
        reversed_inputs,
        whole,
    )
    from daq.testing.comparison import first_difference
    from daq.testing.records import Records, make_stream
    from daq.testing.sources import check_source, record_source

__all__ = [
    "CHECKS",
    "Batching",
    "OutputStream",
    "Records",
    "batchings",
    "check_analysis",
    "check_source",
    "first_difference",
    "make_stream",
    "one_by_one",
    "random_batching",
    "record_source",
    "reversed_inputs",
    "run_analysis",
    "run_batched",
    "whole",
]

_MODULES = (
    "daq.runtime.direct",
    "daq.testing.analyses",
    "daq.testing.batching",
    "daq.testing.comparison",
    "daq.testing.records",
    "daq.testing.sources",
)


def __getattr__(name: str) -> object:
    """Import when first used: pytest loads this package wherever glasswatch is installed."""
    if name in __all__:
        import importlib

        for module in map(importlib.import_module, _MODULES):
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module 'daq.testing' has no attribute {name!r}")
