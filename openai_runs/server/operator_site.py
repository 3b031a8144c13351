"""Where the operator's commands reach a server that has the lock of its store: a port of its own, on loopback.

Whoever can read the file that has the port and the secret could read the store, too; no key of the API gets in here.
"""

import hmac
import json
import logging
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from openai_runs import _wire
from openai_runs._finishing import finish
from openai_runs.engine import Engine
from openai_runs.engine.retention import has_unfinished_run, last_use
from openai_runs.errors import OpenAIRunsError, StoreFileError
from openai_runs.models.thread import Thread
from openai_runs.server.access_log import protocol_logger
from openai_runs.server.exchange import IS_BEGUN
from openai_runs.stores.import_export import export_objects
from openai_runs.stores.records import PageQuery
from openai_runs.stores.store import Store

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.stores.backup import StoreBackup

_logger = logging.getLogger("openai_runs.server")

_HOST: Final = "127.0.0.1"
_REPORT: Final = 0.25  # seconds between two lines that say how far a backup is
_PAGE: Final = 100  # threads
_GRACE: Final = 0.1  # seconds: a backup that is under way is given up


@asynccontextmanager
async def serving_operator(engine: Engine, store: Store, file: Path) -> AsyncGenerator[None]:
    """Serve the operator.

    Args:
        engine: It is running.
        store: Its store.
        file: Is written at the start, and removed at the end.

    Raises:
        OSError: It cannot be written.
    """
    site = _OperatorSite(engine, store, secrets.token_urlsafe(32))
    app = web.Application(middlewares=[site.checked])
    app.router.add_get("/", site.greet)
    app.router.add_post("/backup", site.back_up)
    app.router.add_get("/export", site.export)
    app.router.add_get("/threads", site.list_threads)
    app.router.add_delete("/threads/{thread_id:[^/]+}", site.delete_thread)
    runner = web.AppRunner(app, access_log=None, logger=protocol_logger, shutdown_timeout=_GRACE)
    try:
        await runner.setup()
        await web.TCPSite(runner, _HOST, 0).start()
        text = json.dumps({"url": f"http://{_HOST}:{runner.addresses[0][1]}", "secret": site.secret})
        await finish(anyio.to_thread.run_sync(_write, file, text))
        try:
            yield
        finally:
            await finish(anyio.to_thread.run_sync(_remove, file, text))
    finally:
        with anyio.CancelScope(shield=True):  # even a cancelled server must close its sockets
            await runner.cleanup()


def _write(file: Path, text: str) -> None:
    """Write a file for its user only, in place of what a server that was killed has left."""
    draft = file.with_name(f"{file.name}-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
    draft.replace(file)


def _remove(file: Path, text: str) -> None:
    """Remove the file, unless another server has put its own in its place."""
    with suppress(FileNotFoundError):
        if file.read_text() == text:
            file.unlink()


class _OperatorSite:
    def __init__(self, engine: Engine, store: Store, secret: str) -> None:
        self._engine = engine
        self._store = store
        self.secret = secret

    @web.middleware
    async def checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse whoever has not the secret, and tell errors in a sentence."""
        given = request.headers.get(hdrs.AUTHORIZATION, "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {self.secret}".encode()):
            return _refusal(401, "this is not the secret of this server")
        try:
            return await handler(request)
        except (OpenAIRunsError, ValueError, OSError) as error:
            if IS_BEGUN in request and request.transport is not None:
                # The status is sent already. Without its end, the answer is known to be incomplete.
                _logger.error("the operator's %s could not be completed: %s", request.path, error)  # noqa: TRY400
                request.transport.abort()
            return _refusal(400, str(error))

    async def greet(self, _: web.Request) -> web.Response:
        """Say that the server is there."""
        return web.json_response({"pid": os.getpid()})

    async def back_up(self, request: web.Request) -> web.StreamResponse:
        """Back the store up to a path of this machine, and say how far that is, in JSON lines."""
        from openai_runs.stores.backup import StoreBackup
        from openai_runs.stores.sqlite import SQLiteStore

        if not isinstance(self._store, SQLiteStore):
            raise StoreFileError(
                "only a store in an SQLite file is backed up so: use pg_dump, and copy the folder of files"
            )
        backup = StoreBackup(self._store, Path((await request.json())["target"]))
        response = await _streaming(request)
        last: dict[str, Any] = {}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_report, response, backup, tasks.cancel_scope)
            try:
                await backup.carry_out()
            except (OpenAIRunsError, OSError) as error:
                last = {"error": str(error)}
            else:
                last = backup.result
            tasks.cancel_scope.cancel()
        with suppress(ConnectionError):
            await response.write(_wire.encode_plain(last) + b"\n")
        return response

    async def export(self, request: web.Request) -> web.StreamResponse:
        """An owner's objects, as JSON lines."""
        async with aclosing(export_objects(self._store, owner=request.query.get("owner", ""))) as lines:
            first = await anext(lines, b"")  # an error comes before the first line, as a rule
            response = await _streaming(request)
            await response.write(first)
            async for line in lines:
                await response.write(line)
        await response.write_eof()
        return response

    async def list_threads(self, request: web.Request) -> web.StreamResponse:
        """All threads of all owners, with when they were used last, as JSON lines."""
        response = await _streaming(request)
        async with aclosing(threads_in(self._store)) as lines:
            async for line in lines:
                await response.write(_wire.encode_plain(line) + b"\n")
        return response

    async def delete_thread(self, request: web.Request) -> web.Response:
        """Delete a thread of any owner."""
        return web.json_response({"deleted": await self._engine.threads.remove(request.match_info["thread_id"])})


async def threads_in(store: Store) -> AsyncGenerator[dict[str, Any]]:
    """All threads of all owners, the oldest of each owner first: ID, owner, and two times in Unix seconds."""
    for owner in await store.owners_of_threads():
        after, more = None, True
        while more:
            records, more = await store.page(Thread, owner, PageQuery(limit=_PAGE, order="asc", after=after))
            for record in records:
                after = record.value.id
                yield {
                    "id": after,
                    "owner": owner,
                    "created_at": int(record.value.created_at.timestamp()),
                    "last_used_at": int(await last_use(store, record.value)),
                    "has_unfinished_run": await has_unfinished_run(store, record.value),
                }


async def _report(response: web.StreamResponse, backup: "StoreBackup", scope: anyio.CancelScope) -> None:
    while True:
        try:
            await response.write(_wire.encode_plain({"done": backup.done, "total": backup.total}) + b"\n")
        except ConnectionError:  # who has asked for it is gone
            scope.cancel()
        await anyio.sleep(_REPORT)


async def _streaming(request: web.Request) -> web.StreamResponse:
    request[IS_BEGUN] = True
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/x-ndjson"})
    await response.prepare(request)
    return response


def _refusal(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
