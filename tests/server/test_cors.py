"""Web pages of other origins: which may use the API, and what their browsers are told."""

import pytest
from aiohttp import ClientSession, FormData

from openai_runs.server import LocalServer
from openai_runs.server.cors import check_origins

pytestmark = pytest.mark.anyio

APP = "https://app.example"
QUESTION = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
KEYS = {"sk-a": "alice"}


@pytest.fixture
async def http():
    async with ClientSession() as http:
        yield http


def root(server):
    return server.url.removesuffix("/v1")


@pytest.mark.parametrize(("origins", "named"), [([APP, "http://localhost:3000"], APP), (["*"], "*")])
async def test_a_page_of_an_allowed_origin(http, origins, named):
    """Its browser's question is answered without a key, and it may read responses and their headers, errors too."""
    async with LocalServer(keys=KEYS, cors_origins=origins) as server:
        async with http.options(f"{server.url}/threads", headers={"Origin": APP, **QUESTION}) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == named
            assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
            assert response.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
            assert "Access-Control-Allow-Credentials" not in response.headers
        sent = {"Origin": APP, "Authorization": "Bearer sk-a"}
        async with http.post(f"{server.url}/threads", json={}, headers=sent) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == named
            exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
            assert {"x-request-id", "openai-poll-after-ms", "retry-after", "idempotent-replayed"} < {*exposed}
            assert "Access-Control-Allow-Credentials" not in response.headers
            assert ("Origin" in response.headers.getall("Vary", [])) is (named != "*")
        async with http.post(f"{server.url}/threads", json={}, headers={"Origin": APP}) as response:
            assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (401, named)


async def test_polls_and_streams(http):
    """A page may read polls, which are answered before the application, and streams, whose headers go out early."""
    async with LocalServer(cors_origins=[APP]) as server, server.session() as session:
        assistant = await session.assistants.create(model="m")
        body = {"assistant_id": assistant.id, "stream": True}
        async with http.post(f"{server.url}/threads/runs", json=body, headers={"Origin": APP}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == APP
            await response.read()
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        path = f"{server.url}/threads/{run.thread_id}/runs/{run.id}"
        async with http.get(path, headers={"Origin": APP}) as response:
            assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, APP)


@pytest.mark.parametrize("origins", [[], [APP]])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "https://app.example.evil", "null"])
async def test_a_page_of_another_origin(http, origins, origin):
    """Its browser is told nothing, so the page neither sends JSON nor reads anything; forms of it are refused."""
    async with LocalServer(cors_origins=origins) as server:
        async with http.options(f"{server.url}/threads", headers={"Origin": origin, **QUESTION}) as response:
            assert response.status == 405
            assert "Access-Control-Allow-Origin" not in response.headers
        async with http.get(f"{server.url}/assistants", headers={"Origin": origin}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
        async with http.post(f"{server.url}/files", data=upload(), headers={"Origin": origin}) as response:
            assert response.status == 403


def upload():
    data = FormData({"purpose": "assistants"})
    data.add_field("file", b"text", filename="a.txt")
    return data


async def test_forms(http):
    """A page of an allowed origin may upload files."""
    async with LocalServer(cors_origins=[APP]) as server, server.session() as session:
        async with http.post(f"{server.url}/files", data=upload(), headers={"Origin": APP}) as response:
            assert response.status == 200
        assert [file.filename async for file in session.files.list()] == ["a.txt"]


@pytest.mark.parametrize("path", ["/", "/console/start", "/console/login"])
async def test_the_console_is_for_its_own_pages(http, path):
    """No other origin gets at it, not even an allowed one: a browser has a session there."""
    async with LocalServer(cors_origins=["*"], keys=KEYS) as server:
        headers = {"Origin": APP, "Accept": "text/html"}
        async with http.options(root(server) + path, headers={**headers, **QUESTION}) as response:
            assert response.status != 204
            assert "Access-Control-Allow-Origin" not in response.headers
        async with http.get(root(server) + path, headers=headers) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
        async with http.post(f"{root(server)}/console/login", data={"key": "sk-a"}, headers=headers) as response:
            assert response.status == 403


async def test_questions_of_other_kinds(http):
    """OPTIONS without the question is no route, as before; a list of headers that is none is not repeated."""
    async with LocalServer(cors_origins=[APP]) as server:
        async with http.options(f"{server.url}/threads", headers={"Origin": APP}) as response:
            assert response.status == 405
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "a b;c"}
        async with http.options(f"{server.url}/threads", headers={"Origin": APP, **asked}) as response:
            assert response.status == 204
            assert "Access-Control-Allow-Headers" not in response.headers


def test_origins_as_browsers_write_them():
    """Case, a default port and a slash at the end make no other origin."""
    given = ["https://App.example:443/", "http://localhost:3000", "*", "https://bücher.example"]
    assert check_origins(given) == {APP, "http://localhost:3000", "*", "https://xn--bcher-kva.example"}


@pytest.mark.parametrize(
    "origin",
    [
        "app.example",
        "https://app.example/path",
        "https://a@app.example",
        "ftp://a",
        "null",
        "",
        "https://",
        "http://a:x",
    ],
)
def test_no_origin(origin):
    """What is no origin is refused: it would never match."""
    with pytest.raises(ValueError, match="is no origin: expected https://HOST"):
        LocalServer(cors_origins=[origin])
