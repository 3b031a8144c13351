"""``/files``."""

import re
from pathlib import Path

import pytest
from aiohttp import ClientSession

from openai_runs.server import LocalServer
from openai_runs.stores import MemoryStore
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.server.api import Api, form

pytestmark = pytest.mark.anyio


async def test_a_life(api: Api):
    """A file is created, retrieved, listed and deleted. No `OpenAI-Beta` is needed, as at the hosted API."""
    made = await api("POST", "/files", data=form(b"some text", "ä.txt"))
    assert re.fullmatch(r"file-\w{24}", made.pop("id"))
    created_at = made.pop("created_at")
    shown = {"object": "file", "bytes": 9, "filename": "ä.txt", "purpose": "assistants", "status": "processed"}
    assert made == shown
    [listed] = (await api("GET", "/files"))["data"]
    path = f"/files/{listed['id']}"
    assert listed == {**shown, "id": listed["id"], "created_at": created_at} == await api("GET", path)
    assert await api("DELETE", path) == {"id": listed["id"], "object": "file", "deleted": True}
    for method, where in [("GET", path), ("DELETE", path), ("GET", f"{path}/content")]:
        error = (await api(method, where, status=404))["error"]
        assert error["message"] == f"No such File object: {listed['id']}"
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "id", None)


async def test_expiry(api: Api):
    """What a form has in brackets is the policy of expiry."""
    fields = {"expires_after__anchor": "created_at", "expires_after__seconds": "7200"}
    made = await api("POST", "/files", data=form(**fields))
    assert made["expires_at"] - made["created_at"] == 7200


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"purpose": "sports"}, "purpose", "invalid_value"),
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"expires_after": "never"}, "expires_after", "invalid_type"),
        ({"expires_after__seconds": "7200"}, "expires_after.anchor", "missing_required_parameter"),
        (
            {"expires_after__anchor": "created_at", "expires_after__seconds": "soon"},
            "expires_after.seconds",
            "invalid_type",
        ),
        (
            {"expires_after__anchor": "created_at", "expires_after__seconds": "3599"},
            "expires_after.seconds",
            "integer_below_min_value",
        ),
        (
            {"expires_after__anchor": "created_at", "expires_after__seconds": "2592001"},
            "expires_after.seconds",
            "integer_above_max_value",
        ),
        (
            {"expires_after__anchor": "tomorrow", "expires_after__seconds": "3600"},
            "expires_after.anchor",
            "invalid_value",
        ),
    ],
)
async def test_wrong_fields(api: Api, fields: dict[str, str], param: str, code: str):
    """The errors are those of JSON bodies, and no file is created."""
    error = (await api("POST", "/files", data=form(**fields), status=400))["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert (await api("GET", "/files"))["data"] == []


@pytest.mark.parametrize("missing", ["file", "purpose"])
async def test_a_missing_field(api: Api, missing: str):
    """The file and its purpose are both needed."""
    data = form()
    data._fields = [each for each in data._fields if each[0]["name"] != missing]
    error = (await api("POST", "/files", data=data, status=400))["error"]
    assert error["message"] == f"Missing required parameter: '{missing}'."


async def test_lists(api: Api):
    """Pages connect without a gap; a purpose leaves all others out; up to 10,000 files are in a page."""
    purposes = ["assistants", "vision", "assistants", "assistants"]
    ids = [(await api("POST", "/files", data=form(purpose=purpose)))["id"] for purpose in purposes]
    assert [file["id"] for file in (await api("GET", "/files?limit=10000"))["data"]] == ids[::-1]
    page = await api("GET", "/files?purpose=assistants&limit=2&order=asc")
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[0], ids[2]], True)
    page = await api("GET", f"/files?purpose=assistants&order=asc&after={ids[2]}")
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[3]], False)
    for query in "limit=10001", "limit=0", "order=up", "after=file-9":
        error = await api("GET", f"/files?{query}", status=400)
        assert error["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
@pytest.mark.parametrize("content", [b"", b"some text", bytes(range(256)) * 10_000])
async def test_contents(tmp_path: Path, kind: str, content: bytes, request: pytest.FixtureRequest):
    """The very bytes that were uploaded, which no browser takes for a page; a part of them on request."""
    store: Store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "runs.db")
    if kind == "postgres":
        store = PostgresStore(request.getfixturevalue("postgres_server").store_url(), folder=tmp_path)
    async with LocalServer(store=store) as server, ClientSession() as http:
        file = await Api(http, server.url)("POST", "/files", data=form(content, "ä b.html"))
        async with http.get(f"{server.url}/files/{file['id']}/content") as response:
            assert await response.read() == content
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A4%20b.html"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Length"] == str(len(content))
            assert response.headers["x-request-id"].startswith("req_")
        if kind == "sqlite" and content:
            async with http.get(response.url, headers={"Range": "bytes=2-4"}) as response:
                assert (response.status, await response.read()) == (206, content[2:5])


async def test_a_file_that_is_too_large():
    """It is refused at once if its length is told, and otherwise as soon as it is too long."""
    async with LocalServer(max_file_bytes=1000) as server, ClientSession() as http:
        api = Api(http, server.url)
        assert (await api("POST", "/files", data=form(b"x" * 1000)))["bytes"] == 1000
        for size in 1001, 100_000:
            error = (await api("POST", "/files", data=form(b"x" * size), status=413))["error"]
            assert error["message"] == "File is too large: at most 1000 bytes are accepted."
        assert len((await api("GET", "/files"))["data"]) == 1


async def test_an_owner_with_too_much():
    """The operator's limit holds for all files of an owner together."""
    async with LocalServer(max_owner_bytes=1000) as server, ClientSession() as http:
        api = Api(http, server.url)
        first = await api("POST", "/files", data=form(b"x" * 1000))
        error = (await api("POST", "/files", data=form(b"x"), status=403))["error"]
        assert error["code"] == "storage_quota_exceeded"
        await api("DELETE", f"/files/{first['id']}")
        await api("POST", "/files", data=form(b"x"))


async def test_the_same_key_again(api: Api):
    """A repeated upload is no second file; the same key with another content, name or purpose is an error."""
    key = {"headers": {"Idempotency-Key": "k"}}
    made = await api("POST", "/files", data=form(), **key)
    again = await api.send("POST", "/files", data=form(), **key)
    assert (again.body, again.headers["Idempotent-Replayed"]) == (made, "true")
    for other in form(b"other"), form(filename="b.txt"), form(purpose="vision"):
        error = await api("POST", "/files", data=other, status=422, **key)
        assert error["error"]["code"] == "idempotency_key_reused"
    assert (await api("GET", "/files"))["data"] == [made]


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An upload that does not fit is a 503; what is there can be read, and later ones work."""
    async with LocalServer(store=SQLiteStore(tmp_path / "runs.db")) as server, ClientSession() as http:
        api = Api(http, server.url)
        made = await api("POST", "/files", data=form())

        def fail(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            error = (await api("POST", "/files", data=form(), status=503))["error"]
            assert (error["type"], error["code"]) == ("server_error", None)
            assert "No space left on device. Nothing was changed." in error["message"]
            assert (await api("GET", "/files"))["data"] == [made]
        await api("POST", "/files", data=form())
        assert len(list((tmp_path / "runs.db-files").iterdir())) == 2
