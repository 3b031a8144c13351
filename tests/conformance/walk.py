"""Schemathesis walks all operations of a server of ours, bad input included: ``python -m tests.conformance.walk``.

It is no part of the test suite, since it stands on another program (``pip install schemathesis``, in an environment
of its own; ``SCHEMATHESIS`` may name it). ``--replicas 3`` has so many servers on one store in PostgreSQL take turns.
Further arguments go to it. It gets a copy of the document in which the
server's objects are known, and the limits that the published one has in words only.
"""

import copy
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from aiohttp import ClientSession, FormData

from openai_runs.server import LocalServer
from openai_runs.server.document import add_limits
from tests.conformance.judge import DOCUMENT, OPERATIONS
from tests.engine.index import WordIndex
from tests.postgres import postgres
from tests.round_robin import Replicas, replicas

#: What is no failure, and why.
EXCLUDED = [
    "status_code_conformance",  # the document lists 200 and 429 only
    "positive_data_acceptance",  # a locked thread and an unknown cursor are 400, and no schema can say so
]
#: How a request that breaks the document may be refused: among others by its size, which comes before its content.
REFUSALS = [400, 401, 403, 404, 405, 409, 413, 415]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
KEY = "sk-walk"


async def made(http: ClientSession, url: str, path: str, body: object) -> Any:
    async with http.post(url + path, json=body) as response:
        return await response.json()


async def first(http: ClientSession, url: str) -> str:
    """The ID of the first object of a list, which there will be soon."""
    while True:
        async with http.get(url) as response:
            if data := (await response.json())["data"]:
                return str(data[0]["id"])


async def shelf(http: ClientSession, url: str) -> dict[str, str]:
    """A vector store with a file, and a batch of it."""
    form = FormData({"purpose": "assistants"})
    form.add_field("file", b"some text", filename="a.txt")
    async with http.post(f"{url}/files", data=form) as response:
        file_id = str((await response.json())["id"])
    store = await made(http, url, "/vector_stores", {"file_ids": [file_id]})
    batch = await made(http, url, f"/vector_stores/{store['id']}/file_batches", {"file_ids": [file_id]})
    return {"file_id": file_id, "vector_store_id": store["id"], "batch_id": batch["id"]}


def add_own(described: dict[str, Any]) -> None:
    """Describe what our server has beyond the document, after the operations that it is like."""
    paths, schemas = described["paths"], described["components"]["schemas"]
    runs, run = (paths[f"/threads/{{thread_id}}/runs{more}"]["get"] for more in ("", "/{run_id}"))
    threads = copy.deepcopy(schemas["ListRunsResponse"])
    threads["properties"]["data"]["items"] = {"$ref": "#/components/schemas/ThreadObject"}
    schemas["ListThreadsResponse"] = threads
    for path, like, name in (
        ("/threads", runs, "listThreads"),
        ("/runs", runs, "listAllRuns"),
        ("/runs/{run_id}", run, "findRun"),
    ):
        own = copy.deepcopy(like) | {"operationId": name}
        own["parameters"] = [one for one in own["parameters"] if one["name"] != "thread_id"]
        paths.setdefault(path, {})["get"] = own
    answer = paths["/threads"]["get"]["responses"]["200"]["content"]["application/json"]
    answer["schema"] = {"$ref": "#/components/schemas/ListThreadsResponse"}


async def document(url: str) -> dict[str, Any]:
    """The document, with objects that are really there beside any other string."""
    described = copy.deepcopy(DOCUMENT)
    add_limits(described["components"]["schemas"])
    async with ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        file_id = {"type": "string", "enum": [(await shelf(http, url))["file_id"]]}
        assistant = await made(http, url, "/assistants", {"model": "m", "tools": [TOOL]})
        for name, (method, path, _) in OPERATIONS.items():
            message = {"role": "user", "content": "Hi"}
            body = {"assistant_id": assistant["id"], "thread": {"messages": [message]}}
            run = await made(http, url, "/threads/runs", body)
            ids = {"assistant_id": assistant["id"], "thread_id": run["thread_id"], "run_id": run["id"]}
            if name in ("createRun", "createMessage"):  # which a thread with an active run refuses
                ids["thread_id"] = (await made(http, url, "/threads", {}))["id"]
            if "{message_id}" in path:
                ids["message_id"] = await first(http, f"{url}/threads/{run['thread_id']}/messages")
            if "{file_id}" in path or "{vector_store_id}" in path:
                ids |= await shelf(http, url)
            if "{step_id}" in path:
                ids["step_id"] = await first(http, f"{url}/threads/{run['thread_id']}/runs/{run['id']}/steps")
            if method == "DELETE":
                continue  # else one operation would take from all others what they work on
            for parameter in described["paths"][path][method.lower()].get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in ids:
                    parameter["schema"] = {"type": "string", "enum": [ids[parameter["name"]], "other/one"]}
                if parameter["name"] == "limit":
                    parameter["schema"] |= {"minimum": 1, "maximum": 10_000 if name == "listFiles" else 100}
    for operations in described["paths"].values():
        for operation in operations.values():
            body = operation.get("requestBody") if isinstance(operation, dict) else None
            if body is not None and not body.get("required"):  # then `null` counts as none, which the document lacks
                content = body["content"]["application/json"]
                content["schema"] = {"anyOf": [content["schema"], {"type": "null"}]}
    add_own(described)
    content = described["paths"]["/files/{file_id}/content"]["get"]["responses"]["200"]["content"]
    content["application/octet-stream"] = content.pop("application/json")  # which no content of a file need be
    described["components"]["schemas"]["OpenAIFile"]["properties"]["purpose"]["enum"].append("evals")  # it may be made
    schemas = described["components"]["schemas"]
    schemas["CreateVectorStoreFileRequest"]["properties"]["file_id"] = file_id
    for schema in ("CreateVectorStoreRequest", "CreateVectorStoreFileBatchRequest"):
        schemas[schema]["properties"]["file_ids"]["items"] = file_id
    for schema in ("CreateRunRequest", "CreateThreadAndRunRequest"):
        properties = described["components"]["schemas"][schema]["properties"]
        properties["assistant_id"] = {"type": "string", "enum": [assistant["id"]]}
        properties["stream"] = {"enum": [None, False]}
    return described


def make(**options: Any) -> LocalServer:
    return LocalServer(keys={KEY: "walker"}, files=WordIndex(), **options)


@asynccontextmanager
async def several(number: int) -> AsyncGenerator[Replicas]:
    """Servers that take turns."""
    with tempfile.TemporaryDirectory() as folder, postgres() as database:
        async with replicas(database.store_url(), Path(folder), number, make=make) as servers:
            yield servers


async def walk(options: list[str]) -> int:
    number = 1
    if options[:1] == ["--replicas"]:
        number, options = int(options[1]), options[2:]
    async with make() if number == 1 else several(number) as server:
        with tempfile.TemporaryDirectory() as folder:
            path = anyio.Path(folder, "openapi.json")
            await path.write_text(json.dumps(await document(server.url)))
            configuration = f"[checks.negative_data_rejection]\nexpected-statuses = {REFUSALS}\n"
            await anyio.Path(folder, "schemathesis.toml").write_text(configuration)
            command = [os.environ.get("SCHEMATHESIS", "schemathesis"), "run", str(path), "--url", server.url]
            command += ["-H", f"Authorization: Bearer {KEY}", "--exclude-checks", ",".join(EXCLUDED), *options]
            return (await anyio.run_process(command, check=False, stdout=None, stderr=None, cwd=folder)).returncode


if __name__ == "__main__":
    sys.exit(anyio.run(walk, sys.argv[1:]))
