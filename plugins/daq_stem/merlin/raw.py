"""RAW (R64) frames of a Merlin camera, decoded by the package libertem-qd-mpx.

That package receives from the camera and has no entry for files. So the frames are shown to it as
the camera would: over a socket of this machine, a few at a time, as one acquisition each, since it
gives frames out when an acquisition ends.
"""

from __future__ import annotations

import importlib.util
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TOGETHER = 256
"""Frames of one acquisition."""

TIMEOUT = 20.0
"""Seconds to wait for the decoder."""


def check_installed() -> None:
    """Raise ValueError, saying what to install, where the decoder is not there."""
    if importlib.util.find_spec("libertem_qd_mpx") is None:
        raise ValueError("RAW (R64) frames need libertem-qd-mpx: pip install 'glasswatch[raw]'")


def decode(
    frames: Sequence[bytes], shape: tuple[int, int], dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Return ``frames``, header and pixels as they stand in the file, as [frame, y, x].

    ``shape`` and ``dtype`` are those of a decoded frame; rows are in the order of the file.
    Raises ValueError where the package is not installed, or refuses the frames.
    """
    check_installed()
    out = np.empty((len(frames), *shape), dtype)
    for start in range(0, len(frames), TOGETHER):
        stop = min(start + TOGETHER, len(frames))
        try:
            _acquire(frames[start:stop], out[start:stop])
        except Exception as error:
            raise ValueError(f"RAW frames cannot be decoded: {error}") from error
    return out


def _acquire(frames: Sequence[bytes], out: npt.NDArray[Any]) -> None:
    from libertem_qd_mpx import CamClient, QdConnection

    connection = camera = client = None
    with (
        tempfile.TemporaryDirectory(prefix="gw-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        server.settimeout(TIMEOUT)
        handle = str(Path(folder, "shm"))
        try:
            connection = QdConnection(
                data_host="127.0.0.1",
                data_port=server.getsockname()[1],
                frame_stack_size=16,
                shm_handle_path=handle,
            )
            camera = CamClient(handle_path=handle)
            connection.start_passive()
            client, _ = server.accept()
            client.settimeout(TIMEOUT)
            header = (
                b"HDR,\t\r\n"
                b"Frames in Acquisition (Number):\t%d\r\n"
                b"Frames per Trigger (Number):\t%d\r\nEnd\t" % (len(frames), len(frames))
            )
            # it takes the number of a frame for its place in the acquisition
            numbered = (
                b"MQ1,%06d,%b" % (number, frame.split(b",", 2)[2])
                for number, frame in enumerate(frames, start=1)
            )
            for payload in (header, *numbered):
                # the length counts the comma before the payload
                client.sendall(b"MPX,%010d," % (len(payload) + 1) + payload)
            if connection.wait_for_arm(TIMEOUT) is None:
                raise ValueError("libertem-qd-mpx does not begin")
            done = 0
            while done < len(frames):
                stack = connection.get_next_stack(len(frames) - done)
                if stack is None:
                    raise ValueError(f"it gave {done} of {len(frames)} frames")
                count = len(stack)  # a stack that is done can no longer be asked
                camera.decode_range_into_buffer(stack, out[done : done + count], 0, count)
                camera.done(stack)
                done += count
        finally:
            # the receiver first: it complains of a camera that goes away
            for part in (connection, camera, client):
                if part is not None:
                    part.close()
