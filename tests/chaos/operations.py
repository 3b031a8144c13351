"""Every public coroutine and iterator of the client, ready to be cancelled at each point where it waits."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Literal, TypeAlias

import anyio
import anyio.lowlevel
from attrs import define, field, frozen

from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.scripted import Say, ScriptedBackend, Turn, Wait, default_turn
from openai_runs.batch import run_batch
from openai_runs.errors import BadRequestError
from openai_runs.events import ActionRequired
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.models.tool import FunctionCall, FunctionToolCall
from openai_runs.models.vector_store import VectorStore, VectorStoreFile, VectorStoreFileBatch
from openai_runs.relay import relay_to
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.proxy import Cut, Proxy
from tests.weather import QUICK

OnExit: TypeAlias = Literal["leave", "cancel"]
Work: TypeAlias = Callable[[], Awaitable[Any]]

#: What a user says for a run that never ends by itself.
ENDLESS = "Wait for me."


def _turn(request: ModelRequest) -> Turn:
    said = next((item.text for item in request.items if isinstance(item, Message)), "")
    return [Say("Well,"), Wait()] if said == ENDLESS else default_turn(request)


def backend() -> ScriptedBackend:
    """Calls each tool once, and answers; or never ends."""
    return ScriptedBackend(_turn)


@define
class Scene:
    """What one attempt works with. `direct` prepares it; `session` and `toolbox` are the attempt's own."""

    direct: Session
    session: Session
    proxy: Proxy  #: between `session` and the server
    assistant_id: str
    toolbox: Toolbox = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.toolbox = Toolbox(on_error="raise")

        @self.toolbox.tool
        async def get_weather(city: str) -> str:
            await anyio.lowlevel.checkpoint()
            return f"sunny in {city}"

    async def thread(self, text: str = "How is the weather?") -> Thread:
        return await self.direct.threads.create(messages=[{"role": "user", "content": text}])

    async def endless(self) -> Thread:
        return await self.thread(ENDLESS)

    async def message(self) -> Message:
        return await anext(aiter(self.direct.messages.list((await self.thread()).id)))

    async def file(self) -> File:
        return await self.direct.files.create(b"some text", purpose="assistants")

    async def shelf(self) -> VectorStore:
        return await self.direct.vector_stores.create()

    async def apart(self) -> tuple[str, str]:
        """A vector store, and a file that is not in it."""
        return (await self.shelf()).id, (await self.file()).id

    async def entry(self) -> VectorStoreFile:
        store_id, file_id = await self.apart()
        return await self.direct.vector_stores.files.create(store_id, file_id=file_id)

    async def file_batch(self) -> VectorStoreFileBatch:
        store_id, file_id = await self.apart()
        return await self.direct.vector_stores.file_batches.create(store_id, file_ids=[file_id])

    async def run(self, text: str = "How is the weather?") -> Run:
        thread = await self.thread(text)
        return await self.direct.runs.create(thread.id, assistant_id=self.assistant_id, metadata={"text": text})

    async def waiting(self) -> Run:
        """A run that waits for tool outputs."""
        async with aclosing(self.direct.runs.follow(await self.run(), polling=QUICK)) as events:
            async for event in events:
                if isinstance(event, ActionRequired):
                    break
        return event.run

    async def ended(self) -> Run:
        return await self.direct.runs.complete(await self.run(), toolbox=self.toolbox, polling=QUICK)

    def job(self, text: str = "How is the weather?") -> dict[str, Any]:
        thread = {"messages": [{"role": "user", "content": text}]}
        return {"assistant_id": self.assistant_id, "thread": thread, "metadata": {"text": text}}


@frozen
class Operation:
    """Something that a program awaits."""

    name: str
    prepare: Callable[..., Awaitable[Work]]
    on_exit: OnExit | None = None  #: where there is a choice

    async def ready(self, scene: Scene) -> Work:
        return await (self.prepare(scene) if self.on_exit is None else self.prepare(scene, self.on_exit))


OPERATIONS: list[Operation] = []


def operation(name: str, *, exits: bool = False) -> Callable[[Any], Any]:
    """List an operation, and its two ways to exit."""

    def add(prepare: Any) -> Any:
        OPERATIONS.extend(Operation(name, prepare, on_exit) for on_exit in (("leave", "cancel") if exits else (None,)))
        return prepare

    return add


async def _all(events: Any) -> list[Any]:
    return [event async for event in events]


async def _cancelled(session: Session, batch: VectorStoreFileBatch) -> None:
    with suppress(BadRequestError):  # it may have ended before
        await session.vector_stores.file_batches.cancel(batch)


def _request(name: str, prepare: Callable[[Scene], Awaitable[Any]] | None, send: Callable[[Scene, Any], Any]) -> None:
    async def ready(scene: Scene) -> Work:
        about = None if prepare is None else await prepare(scene)
        return lambda: send(scene, about)

    operation(name)(ready)


async def _assistant(scene: Scene) -> str:
    return (await scene.direct.assistants.create(model="scripted")).id


async def _outputs(scene: Scene) -> Any:
    run = await scene.waiting()
    return run, await scene.toolbox.answer(run.pending_tool_calls)


async def _step(scene: Scene) -> Any:
    return await anext(aiter(scene.direct.run_steps.list(await scene.ended())))


_request("assistants.create", None, lambda s, _: s.session.assistants.create(model="scripted"))
_request("assistants.retrieve", None, lambda s, _: s.session.assistants.retrieve(s.assistant_id))
_request("assistants.update", _assistant, lambda s, one: s.session.assistants.update(one, name="new"))
_request("assistants.list", None, lambda s, _: s.session.assistants.list(limit=1).page())
_request("assistants.delete", _assistant, lambda s, one: s.session.assistants.delete(one))
_request("threads.create", None, lambda s, _: s.session.threads.create())
_request("threads.retrieve", Scene.thread, lambda s, thread: s.session.threads.retrieve(thread.id))
_request("threads.list", Scene.thread, lambda s, _: s.session.threads.list(limit=1).page())
_request("threads.update", Scene.thread, lambda s, thread: s.session.threads.update(thread.id, metadata={}))
_request("threads.delete", Scene.thread, lambda s, thread: s.session.threads.delete(thread.id))
_request("threads.create_and_run", None, lambda s, _: s.session.threads.create_and_run(**s.job()))
_request("messages.create", Scene.thread, lambda s, t: s.session.messages.create(t.id, role="user", content="x"))
_request("messages.retrieve", Scene.message, lambda s, message: s.session.messages.retrieve(message))
_request("messages.update", Scene.message, lambda s, message: s.session.messages.update(message, metadata={}))
_request("messages.list", Scene.ended, lambda s, run: _all(s.session.messages.list(run.thread_id, limit=1)))
_request("messages.delete", Scene.message, lambda s, message: s.session.messages.delete(message))
_request("runs.create", Scene.thread, lambda s, t: s.session.runs.create(t.id, assistant_id=s.assistant_id))
_request("runs.retrieve", Scene.run, lambda s, run: s.session.runs.retrieve(run))
_request("runs.find_created", Scene.run, lambda s, run: s.session.runs.find_created(run.thread_id, "k"))
_request("runs.update", Scene.run, lambda s, run: s.session.runs.update(run, metadata={}))
_request("runs.list", Scene.run, lambda s, run: _all(s.session.runs.list(run.thread_id)))
_request("runs.list_all", Scene.run, lambda s, _: s.session.runs.list_all(limit=1).page())
_request("runs.find", Scene.run, lambda s, run: s.session.runs.find(run.id))
_request("runs.cancel", Scene.waiting, lambda s, run: s.session.runs.cancel(run))
_request("runs.submit_tool_outputs", _outputs, lambda s, about: s.session.runs.submit_tool_outputs(*about))
_request("run_steps.retrieve", _step, lambda s, step: s.session.run_steps.retrieve(step))
_request("run_steps.list", Scene.ended, lambda s, run: _all(s.session.run_steps.list(run, limit=1)))
_request("files.create", None, lambda s, _: s.session.files.create(b"some text", purpose="assistants"))
_request("files.retrieve", Scene.file, lambda s, file: s.session.files.retrieve(file.id))
_request("files.list", Scene.file, lambda s, _: _all(s.session.files.list(limit=1)))
_request("files.delete", Scene.file, lambda s, file: s.session.files.delete(file.id))
_request("files.content", Scene.file, lambda s, file: s.session.files.content(file.id).read())


_request("vector_stores.create", None, lambda s, _: s.session.vector_stores.create(name="n"))
_request("vector_stores.retrieve", Scene.shelf, lambda s, one: s.session.vector_stores.retrieve(one.id))
_request("vector_stores.update", Scene.shelf, lambda s, one: s.session.vector_stores.update(one.id, name="n"))
_request("vector_stores.list", Scene.shelf, lambda s, _: _all(s.session.vector_stores.list(limit=1)))
_request("vector_stores.delete", Scene.shelf, lambda s, one: s.session.vector_stores.delete(one.id))
_request("vector_stores.search", Scene.shelf, lambda s, one: s.session.vector_stores.search(one.id, query=[]))
_request(
    "vector_stores.files.create", Scene.apart, lambda s, a: s.session.vector_stores.files.create(a[0], file_id=a[1])
)
_request(
    "vector_stores.files.create_and_poll",
    Scene.apart,
    lambda s, a: s.session.vector_stores.files.create_and_poll(a[0], file_id=a[1], polling=QUICK),
)
_request(
    "vector_stores.files.upload_and_poll",
    Scene.shelf,
    lambda s, one: s.session.vector_stores.files.upload_and_poll(one.id, b"some text", polling=QUICK),
)
_request("vector_stores.files.poll", Scene.entry, lambda s, one: s.session.vector_stores.files.poll(one, polling=QUICK))
_request("vector_stores.files.retrieve", Scene.entry, lambda s, one: s.session.vector_stores.files.retrieve(one))
_request("vector_stores.files.update", Scene.entry, lambda s, a: s.session.vector_stores.files.update(a, attributes={}))
_request(
    "vector_stores.files.list", Scene.entry, lambda s, a: _all(s.session.vector_stores.files.list(a.vector_store_id))
)
_request("vector_stores.files.delete", Scene.entry, lambda s, one: s.session.vector_stores.files.delete(one))
_request("vector_stores.files.content", Scene.entry, lambda s, one: s.session.vector_stores.files.content(one))
_request(
    "vector_stores.file_batches.create",
    Scene.apart,
    lambda s, a: s.session.vector_stores.file_batches.create(a[0], file_ids=[a[1]]),
)
_request(
    "vector_stores.file_batches.create_and_poll",
    Scene.apart,
    lambda s, a: s.session.vector_stores.file_batches.create_and_poll(a[0], file_ids=[a[1]], polling=QUICK),
)
_request(
    "vector_stores.file_batches.upload_and_poll",
    Scene.shelf,
    lambda s, one: s.session.vector_stores.file_batches.upload_and_poll(one.id, [b"a", b"b"], polling=QUICK),
)
_request("vector_stores.file_batches.poll", Scene.file_batch, lambda s, a: s.session.vector_stores.file_batches.poll(a))
_request(
    "vector_stores.file_batches.retrieve",
    Scene.file_batch,
    lambda s, one: s.session.vector_stores.file_batches.retrieve(one),
)
_request("vector_stores.file_batches.cancel", Scene.file_batch, lambda s, one: _cancelled(s.session, one))
_request(
    "vector_stores.file_batches.list_files",
    Scene.file_batch,
    lambda s, one: _all(s.session.vector_stores.file_batches.list_files(one)),
)


@operation("runs.create, its response lost")
async def create_again(scene: Scene) -> Work:
    thread = await scene.thread()
    scene.proxy.plan("POST", "/runs", "lose answer")
    return lambda: scene.session.runs.create(thread.id, assistant_id=scene.assistant_id)


@operation("runs.create, its request lost")
async def create_once_more(scene: Scene) -> Work:
    thread = await scene.thread()
    scene.proxy.plan("POST", "/runs", "lose request")
    return lambda: scene.session.runs.create(thread.id, assistant_id=scene.assistant_id)


@operation("runs.follow", exits=True)
async def follow(scene: Scene, on_exit: OnExit) -> Work:
    run = await scene.run()

    async def work() -> None:
        options: Any = {"toolbox": scene.toolbox, "polling": QUICK, "on_exit": on_exit}
        async with aclosing(scene.session.runs.follow(run, **options)) as events:
            await _all(events)

    return work


@operation("runs.follow, left early", exits=True)
async def follow_and_leave(scene: Scene, on_exit: OnExit) -> Work:
    run = await scene.run(ENDLESS)

    async def work() -> None:
        async with aclosing(scene.session.runs.follow(run, polling=QUICK, on_exit=on_exit)) as events:
            async for _ in events:
                break

    return work


@operation("runs.complete", exits=True)
async def complete(scene: Scene, on_exit: OnExit) -> Work:
    run = await scene.run()
    return lambda: scene.session.runs.complete(run, toolbox=scene.toolbox, polling=QUICK, on_exit=on_exit)


@operation("runs.stream", exits=True)
async def stream(scene: Scene, on_exit: OnExit) -> Work:
    thread = await scene.thread()

    async def work() -> None:
        options: Any = {"toolbox": scene.toolbox, "polling": QUICK, "on_exit": on_exit}
        async with scene.session.runs.stream(thread.id, assistant_id=scene.assistant_id, **options) as events:
            await _all(events)

    return work


@operation("runs.stream, broken", exits=True)
async def broken_stream(scene: Scene, on_exit: OnExit) -> Work:
    scene.proxy.plan("POST", "/runs", Cut(1500))
    scene.proxy.plan("POST", "/submit_tool_outputs", "lose answer")
    return await stream(scene, on_exit)


@operation("runs.stream, left early", exits=True)
async def stream_and_leave(scene: Scene, on_exit: OnExit) -> Work:
    thread = await scene.endless()

    async def work() -> None:
        params: Any = {"assistant_id": scene.assistant_id, "metadata": {"text": ENDLESS}, "on_exit": on_exit}
        async with scene.session.runs.stream(thread.id, **params) as events:
            async for _ in events:
                break

    return work


@operation("threads.stream_run", exits=True)
async def stream_run(scene: Scene, on_exit: OnExit) -> Work:
    async def work() -> None:
        options: Any = {"toolbox": scene.toolbox, "polling": QUICK, "on_exit": on_exit}
        async with scene.session.threads.stream_run(**scene.job(), **options) as events:
            await events.until_done()

    return work


@operation("runs.stream_tool_outputs", exits=True)
async def stream_tool_outputs(scene: Scene, on_exit: OnExit) -> Work:
    run, outputs = await _outputs(scene)

    async def work() -> None:
        async with scene.session.runs.stream_tool_outputs(run, outputs, on_exit=on_exit) as events:
            async for _ in events.text_deltas():
                pass

    return work


@operation("run_batch", exits=True)
async def batch(scene: Scene, on_exit: OnExit) -> Work:
    async def work() -> None:
        options: Any = {"toolbox": scene.toolbox, "polling": QUICK, "on_exit": on_exit}
        async with run_batch(scene.session, [scene.job(), scene.job()], workers=2, **options) as results:
            await _all(results)

    return work


@operation("run_batch, left early", exits=True)
async def batch_and_leave(scene: Scene, on_exit: OnExit) -> Work:
    jobs = [scene.job(), scene.job(ENDLESS), scene.job(ENDLESS)]

    async def work() -> None:
        options: Any = {"toolbox": scene.toolbox, "polling": QUICK, "on_exit": on_exit}
        async with run_batch(scene.session, jobs, workers=2, **options) as results:
            async for _ in results:
                break

    return work


@operation("Session")
async def session(scene: Scene) -> Work:
    async def work() -> None:
        async with scene.proxy.session() as session:
            await session.assistants.retrieve(scene.assistant_id)

    return work


@operation("Toolbox.answer")
async def answer(scene: Scene) -> Work:
    calls = [
        FunctionToolCall(
            id=f"call_{city}", function=FunctionCall(name="get_weather", arguments=f'{{"city": "{city}"}}')
        )
        for city in ("Oslo", "Rome")
    ]
    return lambda: scene.toolbox.answer(calls)


@operation("relay_to")
async def relaying(scene: Scene) -> Work:
    thread = await scene.thread()

    async def write(data: bytes) -> None:
        await anyio.lowlevel.checkpoint()

    async def work() -> None:
        options: Any = {"toolbox": scene.toolbox, "polling": QUICK}
        async with scene.session.runs.stream(thread.id, assistant_id=scene.assistant_id, **options) as events:
            await relay_to(write, events)

    return work


@operation("runs.changes")
async def _changes(scene: Scene) -> Work:
    run = await scene.waiting()
    scene.proxy.plan("GET", "/runs/changes", Cut(100))

    async def work() -> None:
        async with scene.session.runs.changes(polling=QUICK) as changes:
            async for changed in changes:
                if changed.id == run.id:
                    return

    return work


@operation("files.content, piece by piece")
async def pieces(scene: Scene) -> Work:
    file = await scene.file()

    async def work() -> None:
        async with scene.session.files.content(file.id) as content:
            async for _ in content:
                await anyio.lowlevel.checkpoint()

    return work


@operation("files.create, its response lost")
async def upload_again(scene: Scene) -> Work:
    scene.proxy.plan("POST", "/files", "lose answer")
    return lambda: scene.session.files.create(b"some text", purpose="assistants")
