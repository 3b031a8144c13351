"""The process that forks those which read files: ``python -m openai_runs.file_search.fork_server``; see `processes`.

It has imported what they need, and that is all it does before it forks: it never reads a file, and has one thread. Its
standard input is a socket. Each message there is a `Task` with three descriptors: the new process's standard input, its
standard output, and a socket on which its exit code is said when it has ended. Who hangs up on that socket has the
process killed; so none of them outlives the program that asked for it.
"""

import ctypes
import gc
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NoReturn

import msgspec

_LONGEST: Final = 2**16  # bytes of a message
_DESCRIPTORS: Final = 3
_PR_SET_PDEATHSIG: Final = 1  # of Linux's prctl

#: What the modules of tasks need. They are imported by each process itself, as its main module.
_NEEDED: Final = ("openai_runs.file_search.chunking", "openai_runs.file_search.formats", "pypdfium2")


class Task(msgspec.Struct, frozen=True):
    """What a process does: ``python -m module argument``."""

    module: str
    argument: str


class ForkServer:
    """Forks a process for each message, until nobody can send one, and stays until the last of them has ended."""

    def __init__(self, control: socket.socket, run: "Callable[[Task, int, int], NoReturn]") -> None:
        """Prepare it.

        Args:
            control: Where messages come.
            run: Is called in each new process with the task and two descriptors, and ends the process.
        """
        self._run = run
        self._control = control
        self._has_asker = True
        self._children: dict[int, socket.socket] = {}  # by process ID: where its end is told
        self._selector = selectors.DefaultSelector()
        self._ends, self._waker = socket.socketpair()  # readable when a child has ended

    def serve(self) -> None:
        """Do all of it."""
        self._ends.settimeout(0)
        self._waker.settimeout(0)
        with self._ends, self._waker, self._selector:
            signal.signal(signal.SIGCHLD, lambda *_: None)  # only a signal with a handler reaches the descriptor
            signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
            self._selector.register(self._ends, selectors.EVENT_READ, self._reap)
            self._selector.register(self._control, selectors.EVENT_READ, self._begin)
            while self._has_asker or self._children:
                for key, _ in self._selector.select():
                    key.data()

    def _begin(self) -> None:
        message, descriptors, _, _ = socket.recv_fds(self._control, _LONGEST, _DESCRIPTORS)
        if not message:
            self._selector.unregister(self._control)
            self._control.close()
            self._has_asker = False
            return
        task = msgspec.json.decode(message, type=Task)
        file, output, channel = descriptors
        told, parent = socket.socket(fileno=channel), os.getpid()
        try:
            if (child := os.fork()) == 0:
                self._become_child(parent, told)
                self._run(task, file, output)
        except OSError:  # no more processes; who hears no code asks another server
            told.close()
        else:
            self._children[child] = told
            self._selector.register(told, selectors.EVENT_READ, partial(self._kill, child, told))
        finally:
            os.close(file)
            os.close(output)

    def _become_child(self, parent: int, told: socket.socket) -> None:
        """Keep nothing of the server in a new process, and end with it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for mine in (self._control, self._ends, self._waker, told, *self._children.values()):
            mine.close()
        end_with(parent)

    def _kill(self, child: int, told: socket.socket) -> None:
        if self._children.get(child) is told:  # not reaped, so that the number is still this child's
            self._selector.unregister(told)
            os.kill(child, signal.SIGKILL)

    def _reap(self) -> None:
        self._ends.recv(_LONGEST)
        for child in list(self._children):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                told = self._children.pop(child)
                with suppress(KeyError):  # it was killed
                    self._selector.unregister(told)
                with told, suppress(OSError):  # nobody listens
                    told.send(b"%d" % os.waitstatus_to_exitcode(status))


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, in whatever way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it has ended before that
        os._exit(1)


def run_module(task: Task, file: int, output: int) -> NoReturn:
    """Do a task as a Python does it that was started for it, and end the process."""
    code = 1
    try:
        for number, descriptor in enumerate((file, output)):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115  # they stay
        sys.argv = ["", task.argument]
        runpy.run_module(task.module, run_name="__main__", alter_sys=True)
        code = 0
    finally:
        os._exit(code)


def main(control: socket.socket) -> None:
    """Import what is needed, then serve."""
    for name in _NEEDED:
        with suppress(ModuleNotFoundError):  # who reads a PDF says then what is missing
            __import__(name)
    gc.freeze()  # otherwise the first collection in each child would copy all of it
    ForkServer(control, run_module).serve()


if __name__ == "__main__":  # pragma: no cover  # it has no environment that would measure it; test_processes runs it
    main(socket.socket(fileno=0))
