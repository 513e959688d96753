"""Run in the environment of libertem-dectris: receive a series over stream v1 and decode all frames.

Arguments: port, file name for its shared memory. Prints JSON.
"""

import json
import sys
import time

import libertem_dectris
import numpy as np

connection = libertem_dectris.DectrisConnection(
    uri=f"tcp://127.0.0.1:{sys.argv[1]}", handle_path=sys.argv[2], frame_stack_size=32,
    num_slots=500, bytes_per_frame=192 * 192, huge=False,
)  # fmt: skip
connection.start_passive()
while connection.wait_for_arm(timeout=1.0) is None:
    pass
client = libertem_dectris.CamClient(connection.get_socket_path())
begin, used = time.perf_counter(), time.process_time()
count, total = 0, 0
frames = None
while (stack := connection.get_next_stack(max_size=32)) is not None:
    if frames is None:
        dtype = np.dtype(stack.get_pixel_type()).newbyteorder(stack.get_endianess())
        frames = np.zeros((32, *reversed(stack.get_shape())), dtype)
    client.decompress_frame_stack(stack, out=frames[: len(stack)])
    total += int(frames[len(stack) - 1, 0].sum())
    count += len(stack)
    client.done(stack)
print(json.dumps({"seconds": time.perf_counter() - begin, "cpu": time.process_time() - used,
                  "count": count, "total": total}))  # fmt: skip
client.close()
connection.close()
