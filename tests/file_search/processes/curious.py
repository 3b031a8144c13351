"""A process that tells what it was given."""

import json
import os
import signal
import sys
from pathlib import Path

FOLDER = Path("/proc/self/fd")

given = {
    "argument": sys.argv[1],
    "input": sys.stdin.read(),
    "environment": sorted(os.environ),
    "descriptors": sorted(int(path.name) for path in FOLDER.iterdir()) if FOLDER.exists() else [0, 1, 2, 3],
    "child_signal": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}
sys.stdout.write(json.dumps(given))
sys.stdout.flush()
