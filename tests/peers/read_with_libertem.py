"""Run in the environment of LiberTEM: patterns, as it gives them and by our own reader."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

asked = json.loads(Path(sys.argv[1]).read_text())
sys.path[:0] = asked["packages"]
warnings.simplefilter("ignore")

from libertem.executor.inline import InlineJobExecutor  # noqa: E402
from libertem.io.dataset import load  # noqa: E402

from daq.runtime.file_source import FileSource  # noqa: E402
from daq_stem.frame_files.libertem import KINDS, LibertemReader  # noqa: E402

answer = {}


def ours(path, key, start=0, **config):
    """Keep what our reader gives from ``start`` on, through the source ``file``."""
    source = FileSource({"libertem": LibertemReader})
    told = {"path": path, "dwell_time": 1e-3, "batch": 1000, **config}
    try:
        (stream,) = source.open(FileSource.Config(**told))
        batches = list(source.batches({"": start}))
    except ValueError as error:
        answer[f"{key}_error"] = np.array(str(error))
        return
    finally:
        source.close()
    said = {
        "scan": stream.scan, "expect": stream.expect,
        "firsts": [batch.first for batch in batches], "counts": [batch.count for batch in batches],
    }  # fmt: skip
    answer[f"{key}_said"] = np.array(json.dumps(said))
    answer[key] = np.concatenate([batch.raw["frame"] for batch in batches])


def theirs(path, key):
    """Keep what LiberTEM gives, in one piece."""
    opened = load(KINDS[Path(path).suffix], path, executor=InlineJobExecutor(), num_partitions=1)
    (partition,) = opened.get_partitions()
    answer[key] = np.array(partition.get_macrotile(dest_dtype=opened.dtype).data)


for key, call in asked["ours"].items():
    ours(key=key, **call)
for key, path in asked["theirs"].items():
    theirs(path, key)
np.savez(sys.argv[2], heavy="distributed" in sys.modules, **answer)
