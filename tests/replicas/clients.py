"""`Clients`: programs that start runs at one server and follow them at others, and know what must come of it."""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import anyio
from aiohttp import ClientError, ClientSession, ClientTimeout
from attrs import define, field

from openai_runs import ActionRequired, BadRequestError, Polling, Run, RunEnded, Session
from openai_runs.models.delta import MessageDelta
from tests.replicas.audit import Expected
from tests.replicas.model import answer_of, calls_tool, output_of

POLLING: Final = Polling(first=0.2, longest=1.0, outage=120)
_DEADLINE: Final = 180.0  # seconds for one run
#: What programs do, by the first letter of their names, and how often.
STORIES: Final = {"polled": 3, "streamed": 4, "tool": 4, "cancelled": 3, "keyed": 2, "updated": 2}


@define(eq=False)
class Clients:
    """Keep so many runs active.

    Attributes:
        expected: What must be stored of all that they have started.
        faults: What they have seen and should not have.
        counts: Of what they have done.
    """

    sessions: Sequence[Session]
    urls: Sequence[str]  #: of the same servers
    assistant_id: str
    chance: random.Random
    prefix: str
    expected: list[Expected] = field(factory=list)
    started: set[str] = field(factory=set)
    faults: list[str] = field(factory=list)
    counts: Counter[str] = field(factory=Counter)
    is_over: bool = False

    async def run(self, at_once: int) -> None:
        """Keep so many runs active until it is over, and wait until they have ended."""
        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(self._keep_running)

    async def run_each(self, number: int) -> None:
        """Start so many runs, of all kinds, and wait until they have ended."""
        kinds = list(STORIES)
        async with anyio.create_task_group() as tasks:
            for count in range(number):
                tasks.start_soon(self._tell, kinds[count % len(kinds)])

    async def _keep_running(self) -> None:
        await anyio.sleep(self.chance.uniform(0, 2))
        while not self.is_over:
            [story] = self.chance.choices(list(STORIES), list(STORIES.values()))
            await self._tell(story)

    async def _tell(self, story: str) -> None:
        name = f"{story}-{self.prefix}-{self.counts['started']}"
        self.counts["started"] += 1
        self.started.add(name)
        began = time.monotonic()
        try:
            await getattr(self, f"_{story}")(name)
        except Exception as error:  # whatever a client sees that it should not is what this is about
            self.faults.append(f"{name}, {time.monotonic() - began:.1f} s after its start: {error!r}")
        self.counts["ended"] += 1

    def _any(self) -> Session:
        return self.chance.choice(self.sessions)

    async def _thread(self, name: str) -> str:
        return (await self._any().threads.create(messages=[{"role": "user", "content": name}])).id

    async def _start(self, name: str, **expected: Any) -> Run:
        thread_id = await self._thread(name)
        run = await self._any().runs.create(thread_id, assistant_id=self.assistant_id)
        self.expected.append(Expected(name, thread_id, run.id, **expected))
        return run

    async def _polled(self, name: str) -> None:
        """Two runs on one thread, each followed elsewhere."""
        run = await self._start(name)
        await self._any().runs.complete(run, polling=POLLING, deadline=_DEADLINE)
        again = f"{name}-again"
        await self._any().messages.create(run.thread_id, role="user", content=again)
        second = await self._any().runs.create(run.thread_id, assistant_id=self.assistant_id)
        self.expected.append(Expected(again, run.thread_id, second.id))
        await self._any().runs.complete(second, polling=POLLING, deadline=_DEADLINE)

    async def _streamed(self, name: str) -> None:
        thread_id = await self._thread(name)
        stream = self._any().runs.stream(thread_id, assistant_id=self.assistant_id, polling=POLLING, deadline=_DEADLINE)
        await self._read(name, thread_id, stream)

    async def _read(self, name: str, thread_id: str, stream: Any) -> None:
        texts: dict[str, str] = {}
        ends: list[str] = []
        async with stream as events:
            async for event in events:
                if isinstance(event, MessageDelta):
                    texts[event.id] = texts.get(event.id, "") + (event.text or "")
                elif isinstance(event, RunEnded):
                    ends.append(event.run.status)
            run = stream.run
        if all(each.run_id != run.id for each in self.expected):
            self.expected.append(Expected(name, thread_id, run.id))
        if list(texts.values()) != [answer_of(name)] or ends != ["completed"]:
            self.faults.append(f"{name}, {run.id}: its stream told {texts} and the ends {ends}")

    async def _tool(self, name: str) -> None:
        """A run whose tool is called at another server than the one that made it."""
        run = await self._start(name)
        async for event in self._any().runs.follow(run, polling=POLLING, deadline=_DEADLINE):
            run = event.run if isinstance(event, ActionRequired | RunEnded) else run
            if isinstance(event, ActionRequired):
                break
        assert calls_tool(name)
        outputs: Any = [{"tool_call_id": call.id, "output": output_of(name)} for call in run.pending_tool_calls]
        if self.chance.random() < 0.5:
            stream = self._any().runs.stream_tool_outputs(run, outputs, polling=POLLING, deadline=_DEADLINE)
            await self._read(name, run.thread_id, stream)
        else:
            run = await self._any().runs.submit_tool_outputs(run, outputs)
            await self._any().runs.complete(run, polling=POLLING, deadline=_DEADLINE)

    async def _cancelled(self, name: str) -> None:
        run = await self._start(name, may_be_cancelled=True)
        await anyio.sleep(self.chance.uniform(0, 4))
        try:
            await self._any().runs.cancel(run)
        except BadRequestError:  # it has ended, or the first attempt to cancel it was heard, and not its answer
            self.counts["cancelled too late, or twice"] += 1
        async for event in self._any().runs.follow(run, polling=POLLING, deadline=_DEADLINE):
            if isinstance(event, RunEnded):
                self.counts[f"cancelled: {event.run.status}"] += 1

    async def _updated(self, name: str) -> None:
        """Metadata of a run, changed here and there while it is executed."""
        run = await self._start(name)
        metadata: Mapping[str, str] = {}
        for number in range(4):
            await anyio.sleep(self.chance.uniform(0, 0.7))
            metadata = {"number": str(number)}
            await self._any().runs.update(run, metadata=metadata)
        self.expected.remove(Expected(name, run.thread_id, run.id))
        self.expected.append(Expected(name, run.thread_id, run.id, metadata=metadata))
        await self._any().runs.complete(run, polling=POLLING, deadline=_DEADLINE)

    async def _keyed(self, name: str) -> None:
        """The same requests at two servers at once, with one key, by a program without this library."""
        async with ClientSession(timeout=ClientTimeout(total=40)) as http:
            body = {"messages": [{"role": "user", "content": name}]}
            [thread] = await self._at_two(http, "/threads", body)
            run = {"assistant_id": self.assistant_id}
            [found] = await self._at_two(http, f"/threads/{thread}/runs", run)
            self.expected.append(Expected(name, thread, found))
            await self._poll(http, f"/threads/{thread}/runs/{found}")

    async def _at_two(self, http: ClientSession, path: str, body: Any) -> set[str]:
        key = uuid.uuid4().hex
        ids: set[str] = set()

        async def post(url: str) -> None:
            headers = {"Idempotency-Key": f'"{key}"'}
            while True:
                status, answer = await _ask(partial(http.post, url + path, json=body, headers=headers))
                if status == 200:
                    ids.add(answer["id"])
                    return
                if status not in (0, 409, 503):
                    raise AssertionError(f"{path} with a key: {status} {answer}")
                await anyio.sleep(0.3)

        async with anyio.create_task_group() as tasks:
            for url in self.chance.sample(list(self.urls), 2):
                tasks.start_soon(post, url)
        if len(ids) != 1:
            self.faults.append(f"one key made {ids} at {path}")
        return set(sorted(ids)[:1])

    async def _poll(self, http: ClientSession, path: str) -> None:
        with anyio.fail_after(_DEADLINE):
            while True:
                status, run = await _ask(partial(http.get, self.chance.choice(self.urls) + path))
                if status == 200 and run["status"] in ("completed", "failed", "cancelled", "expired", "incomplete"):
                    return
                assert status in (0, 200, 503), f"{path}: {status} {run}"
                await anyio.sleep(0.3)


async def _ask(request: Callable[[], Any]) -> tuple[int, Any]:
    """The status and the body of an answer; 0 if there is none."""
    try:
        async with request() as response:
            return response.status, await response.json(content_type=None)
    except (ClientError, TimeoutError) as error:
        return 0, str(error)
