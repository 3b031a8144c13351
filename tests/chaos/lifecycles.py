"""Whole lifecycles of runs over a faulty network, each judged by what the client says and what the server has.

A lifecycle may end with an error only if the caller can tell from it, by attribute, that the truth is open.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
from attrs import define, field, frozen

from openai_runs.batch import JobRetries, run_batch
from openai_runs.errors import BadRequestError, OpenAIRunsError
from openai_runs.events import ActionRequired
from openai_runs.following.polling import Polling
from openai_runs.models.run import Run
from openai_runs.server import LocalServer, PollHint
from openai_runs.session import Session
from openai_runs.stores import MemoryStore
from tests.chaos.causes import Raise, Settings, cause, describe, told
from tests.chaos.history import History, Sent
from tests.chaos.stories import CountingTools, backend, story
from tests.chaos.verdicts import LATE, SOUND, Seen, Verdict, bad_sequence, judge_end
from tests.chaos.watching import Watch, watching
from tests.engine.index import WordIndex
from tests.proxy import FaultyNetwork, Proxy

#: A server whose clients ask again at once.
AT_ONCE = PollHint(shortest=0.001, share=0.0, max_rate=1e9)
#: Seconds beyond a deadline, and for what has none: far more than is needed, far less than for ever.
_PATIENCE = 20.0
#: Seconds of a deadline that no lifecycle needs, be the machine busy.
_FAR = 10.0
#: Seconds that may pass after a deadline: five for one look and one cancellation, and one for a busy machine.
_AFTER_DEADLINE = 6.0
#: Seconds of silence after which a session gives up; the deadline must do so where there is one.
_QUICKLY, _SLOWLY = 0.05, 300.0


@frozen
class World:
    """A server that nothing is wrong with, and a session that goes straight to it."""

    server: LocalServer
    store: MemoryStore
    direct: Session
    assistant_id: str
    tools: CountingTools


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    tools, store = CountingTools(), MemoryStore()
    server = LocalServer(backend=backend(), store=store, files=WordIndex(), max_active_runs=100_000, poll_hint=AT_ONCE)
    async with server, server.session() as direct:
        assistant = await direct.assistants.create(model="scripted", tools=tools.toolbox().tools)
        yield World(server, store, direct, assistant.id, tools)


@define
class Lifecycle:
    """One lifecycle, all of it decided by its name.

    A patient caller sets a far deadline or none, tolerates outages and allows ten retries, and its endpoint honours
    idempotency keys.
    """

    world: World
    name: str
    is_patient: bool = False
    chance: random.Random = field(init=False)
    tools: CountingTools = field(init=False)
    mode: str = field(init=False)
    options: dict[str, Any] = field(init=False)
    network: FaultyNetwork = field(init=False)
    max_retries: int = field(init=False)
    has_keys: bool = field(init=False)
    job_retries: JobRetries | None = field(init=False)
    history: History = field(factory=History, init=False)

    def __attrs_post_init__(self) -> None:
        chance = self.chance = random.Random(self.name)
        self.tools = self.world.tools
        self.mode = chance.choice(list(_MODES))
        outage = 60.0 if self.is_patient else chance.choice((0.0, 60.0, 60.0))
        self.options = {
            "polling": Polling(first=0.001, longest=0.01, outage=outage),
            "on_exit": chance.choice(("leave", "cancel")),
        }
        self.max_retries = 10 if self.is_patient else chance.choice((0, 1, 2, 2, 4))
        self.has_keys = self.is_patient or chance.random() < 0.7
        # A failed run stays one, so that each job has one run.
        self.job_retries = chance.choice((None, JobRetries(codes=(), first=0.0)))
        may_stall: Callable[[str, str], bool] = lambda method, path: True  # noqa: E731  # one of several, and shorter than a function
        if self.is_patient:
            self.options["deadline"] = chance.choice((None, _FAR))
        elif chance.random() < 0.15:
            # A deadline covers no request that is sent before following begins, and none that cancels the run; nor the
            # caller's own submissions between two polls, which may look at the run as a poll does.
            self.options |= {"deadline": 0.15, "on_exit": "leave"}
            covers_start, is_by_hand = self.mode == "stream", self.mode == "polled by hand"
            may_stall = lambda method, path: (  # noqa: E731  # one of several
                covers_start if path.endswith("/runs") else method == "GET" and not is_by_hand
            )
        self.network = FaultyNetwork(self.name, may_stall=may_stall)

    @property
    def deadline(self) -> float | None:
        return self.options.get("deadline")

    @property
    def tolerates_outages(self) -> bool:
        return self.options["polling"].outage > 0

    async def run(self) -> list[Verdict]:
        """Live it, and judge it: a verdict for each job, and further ones for what is left."""
        jobs = [f"{self.name}-{number}" for number in range(4 if self.mode == "batch" else 1)]
        seen = {job: Seen(job) for job in jobs}
        verdicts = []
        watch = Watch()
        async with Proxy(self.world.server.url, self.network, honours_keys=self.has_keys) as proxy:
            timeout = _SLOWLY if self.deadline is not None and not self.is_patient else _QUICKLY
            async with proxy.session(timeout=timeout, max_retries=self.max_retries) as session:
                self.history.watch(session)
                threads = {job: await self._thread(job) for job in jobs}
                began = asyncio.get_running_loop().time()
                with anyio.move_on_after(_PATIENCE) as limit, watching(watch):
                    await asyncio.create_task(_MODES[self.mode](self, session, threads, seen))
                took = asyncio.get_running_loop().time() - began
                if limit.cancelled_caught:
                    verdicts.append(Verdict("past its deadline", f"no end within {_PATIENCE} s"))
                elif self.deadline is not None and self.mode != "batch" and took > self.deadline + _AFTER_DEADLINE:
                    verdicts.append(Verdict("past its deadline", f"took {took:.2f} s"))
                if left := await watch.left():
                    verdicts.append(Verdict("task left", repr(left)))
                if in_use := session._transport._sender._connections.http.connector._acquired:
                    verdicts.append(Verdict("connection left", repr(in_use)))
                await proxy.heal()
                self.history.is_over = True
                verdicts += await self._next_request(session)
        # Where connections were refused, the request may not have come as far as the proxy.
        asked_to_cancel = "refused" in self.network.chosen or any(
            request.endswith("/cancel") for request in proxy.requests
        )
        runs = await self._runs_by_job(jobs)
        for job, one in seen.items():
            verdicts.append(self._explained(one, await self._judge(one, runs[job])))
            follows = one.error is not None and one.known is not None and self.options["on_exit"] == "cancel"
            is_left = any(run.id == one.known.id and not run.status.is_terminal for run in runs[job] if one.known)
            if follows and not asked_to_cancel and is_left:
                verdicts.append(Verdict("not cancelled", f"{job}: {one.error!r}"))
        return verdicts

    def _explained(self, seen: Seen, verdict: Verdict) -> Verdict:
        """The verdict with the cause of a raise; without a cause, that is a defect."""
        if not verdict.kind.startswith("raised") or verdict.is_defect:
            return verdict
        error: Any = seen.error
        passed = self.deadline is not None and seen.raised_at >= (seen.counts_from or 0.0) + self.deadline
        settings = Settings(
            self.max_retries,
            self.has_keys,
            self.options["polling"].outage,
            by_hand="by hand" in self.mode,
            starts_left=self._starts_left(seen),
        )
        why = cause(error, self.history, settings, deadline_passed=passed)
        raised = Raise(
            verdict.kind,
            self.has_keys,
            *describe(error, self.history, self.network.faults),
            type(error).__name__,
            self.max_retries,
            self.tolerates_outages,
            why,
        )
        course = told(error, self.history, self.network.faults)
        said = f"{seen.job}, {raised.outcome}, {self.max_retries} retries: {course}: {error!r:.300}"
        if self.is_patient:
            return Verdict("raised, though the caller is patient", said, raised)
        kind = verdict.kind if why is not None else "raised, and could have done better"
        return Verdict(kind, said, raised)

    def _starts_left(self, seen: Seen) -> int:
        """How often a batch could have tried to start a run once more."""
        if self.mode != "batch" or self.job_retries is None or seen.known is not None:
            return 0
        return isinstance(seen.error, self.job_retries.errors) * (self.job_retries.attempts - seen.starts)

    async def _next_request(self, session: Session) -> list[Verdict]:
        """A session is of use after whatever happened. On a busy machine, the time for silence is short."""
        error: Exception | None = None
        for _ in range(20):
            try:
                await session.assistants.retrieve(self.world.assistant_id)
            except OpenAIRunsError as failed:
                error = failed
            else:
                return []
        return [Verdict("next request failed", repr(error))]

    async def _thread(self, job: str) -> str | None:
        """A thread for the job; some jobs bring their own."""
        if self.mode in ("stream", "batch") and self.chance.random() < 0.3:
            return None
        return (await self.world.direct.threads.create(messages=[{"role": "user", "content": job}])).id

    def _params(self, job: str, thread_id: str | None) -> dict[str, Any]:
        params: dict[str, Any] = {"assistant_id": self.world.assistant_id, "metadata": {"job": job}}
        if thread_id is None:
            params["thread"] = {"messages": [{"role": "user", "content": job}]}
        return params

    async def _runs_by_job(self, jobs: Iterable[str]) -> dict[str, list[Run]]:
        """The runs that the server has of each job, once they have come to rest."""
        runs: dict[str, list[Run]] = {job: [] for job in jobs}
        async for record in self.world.store.everything(Run):
            if (job := (record.value.metadata or {}).get("job")) in runs:
                runs[job].append(record.value)
        return {job: [await self._at_rest(run) for run in found] for job, found in runs.items()}

    async def _at_rest(self, run: Run) -> Run:
        async with aclosing(self.world.direct.runs.follow(run, polling=Polling(first=0.001, longest=0.01))) as events:
            async for event in events:
                if isinstance(event, ActionRequired):
                    break
        return event.run

    # How a program may live with its runs.

    async def _follow(self, session: Session, threads: Any, seen: dict[str, Seen]) -> None:
        (one,) = seen.values()
        try:
            thread_id = threads[one.job]
            one.known = await session.runs.create(thread_id, **self._params(one.job, thread_id))
            toolbox = self.tools.toolbox()
            one.begin()
            async with aclosing(session.runs.follow(one.known, toolbox=toolbox, **self.options)) as events:
                async for event in events:
                    one.note(event)
            one.is_over = True
        except Exception as error:
            one.fail(error)

    async def _complete(self, session: Session, threads: Any, seen: dict[str, Seen]) -> None:
        (one,) = seen.values()
        try:
            thread_id = threads[one.job]
            one.known = await session.runs.create(thread_id, **self._params(one.job, thread_id))
            one.begin()
            one.known = await session.runs.complete(one.known, toolbox=self.tools.toolbox(), **self.options)
        except Exception as error:
            one.fail(error)

    async def _stream(self, session: Session, threads: Any, seen: dict[str, Seen]) -> None:
        (one,) = seen.values()
        thread_id = threads[one.job]
        params = {**self._params(one.job, thread_id), "toolbox": self.tools.toolbox(), **self.options}
        stream = session.threads.stream_run(**params) if thread_id is None else session.runs.stream(thread_id, **params)
        one.begin()
        try:
            async with stream as events:
                async for event in events:
                    one.note(event)
            one.is_over = True
        except Exception as error:
            one.fail(error, stream)

    async def _by_hand(self, session: Session, threads: Any, seen: dict[str, Seen]) -> None:
        (one,) = seen.values()
        toolbox, thread_id = self.tools.toolbox(), threads[one.job]
        try:
            stream, outputs = session.runs.stream(thread_id, **self._params(one.job, thread_id), **self.options), ()
            while True:
                one.begin()
                async with stream as events:
                    one.accept(outputs)
                    async for event in events:
                        one.note(event)
                if not isinstance(one.statuses[-1], ActionRequired):
                    break
                outputs = await toolbox.answer(one.statuses[-1].tool_calls, run_id=one.known.id)
                stream = session.runs.stream_tool_outputs(one.known, outputs, **self.options)
                one.submitting = True
            one.is_over = True
        except Exception as error:
            one.fail(error, stream)

    async def _polled_by_hand(self, session: Session, threads: Any, seen: dict[str, Seen]) -> None:
        (one,) = seen.values()
        toolbox, thread_id = self.tools.toolbox(), threads[one.job]
        try:
            one.known = await session.runs.create(thread_id, **self._params(one.job, thread_id))
            one.begin()
            async with aclosing(session.runs.follow(one.known, **self.options)) as events:
                async for event in events:
                    one.note(event)
                    if isinstance(event, ActionRequired):
                        outputs = await toolbox.answer(event.tool_calls, run_id=event.run.id)
                        one.submitting = True
                        await session.runs.submit_tool_outputs(event.run, outputs)
                        one.accept(outputs)
            one.is_over = True
        except Exception as error:
            one.fail(error)

    async def _batch(self, session: Session, threads: Any, seen: dict[str, Seen]) -> None:
        jobs = [
            {**self._params(job, thread_id), **({} if thread_id is None else {"thread_id": thread_id})}
            for job, thread_id in threads.items()
        ]
        options = {**self.options, "toolbox": self.tools.toolbox()}
        for one in seen.values():
            one.begin()
        # An answer would be fetched with patience only if its job were tried again.
        options |= {"retries": self.job_retries, "fetch_messages": False}
        async with run_batch(session, jobs, workers=2, **options) as results:
            async for result in results:
                one = seen[result.job["metadata"]["job"]]
                assert not one.is_over, f"two results for {one.job}"
                one.known, one.is_over, one.starts = result.run, True, result.attempts
                if result.error is not None:
                    one.fail(result.error)

    # What must be true then.

    async def _judge(self, seen: Seen, runs: list[Run]) -> Verdict:
        calls = {key: count for key, count in self.tools.calls.items() if key.startswith(f"{seen.job}/")}
        if len(runs) > 1:
            path = f"/threads/{runs[0].thread_id}/runs"
            if not self.has_keys and self.history.count(path, self._is_late) >= len(runs) - 1:
                return Verdict(LATE)
            return Verdict("run twice", f"{seen.job}: {[run.id for run in runs]}")
        if any(count > 1 for count in calls.values()):
            return Verdict("tool called twice", f"{seen.job}: {calls}")
        if problem := bad_sequence(seen):
            return Verdict("wrong events", f"{seen.job}: {problem}")
        run = runs[0] if runs else None
        if (
            run is not None
            and run.status == "cancelled"
            and self.mode == "by hand"
            and (isinstance(seen.error, BadRequestError) or seen.is_over)
        ):
            return Verdict("cancelled between two streams", f"{seen.job}: {seen.error!r}")
        if run is not None and (problem := await self._bad_text(seen, run)):
            return Verdict("text differs", f"{seen.job}: {problem}")
        verdict = judge_end(seen, run, outputs_arrived=await self._outputs_arrived(seen))
        if verdict.kind == SOUND[0] and set(calls) != set(story(seen.job).calls):
            return Verdict("tool not called", f"{seen.job}: {calls}")
        return verdict

    def _is_late(self, sent: Sent) -> bool:
        return self.network.faults.get(sent.name) in ("late", "very late")

    async def _outputs_arrived(self, seen: Seen) -> bool:
        """Whether the server has outputs of which the caller does not know that it has them."""
        asked = seen.known if seen.submitting else getattr(seen.error, "run", None)
        if asked is None:
            return False
        waiting = {call.id for call in asked.pending_tool_calls} - seen.accepted
        steps = self.world.direct.run_steps.list(asked)
        return any(
            [
                call.function.output is not None
                async for step in steps
                for call in step.function_calls
                if call.id in waiting
            ]
        )

    async def _bad_text(self, seen: Seen, run: Run) -> str | None:
        """How the texts differ from the thread's: those of a run that was reported to its end must be all of it."""
        listing = self.world.direct.messages.list(run.thread_id, run_id=run.id, order="asc", limit=100)
        texts = {message.id: message.text async for message in listing}
        told = [text for text in story(seen.job).texts if text]
        if run.status.is_terminal and run.status not in ("cancelled", "cancelling") and list(texts.values()) != told:
            return f"the server has {list(texts.values())}, should have {told}"
        if self.mode in ("follow", "complete", "polled by hand", "batch"):
            return None
        if seen.is_over and seen.texts != {id: text for id, text in texts.items() if text}:
            return f"deltas {seen.texts}, thread {texts}"
        for id, text in seen.texts.items():
            if not texts.get(id, "").startswith(text):
                return f"deltas {text!r} of {id}, thread {texts.get(id)!r}"
        return None


_MODES: dict[str, Any] = {
    "follow": Lifecycle._follow,
    "complete": Lifecycle._complete,
    "stream": Lifecycle._stream,
    "by hand": Lifecycle._by_hand,
    "polled by hand": Lifecycle._polled_by_hand,
    "batch": Lifecycle._batch,
}


@define
class Lived:
    """What has become of many lifecycles."""

    outcomes: Counter[str] = field(factory=Counter)
    faults: Counter[str] = field(factory=Counter)  #: of the network
    raises: Counter[Raise] = field(factory=Counter)
    #: Where keys are honoured: how many ended as the server says, by the retries that the caller allows, and whether
    #: outages are tolerated.
    kept: Counter[tuple[int, bool]] = field(factory=Counter)
    defects: list[str] = field(factory=list)

    def note(self, lifecycle: Lifecycle, verdicts: list[Verdict]) -> None:
        self.outcomes.update(verdict.kind for verdict in verdicts)
        self.faults.update(lifecycle.network.chosen)
        self.raises.update(verdict.raised for verdict in verdicts if verdict.raised is not None)
        if lifecycle.has_keys:
            ended = sum(verdict.kind == SOUND[0] for verdict in verdicts)
            self.kept[lifecycle.max_retries, lifecycle.tolerates_outages] += ended
        self.defects += [f"{v.kind} ({lifecycle.mode}): {v.detail}" for v in verdicts if v.is_defect]


async def live(
    names: Iterable[str],
    note: Callable[[str, list[Verdict]], None] = lambda name, verdicts: None,
    *,
    is_patient: bool = False,
) -> Lived:
    """Live these lifecycles; for a patient caller, each error is a defect."""
    lived = Lived()
    async with world() as one_world:
        for name in names:
            lifecycle = Lifecycle(one_world, name, is_patient)
            verdicts = await lifecycle.run()
            lived.note(lifecycle, verdicts)
            note(name, verdicts)
    return lived
