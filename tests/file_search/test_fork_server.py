"""The server that forks, without forking: `test_processes` has it at work."""

import ctypes
import gc
import io
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
from unittest.mock import Mock

import msgspec
import pytest

from openai_runs.file_search import fork_server
from openai_runs.file_search.fork_server import ForkServer, Task, end_with, main, run_module

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, processes are not forked")

TASK = Task("a.module", "the argument")


class EndError(Exception):
    """The process would have ended here."""


@pytest.fixture(autouse=True)
def _signals():
    handler = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, handler)
    signal.set_wakeup_fd(-1)


@pytest.fixture
def ended(monkeypatch):
    """The codes with which the process would have ended."""
    codes = []

    def end(code):
        codes.append(code)
        raise EndError

    monkeypatch.setattr(os, "_exit", end)
    return codes


def fork_to(monkeypatch, *command):
    """A child of another kind, which needs no copy of the process that tests."""
    monkeypatch.setattr(os, "fork", lambda: os.posix_spawn(command[0], command, {}))


def asked(count=1):
    """A server's end of the socket, on which so many tasks wait and nothing follows; and where it says their ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channels = []
    with ours:
        for _ in range(count):
            channel, told = socket.socketpair()
            with tempfile.TemporaryFile() as file, told:
                descriptors = [file.fileno(), file.fileno(), told.fileno()]
                socket.send_fds(ours, [msgspec.json.encode(TASK)], descriptors)
            channels.append(channel)
    return theirs, channels


def said_on(channel):
    with channel:
        return channel.recv(16)


def test_it_says_how_each_has_ended(monkeypatch):
    """And ends with the last one, once nobody can send another."""
    fork_to(monkeypatch, "/bin/sh", "-c", "exit 7")
    control, channels = asked(3)
    ForkServer(control, Mock()).serve()
    assert list(map(said_on, channels)) == [b"7"] * 3


def test_who_hangs_up_has_it_killed(monkeypatch):
    """A half-closed socket hears that it has ended; from a closed one nobody hears."""
    fork_to(monkeypatch, "/bin/sh", "-c", "kill -STOP $$")
    control, (waiting, gone) = asked(2)
    waiting.shutdown(socket.SHUT_WR)
    gone.close()
    ForkServer(control, Mock()).serve()
    assert said_on(waiting) == b"-9"


def test_one_goes_on(monkeypatch):
    """While it does, the end of another is told."""
    ends = iter(["exit 7", "kill -STOP $$"])
    monkeypatch.setattr(os, "fork", lambda: os.posix_spawn("/bin/sh", ["/bin/sh", "-c", next(ends)], {}))
    control, (first, second) = asked(2)
    heard = []

    def listen():
        heard.append(said_on(first))
        second.close()  # without which the server would stay for ever

    listener = threading.Thread(target=listen)
    listener.start()
    ForkServer(control, Mock()).serve()
    listener.join()
    assert heard == [b"7"]


def test_who_has_ended_is_not_killed(monkeypatch):
    """Its number may be that of another process by then."""
    killed = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    server = ForkServer(asked(0)[0], Mock())
    server._kill(1234, Mock())
    assert killed == []
    server.serve()


def test_no_process_left(monkeypatch):
    """If the system has no more of them, the socket is closed without a code."""

    def fork():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fork)
    control, channels = asked()
    ForkServer(control, Mock()).serve()
    assert list(map(said_on, channels)) == [b""]


def test_what_a_child_keeps(monkeypatch):
    """Its file and its output; nothing of the server's, and it ends with it."""
    parents = []
    monkeypatch.setattr(os, "fork", lambda: 0)
    monkeypatch.setattr(fork_server, "end_with", parents.append)
    control, (channel,) = asked()
    run = Mock(side_effect=EndError)
    server = ForkServer(control, run)
    with pytest.raises(EndError):
        server.serve()
    assert run.call_args.args[0] == TASK
    assert parents == [os.getpid()]
    assert control.fileno() == -1
    assert said_on(channel) == b""  # the only other end is closed
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


def test_it_ends_with_its_parent(monkeypatch, ended):
    """The kernel is told, and a parent that has ended before is noticed."""
    library = Mock()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    end_with(os.getppid())
    library.prctl.assert_called_once_with(1, signal.SIGKILL)
    assert ended == []
    with pytest.raises(EndError):
        end_with(-1)
    assert ended == [1]


@pytest.mark.parametrize(("failure", "code"), [(None, 0), (ValueError, 1), (SystemExit, 1)])
def test_the_module_is_run(monkeypatch, ended, failure, code):
    """As a Python does it that was started for it: with the file as its input, the output and the argument."""
    placed, closed, ran = {}, [], Mock(side_effect=failure)
    monkeypatch.setattr(os, "dup2", lambda old, new: placed.update({new: old}))
    monkeypatch.setattr(os, "close", closed.append)
    monkeypatch.setattr(runpy, "run_module", ran)
    for name in ("stdin", "stdout", "argv"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    opened = {0: io.StringIO("the file"), 1: io.StringIO()}
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda number, *_, closefd: closefd or opened[number])
        with pytest.raises(EndError):
            run_module(TASK, 7, 8)
    assert (placed, closed, ended) == ({0: 7, 1: 8}, [7, 8], [code])
    assert sys.argv == ["", "the argument"]
    assert (sys.stdin, sys.stdout) == (opened[0], opened[1])
    ran.assert_called_once_with("a.module", run_name="__main__", alter_sys=True)


def test_what_is_imported(monkeypatch):
    """All that the processes need, before the first of them; what is missing is missed by whoever needs it."""
    monkeypatch.setattr(fork_server, "_NEEDED", ("a_module_that_is_missing", "json"))
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    main(asked(0)[0])
    assert frozen == [True]
