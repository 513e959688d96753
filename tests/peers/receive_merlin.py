"""Run in the environment of libertem-qd-mpx: acquisitions received and decoded as LiberTEM-live does."""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from libertem_qd_mpx import CamClient, QdConnection

asked = json.loads(Path(sys.argv[1]).read_text())
with tempfile.TemporaryDirectory() as folder:
    handle = str(Path(folder, "shm"))
    connection = QdConnection(
        data_host="127.0.0.1", data_port=asked["port"], frame_stack_size=16, shm_handle_path=handle
    )
    camera = CamClient(handle_path=handle)
    connection.start_passive()
    seconds, cpu = [], []
    for _ in range(asked.get("acquisitions", 1)):
        config = connection.wait_for_arm(20.0)
        assert config is not None, "no acquisition header"
        count = config.frames_in_acquisition()
        frames = np.empty((asked.get("keep", count), *asked["shape"]), asked["dtype"])
        frames[:] = 0  # its memory is there before the clock runs
        done, began, used = 0, time.perf_counter(), time.process_time()
        while done < count:
            stack = connection.get_next_stack(count - done)
            many = len(stack)
            at = done % max(1, len(frames) - many + 1)
            camera.decode_range_into_buffer(stack, frames[at : at + many], 0, many)
            camera.done(stack)
            done += many
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    nav = config.nav_shape()
    connection.close()
    camera.close()
np.savez(sys.argv[2], frames=frames, seconds=seconds, cpu=cpu, nav=() if nav is None else nav)
