"""A process that never ends by itself."""

import signal

signal.pause()
