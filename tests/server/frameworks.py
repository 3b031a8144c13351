"""Programs on frameworks that use the API; not collected by default, `nox -s frameworks` runs them.

Each framework, and what it needs, is in a folder of its own below ``FRAMEWORKS``: their versions are not ours.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import run_process

from tests.serving import serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]  # seconds; to import some of them takes many

PROGRAMS = Path(__file__).parent / "programs"
LISBON, PORTO = (f"get_weather answered: 21 degrees and sunny in {city}" for city in ("Lisbon", "Porto"))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "runs.db", "--no-access-log") as (url, _):
        yield url


@pytest.fixture
def program(url: str, tmp_path: Path) -> Any:
    """Runs a program, and returns what it prints."""

    async def run(framework: str, name: str = "") -> Any:
        environment = {
            "HOME": str(tmp_path),
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": url,
            "PATH": os.environ["PATH"],
            "PROJECT_ENDPOINT": url.removesuffix("/v1"),
            "PYTHONPATH": str(Path(os.environ["FRAMEWORKS"], framework)),
        }
        path = PROGRAMS / f"of_{(name or framework).replace('-', '_')}.py"
        done = await run_process([sys.executable, str(path)], check=False, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout.splitlines()[-1])

    return run


async def test_langchain(program: Any) -> None:
    """`OpenAIAssistantRunnable` answers calls by hand and in an `AgentExecutor`, and goes on with a thread."""
    assert await program("langchain") == {"by_hand": [LISBON, PORTO], "executor": LISBON}


async def test_autogen(program: Any) -> None:
    """`OpenAIAssistantAgent` calls its function, alone and in a team, is reset, and searches a file that it uploads."""
    told = await program("autogen")
    assert told.pop("found").startswith("The kettle holds 1.7 litres of water.")
    assert told == {
        "answer": LISBON,
        "inner": ["ToolCallRequestEvent", "ToolCallExecutionEvent"],
        "team": PORTO,
        "left": 0,
    }


async def test_semantic_kernel(program: Any) -> None:
    """`OpenAIAssistantAgent` calls the function of a plugin, polled and streamed, in one conversation."""
    told = await program("semantic-kernel")
    assert (told["polled"], told["streamed"]) == (f"Weather-{LISBON}", f"Weather-{PORTO}")
    assert told["pieces"] > 1


async def test_llama_index(program: Any) -> None:
    """`OpenAIAssistantAgent` chats twice on a thread, with a function."""
    told = await program("llama-index")
    assert told == {"answers": [LISBON, PORTO], "roles": ["user", "assistant", "user", "assistant"]}


async def test_agency_swarm(program: Any) -> None:
    """An `Agency` of an agent with a tool completes what it is asked."""
    told = await program("agency-swarm")
    assert told == {"answer": LISBON.replace("get_weather", "GetWeather"), "tools": ["GetWeather"]}


async def test_azure_agents(program: Any) -> None:
    """`AgentsClient` calls a function, polled and streamed, and its names for roles and states fit."""
    told = await program("azure-agents")
    assert told["polled"] == ["completed", LISBON]
    assert told["streamed"] == PORTO
    assert told["roles"] == ["user", "assistant", "user", "assistant"]
    assert told["events"][0] == "thread.run.created"
    assert told["events"][-2:] == ["thread.run.completed", "done"]


async def test_azure_identity(program: Any) -> None:
    """The token provider of azure-identity is a session's key; it keeps the token, so that one is asked for."""
    told = await program("azure-agents", "azure-identity")
    assert told == {"scopes": ["https://ai.azure.com/.default"], "status": "completed"}
