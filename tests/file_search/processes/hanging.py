"""A process that says which it is, and never ends by itself."""

import os
import signal
import sys

sys.stdout.write(f"{os.getpid()}\n")
sys.stdout.flush()
signal.pause()
