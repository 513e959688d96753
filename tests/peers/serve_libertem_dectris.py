"""Run in the environment of libertem-dectris: its simulated QUADRO sends a series over stream v1.

Argument: number of frames that it invents, or a file of recorded messages. Prints the address, waits for a
line, sends, and waits for another.
"""

import sys

import libertem_dectris

URI = "tcp://127.0.0.1"
if sys.argv[1].isdigit():
    detector = libertem_dectris.DectrisSim.new_mocked(
        uri=URI, num_frames=int(sys.argv[1]), random_port=True
    )
else:
    detector = libertem_dectris.DectrisSim(uri=URI, filename=sys.argv[1], random_port=True)
print(detector.get_uri(), flush=True)
sys.stdin.readline()
detector.send_headers()
detector.send_frames()
detector.send_footer()
sys.stdin.readline()
