"""`EndpointFiles`: the files and vector stores of a model's endpoint in place of the server's own.

Requests are passed on with the endpoint's key. It knows no owners: the engine's `EndpointObjects` does.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict

from openai_runs import _wire
from openai_runs._finishing import finish
from openai_runs._wire.paths import (
    FILE,
    FILE_CONTENT,
    FILES,
    VECTOR_STORE,
    VECTOR_STORE_BATCH,
    VECTOR_STORE_BATCH_FILES,
    VECTOR_STORE_BATCHES,
    VECTOR_STORE_FILE,
    VECTOR_STORE_FILE_CONTENT,
    VECTOR_STORE_FILES,
    VECTOR_STORES,
)
from openai_runs.engine import ApiError
from openai_runs.engine import endpoint_objects as kinds
from openai_runs.engine.endpoint_creations import EndpointCreation, EndpointCreations
from openai_runs.engine.endpoint_objects import EndpointObjects
from openai_runs.engine.errors import not_found
from openai_runs.errors import ProtocolError, StoreError
from openai_runs.server import passing_rules, validation
from openai_runs.server.endpoint_connection import Answer, Body, EndpointConnection, NoAnswerError, body_limit
from openai_runs.server.exchange import ENGINE, IS_REPLAYED, OWNER, REQUEST_ID, read_json
from openai_runs.server.form import refuse_other_sites
from openai_runs.server.form_fingerprint import FormFingerprint
from openai_runs.server.idempotency import key_of
from openai_runs.server.own_page import own_page

#: A step of a list that is filtered: as many as the API gives at once, or enough.
_STEPS: Final = {kinds.FILE: 1_000, kinds.STORE: 100}
_MAX_PAGE: Final = {kinds.FILE: 10_000, kinds.STORE: 100}
_DEFAULT_PAGE: Final = {kinds.FILE: 10_000, kinds.STORE: 20}

#: The path of one object of a kind, and the name of its ID there.
_OBJECTS: Final = {
    kinds.FILE: (FILE, "file_id"),
    kinds.STORE: (VECTOR_STORE, "vector_store_id"),
    kinds.STORE_FILE: (VECTOR_STORE_FILE, "file_id"),
    kinds.BATCH: (VECTOR_STORE_BATCH, "batch_id"),
}
_PASSED_STATUSES: Final = (400, 404, 409, 413, 422, 429)  # what the caller may have caused

#: Whatever a content is, no browser is to run it.
_OF_CONTENTS: Final = {"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff"}

_Operation: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EndpointFiles(EndpointConnection):
    """The endpoint whose files and vector stores are those of a server.

    ``LocalServer(backend=ResponsesBackend(url, key), files=EndpointFiles(url, key))``

    A `LocalServer` opens it. Whoever serves an engine with `create_app` does so itself, around the engine:
    ``async with files.opened(), Engine(files_endpoint=files, …) as engine: …``
    """

    is_foreign: ClassVar[bool] = False

    def routes(self) -> tuple[tuple[str, str, Handler], ...]:
        """Method, path and handler of each operation."""
        passed, created, deleted, listed = self._passed, self._created, self._deleted, self._listed
        operations: tuple[tuple[str, str, _Operation], ...] = (
            ("POST", FILES, partial(self._uploaded, FILES)),
            ("GET", FILES, partial(listed, kinds.FILE, FILES)),
            ("GET", FILE, partial(passed, FILE)),
            ("DELETE", FILE, partial(deleted, kinds.FILE, FILE)),
            ("GET", FILE_CONTENT, partial(self._content, FILE_CONTENT)),
            ("POST", VECTOR_STORE_FILES, partial(created, kinds.STORE_FILE, VECTOR_STORE_FILES)),
            ("GET", VECTOR_STORE_FILES, partial(passed, VECTOR_STORE_FILES)),
            ("GET", VECTOR_STORE_FILE, partial(passed, VECTOR_STORE_FILE)),
            ("POST", VECTOR_STORE_FILE, partial(self._changed, VECTOR_STORE_FILE)),
            ("DELETE", VECTOR_STORE_FILE, partial(passed, VECTOR_STORE_FILE)),
            ("GET", VECTOR_STORE_FILE_CONTENT, partial(passed, VECTOR_STORE_FILE_CONTENT)),
            ("POST", VECTOR_STORE_BATCHES, partial(created, kinds.BATCH, VECTOR_STORE_BATCHES)),
            ("GET", VECTOR_STORE_BATCH, partial(passed, VECTOR_STORE_BATCH)),
            ("POST", f"{VECTOR_STORE_BATCH}/cancel", partial(passed, f"{VECTOR_STORE_BATCH}/cancel")),
            ("GET", VECTOR_STORE_BATCH_FILES, partial(passed, VECTOR_STORE_BATCH_FILES)),
            ("POST", VECTOR_STORES, partial(created, kinds.STORE, VECTOR_STORES)),
            ("GET", VECTOR_STORES, partial(listed, kinds.STORE, VECTOR_STORES)),
            ("GET", VECTOR_STORE, partial(passed, VECTOR_STORE)),
            ("POST", VECTOR_STORE, partial(self._changed, VECTOR_STORE)),
            ("DELETE", VECTOR_STORE, partial(deleted, kinds.STORE, VECTOR_STORE)),
            ("POST", f"{VECTOR_STORE}/search", partial(self._changed, f"{VECTOR_STORE}/search")),
        )
        return operations

    def headers(self, request: web.Request, *, has_length: bool = True) -> CIMultiDict[str]:
        """See `EndpointConnection`; a client of version 1 gets its shapes from this server."""
        headers = super().headers(request, has_length=has_length)
        if "OpenAI-Beta" in headers:
            headers["OpenAI-Beta"] = "assistants=v2"
        return headers

    async def request(
        self, method: str, path: str, /, body: Mapping[str, Any] | None = None, **ids: str
    ) -> Mapping[str, Any]:
        """See `FilesEndpoint`."""
        headers = passing_rules.request_headers(CIMultiDict({"Content-Type": "application/json"}), self._headers)
        text = None if body is None else _wire.encode_plain(body)
        answer = await self.ask(f"{method} {path}", method, path, headers=headers, body=text, ids=ids)
        value = _object(answer)
        if answer.is_success:
            return value
        error = value.get("error")
        message = error.get("message") if isinstance(error, dict) else value.get("detail")
        status = answer.status if answer.status in _PASSED_STATUSES else 502
        kind = "server_error" if status == 502 else "invalid_request_error"
        raise ApiError(status, f"The model's endpoint refuses {method} {path}: {message or answer.status}", type=kind)

    async def _passed(self, path: str, request: web.Request) -> web.StreamResponse:
        """What is passed on as it is."""
        await _check(request)
        return await self.pass_on(path, request)

    async def _content(self, path: str, request: web.Request) -> web.StreamResponse:
        await _check(request)
        return await self.pass_on(path, request, headers=_OF_CONTENTS)

    async def _changed(self, path: str, request: web.Request) -> web.StreamResponse:
        """What has a body in which IDs of files may be."""
        await _check(request)
        return await self.pass_on(path, request, body=await _checked_body(request))

    async def _listed(self, kind: str, path: str, request: web.Request) -> web.StreamResponse:
        objects, owner = _objects(request), request[OWNER]
        if objects.has_one_owner:
            return await self.pass_on(path, request)
        query = validation.page_query(request.query, most=_MAX_PAGE[kind], default=_DEFAULT_PAGE[kind])
        for name, cursor in ("after", query.after), ("before", query.before):
            if cursor is not None and not await objects.has_cursor(owner, kind, cursor):
                text = f"No object found with id '{cursor}' to start '{name}'."
                raise ApiError(400, text, param=name, code="invalid_value")
        purpose = {"purpose": request.query["purpose"]} if request.query.get("purpose") else {}

        async def read(parameters: Mapping[str, str | int]) -> Mapping[str, Any]:
            answer = await self.ask(request[REQUEST_ID], "GET", path, query={**parameters, **purpose})
            if not answer.is_success:
                raise _Refusal(answer)
            return _object(answer)

        try:
            page = await own_page(read, await objects.ids(owner, kind), query, step=_STEPS[kind])
        except _Refusal as refusal:
            return refusal.answer.response()
        return web.Response(body=_wire.encode_plain(page), content_type="application/json")

    async def _deleted(self, kind: str, path: str, request: web.Request) -> web.StreamResponse:
        await _check(request)

        async def delete() -> Answer:
            answer = await self.ask(
                request[REQUEST_ID], "DELETE", path, headers=self.headers(request), ids=request.match_info
            )
            if answer.is_success or answer.status == 404:
                id = request.match_info[_OBJECTS[kind][1]]
                await _objects(request).forget(request[OWNER], kind, id, was_there=answer.is_success)
            return answer

        return (await finish(delete())).response()

    async def _uploaded(self, path: str, request: web.Request) -> web.StreamResponse:
        refuse_other_sites(request)
        key = await key_of(request, b"")
        fingerprint = FormFingerprint(request.headers.get("Content-Type", ""))
        body = Body(request, body_limit(request), look=fingerprint.add)
        async with _creations(request).begin(request[OWNER], key) as creation:
            if creation.used is not None:
                async for _ in body.pieces():  # to know whether it is the same
                    pass
            sent = partial(self.ask, request[REQUEST_ID], "POST", path, headers=self.headers(request), body=body)
            return await finish(self._create(kinds.FILE, request, creation, sent, fingerprint.value))

    async def _created(self, kind: str, path: str, request: web.Request) -> web.StreamResponse:
        await _check(request)
        text = await _checked_body(request)
        key = await key_of(request)
        async with _creations(request).begin(request[OWNER], key) as creation:
            headers = self.headers(request, has_length=False)
            sent = partial(
                self.ask, request[REQUEST_ID], "POST", path, headers=headers, body=text, ids=request.match_info
            )
            return await finish(
                self._create(kind, request, creation, sent, lambda: "" if key is None else key.fingerprint)
            )

    async def _create(
        self,
        kind: str,
        request: web.Request,
        creation: EndpointCreation,
        send: Callable[[], Awaitable[Answer]],
        fingerprint: Callable[[], str],
    ) -> web.Response:
        """Create something, unless that was done before. Whose it is, is stored before the caller hears of it."""
        if creation.used is not None:
            creation.check(fingerprint())
            return await self._repeated(kind, request, creation.used.object_id)
        try:
            answer = await send()
        except NoAnswerError as error:
            if not error.may_be_done:
                await creation.had_no_effect()
            raise
        except ApiError:  # the body has not come completely
            await creation.had_no_effect()
            raise
        if not answer.is_success:
            if not answer.may_be_done:
                await creation.had_no_effect()
            return answer.response()
        if not isinstance(id := _object(answer).get("id"), str):
            raise ApiError(502, "The model's endpoint has created something without an ID.", type="server_error")
        store_id = request.match_info.get("vector_store_id")
        try:
            await creation.created(kind, id, fingerprint(), store_id)
        except StoreError:  # nobody would know whose it is
            await self._undo(kind, request, id)
            raise
        if kind != kinds.FILE:
            _objects(request).note_files(store_id or id)
        return answer.response()

    async def _repeated(self, kind: str, request: web.Request, id: str) -> web.Response:
        """What the first request with a key has created, as it is now."""
        path, name = _OBJECTS[kind]
        answer = await self.ask(request[REQUEST_ID], "GET", path, ids={**request.match_info, name: id})
        request[IS_REPLAYED] = True
        return answer.response()

    async def _undo(self, kind: str, request: web.Request, id: str) -> None:
        path, name = _OBJECTS[kind]
        if kind in (kinds.FILE, kinds.STORE):
            try:
                await self.ask(request[REQUEST_ID], "DELETE", path, ids={name: id})
            except ApiError:  # which is logged; the error of the store is what the caller has to know
                return


class _Refusal(Exception):  # noqa: N818  # it is passed on, and no error of ours
    """The endpoint's answer to the request for a page."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def _objects(request: web.Request) -> EndpointObjects:
    objects = request.app[ENGINE].endpoint_objects
    assert objects is not None  # noqa: S101  # for the type checker: an engine without has other routes
    return objects


def _creations(request: web.Request) -> EndpointCreations:
    creations = request.app[ENGINE].endpoint_creations
    assert creations is not None  # noqa: S101  # likewise
    return creations


async def _check(request: web.Request) -> None:
    """Check that the owner may use what a path names.

    Raises:
        ApiError: 404: it may not.
    """
    objects, owner, ids = _objects(request), request[OWNER], request.match_info
    for name, id in ids.items():
        if not passing_rules.is_id(id):
            raise not_found(name.removesuffix("_id").replace("_", " "), id[:64])
    if "vector_store_id" in ids:
        await objects.check(owner, kinds.STORE, ids["vector_store_id"])
    elif "file_id" in ids:  # one in a vector store belongs to that
        await objects.check(owner, kinds.FILE, ids["file_id"])
    if "batch_id" in ids:
        await objects.check(owner, kinds.BATCH, ids["batch_id"])


async def _checked_body(request: web.Request) -> bytes:
    """The JSON object in a body, written anew: so the endpoint reads what was checked here, whatever its parser does.

    Raises:
        ApiError: 400 or 415: there is none. 404: it names a file that the owner may not use.
    """
    value = await validation.read_object(await read_json(request))
    await _objects(request).check_files(request[OWNER], value)
    return _wire.encode_plain(value)


def _object(answer: Answer) -> dict[str, Any]:
    """The JSON object in an answer; an empty one if there is none."""
    try:
        value = _wire.decode(answer.body)
    except ProtocolError:
        return {}
    return value if isinstance(value, dict) else {}
