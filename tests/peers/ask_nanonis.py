"""Run in the environment of nanonis-spm and nanonisTCP: ask a controller, and say what it answered."""

import json
import socket
import sys
import time
from pathlib import Path

import nanonis_spm
import numpy as np
from nanonisTCP import nanonisTCP
from nanonisTCP.Scan import Scan
from nanonisTCP.Signals import Signals

asked = json.loads(Path(sys.argv[1]).read_text())
answer = {}

connection = socket.create_connection(("127.0.0.1", asked["port"]), 20)
spm = nanonis_spm.Nanonis(connection)
values = {}
for name in ("Signals_NamesGet", "Scan_StatusGet", "Scan_FrameGet", "Scan_BufferGet",
             "Scan_SpeedGet", "TCPLog_StatusGet"):  # fmt: skip
    error, _, found = getattr(spm, name)()
    assert not error, (name, error)
    values[name] = np.array(json.dumps(found, default=str))
for name in ("TCPLog_Start", "TCPLog_Stop"):
    error, _, _ = getattr(spm, name)()
    assert not error, (name, error)
assert not spm.TCPLog_ChsSet(2, [14, 24])[0]
answer |= {f"spm_{name}": value for name, value in values.items()}
seconds = []
for _ in range(asked.get("grabs", 1)):
    began = time.perf_counter()
    error, _, found = spm.Scan_FrameDataGrab(14, 1)
    seconds.append(time.perf_counter() - began)
    assert not error, error
answer |= {"spm_seconds": seconds, "spm_name": found[1], "spm_grab": np.array(found[4], np.float32),
           "spm_up": found[5]}  # fmt: skip
answer["spm_error"] = spm.Scan_FrameDataGrab(99, 1)[0] if asked.get("error") else ""
connection.close()

tcp = nanonisTCP("127.0.0.1", asked["port"], max_buf_size=1 << 20)
scan = Scan(tcp)
seconds = []
for _ in range(asked.get("grabs", 1)):
    began = time.perf_counter()
    name, grab, direction = scan.FrameDataGrab(14, 0)
    seconds.append(time.perf_counter() - began)
answer |= {"tcp_seconds": seconds, "tcp_name": name, "tcp_grab": grab.astype(np.float32),
           "tcp_up": direction == "up", "tcp_running": scan.StatusGet(),
           "tcp_frame": scan.FrameGet(), "tcp_speed": scan.SpeedGet(),
           "tcp_names": Signals(tcp).NamesGet(), "tcp_slots": Signals(tcp).InSlotsGet()[0],
           "tcp_properties": np.array(json.dumps(scan.PropsGet())),
           "tcp_buffer": np.array(json.dumps(scan.BufferGet()))}  # fmt: skip
tcp.close_connection()
np.savez(sys.argv[2], **answer)
