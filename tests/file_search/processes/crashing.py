"""What reading a hostile file may do to the process that does it."""

import os
import signal

os.kill(os.getpid(), signal.SIGSEGV)
