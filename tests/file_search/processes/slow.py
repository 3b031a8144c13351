"""A process that has exceeded its CPU time."""

import os
import signal

os.kill(os.getpid(), signal.SIGXCPU)
