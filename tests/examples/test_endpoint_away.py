"""The web apps while their endpoint is away: they start, answer with a status and a sentence, and log one line."""

from pathlib import Path

import pytest
from aiohttp import ClientSession
from anyio import to_thread

from tests.examples.programs import program
from tests.serving import free_port, serving

pytestmark = pytest.mark.anyio

SENTENCE = {"detail": "There is no answer now. Ask again in a minute."}
APPS = {
    "fastapi": ("uvicorn --app-dir docs/examples/fastapi_app app:app", ["--port=0"]),
    "aiohttp": ("python docs/examples/aiohttp_app/app.py", []),
    "django": ("uvicorn --app-dir docs/examples/django_view app:app", ["--port=0"]),
}


@pytest.mark.parametrize("app", APPS)
async def test_an_endpoint_that_is_away(anyio_backend: str, app: str, tmp_path: Path):
    """Before it is there, and after it has died, browsers get a 503 that names no endpoint; meanwhile, answers."""
    command, arguments = APPS[app]
    port = str(free_port())
    endpoint = f"http://127.0.0.1:{port}/v1"
    with program(command, *arguments, OPENAI_BASE_URL=endpoint, PORT=str(free_port())) as running:
        url = (await to_thread.run_sync(running.wait_for, r"http://127\.0\.0\.1:\d+"))[0]
        async with ClientSession(url) as browser:

            async def is_refused() -> None:
                async with browser.post("/ask", json={"question": "When?"}) as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"] == "60"
                    assert await response.json() == SENTENCE
                if app != "django":
                    async with browser.get("/ask/stream", params={"question": "When?"}) as response:
                        assert (response.status, await response.json()) == (503, SENTENCE)

            await is_refused()
            with serving(tmp_path / "runs.db", "--port", port):
                async with browser.post("/ask", json={"question": "When?"}) as response:
                    assert response.status == 200, running.output
            await is_refused()
    lines = [line for line in running.output.splitlines() if "was not answered" in line]
    assert len(lines) == 2 * (1 if app == "django" else 2)
    assert all(endpoint in line and "Is the server running" in line for line in lines)
