"""Stands on the PATH of a page for a program: has the troupe play it here.

python caller.py SOCKET PROGRAM ARGUMENTS...
"""

import json
import os
import socket
import sys
from pathlib import Path

with socket.socket(socket.AF_UNIX) as line:
    line.connect(sys.argv[1])
    told = {"words": sys.argv[2:], "folder": str(Path.cwd()), "environment": dict(os.environ)}
    socket.send_fds(line, [json.dumps(told).encode() + b"\n"], [0, 1, 2])
    raise SystemExit(int(line.recv(16) or b"1"))
