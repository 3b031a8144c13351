"""Instructions, as valgrind counts them. Those of one thing: the difference between many and few, by their number."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import aiohttp
import anyio

from tests.bench.streams import DELTAS
from tests.cost.runs import SlowModel, scripted_runs

_VALGRIND: Final = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
_counted: Final = re.compile(rb"Collected : (\d+)").search
_ENVIRONMENT: Final = os.environ | {"PYTHONHASHSEED": "0"}


def _instructions(*arguments: str) -> int:
    """Those of a Python program."""
    program = [sys.executable, *arguments]
    subprocess.run(program, env=_ENVIRONMENT, capture_output=True, check=True)  # compiles what has not been yet
    command = [*_VALGRIND, *program]
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, check=True)
    return _found(done.stderr)


def _found(said: bytes) -> int:
    found = _counted(said)
    if found is None:
        raise RuntimeError(f"valgrind has counted nothing: {said.decode()[-500:]}")
    return int(found[1])


@contextmanager
def _stub(module: str) -> Iterator[str]:
    """A process that answers; where it is."""
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


def of_client(mode: str, few: int, many: int, program: str = "tests.cost.client") -> int:
    """Those of one request of a session, or of one stream."""
    module, path = ("tests.bench.streams", "/fast/v1") if mode == "stream" else ("tests.bench.stub", "/v1")
    with _stub(module) as origin:
        counts = [_instructions("-m", program, mode, str(number), origin + path) for number in (few, many)]
    return (counts[1] - counts[0]) // (many - few)


@cache
def _interpreter() -> int:
    """Those of the interpreter's own start and end."""
    return _instructions("-c", "pass")


def of_import(program: str) -> int:
    """Those of a program of imports, without the interpreter's own start."""
    return _instructions("-c", program) - _interpreter()


def of_start(program: str) -> int:
    """Those of a client from its start to its first response and its end, without the interpreter's own start."""
    with _stub("tests.bench.stub") as origin:
        return _instructions("-m", program, "get", "1", f"{origin}/v1") - _interpreter()


def _our_server(folder: str) -> list[str]:
    return ["openai_runs", "serve", "--port", "0", "--store", str(Path(folder, "runs.db")), "--no-access-log"]


def of_server(
    use: Callable[[str, int], None], few: int, many: int, server: Callable[[str], Sequence[str]] = _our_server
) -> int:
    """Those of a server for one of what a client does."""
    counts = []
    for valgrind, number in ([], 1), (_VALGRIND, few), (_VALGRIND, many):  # the first compiles what has not been yet
        with tempfile.TemporaryDirectory() as folder:
            command = [*valgrind, sys.executable, "-m", *server(folder)]
            process = subprocess.Popen(command, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert process.stdout is not None
            url = process.stdout.readline().decode().split()[1].rstrip(",")
            use(url, number)
            process.send_signal(signal.SIGTERM)
            said = process.communicate()[1]
            if valgrind:
                counts.append(_found(said))
    return (counts[1] - counts[0]) // (many - few)


def get_runs(url: str, number: int) -> None:
    """Read a run that has ended, so many times."""

    async def get() -> None:
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{url}/assistants", json={"model": "m"}) as response:
                assistant = await response.json()
            async with http.post(f"{url}/threads/runs", json={"assistant_id": assistant["id"]}) as response:
                run = await response.json()
            for _ in range(number):
                async with http.get(f"{url}/threads/{run['thread_id']}/runs/{run['id']}") as response:
                    await response.read()

    anyio.run(get)


def of_token() -> int:
    """Those of a server for one token of a model, from the model's endpoint to the client."""
    model = SlowModel()
    return of_server(model.tokens, 50, 350, lambda folder: [*_our_server(folder), *model.options])


#: By name: how to count it.
MEASURES: Final[dict[str, Callable[[], int]]] = {
    "import of openai_runs": lambda: of_import("import openai_runs"),
    "import of Session": lambda: of_import("from openai_runs import Session"),
    "the same, and its runs used": lambda: of_import(
        "from openai_runs import Session; Session('http://127.0.0.1').runs"
    ),
    "start to the first GET": lambda: of_start("tests.cost.client"),
    "GET of a run, client": lambda: of_client("get", 200, 1200),
    "a run of a page of 100, client": lambda: of_client("page", 5, 45) // 100,
    "an event of a stream, client": lambda: of_client("stream", 1, 3) // DELTAS,
    "GET of a run, server": lambda: of_server(get_runs, 100, 1100),
    "a token, engine and server": of_token,
    "a scripted run, engine and server": lambda: of_server(scripted_runs, 20, 120),
}
#: What others do, which `tests.bench` compares with.
FLOORS: Final[dict[str, Callable[[], int]]] = {
    "import of its four packages": lambda: of_import("import aiohttp, attrs, cattrs, anyio"),
    "start to the first GET, aiohttp alone": lambda: of_start("tests.cost.floor"),
    "GET, aiohttp alone": lambda: of_client("get", 200, 1200, "tests.cost.floor"),
    "GET, aiohttp's server alone": lambda: of_server(get_runs, 100, 1100, lambda _: ["tests.cost.floor", "serve"]),
}
