"""A server process that is killed again and again while runs are followed, and an auditor who finds every fault."""

import random
from collections import Counter
from collections.abc import Callable

import anyio
import anyio.abc
from attrs import define, field

from openai_runs import ActionRequired, NotFoundError, Polling, RunEnded, Session, Toolbox, TransportError
from openai_runs.models.run_step import ToolCalls
from tests.serving import Server

POLLING = Polling(first=0.02, longest=0.5, outage=120)


@define
class Torture:
    """Keeps ``active`` runs going, kills the server ``kills`` times, lets everything end, looks at what is there."""

    server: Server  #: or what is to be killed in its place
    kills: int
    active: int
    seed: int
    note: Callable[[str], None] = lambda text: None
    over: bool = False
    ended: Counter[str] = field(factory=Counter)
    asked: dict[str, set[frozenset[str]]] = field(factory=dict)  #: by run, the sets of call IDs it asked for
    threads: dict[str, str] = field(factory=dict)  #: of each run
    faults: list[str] = field(factory=list)

    async def run(self) -> None:
        chance = random.Random(self.seed)
        self.server.start()
        try:
            async with Session(self.server.url, "key", max_retries=40, timeout=30) as session:
                toolbox = Toolbox()

                @toolbox.tool
                async def look_up(word: str) -> str:
                    """Look a word up."""
                    await anyio.sleep(chance.uniform(0, 0.1))
                    return "found"

                assistant = await session.assistants.create(model="scripted", tools=toolbox.tools)
                async with anyio.create_task_group() as tasks:
                    for _ in range(self.active):
                        tasks.start_soon(self._keep_running, session, assistant.id, toolbox)
                    for number in range(self.kills):
                        await self._wait_until_up(session, assistant.id)
                        await anyio.sleep(chance.uniform(0, 0.6))
                        self.server.kill()
                        self.server.start()
                        self.note(f"killed {number + 1} times, {self.ended.total()} runs ended")
                    self.over = True
                await self._audit(session)
        finally:
            self.server.kill()

    async def _wait_until_up(self, session: Session, assistant_id: str) -> None:
        await session.assistants.retrieve(assistant_id)

    async def _keep_running(self, session: Session, assistant_id: str, toolbox: Toolbox) -> None:
        while not self.over:
            try:
                thread = await session.threads.create(messages=[{"role": "user", "content": "What is a run?"}])
            except TransportError:  # in doubt: an empty thread more is no harm
                continue
            run = await session.runs.create(thread.id, assistant_id=assistant_id)
            self.threads[run.id] = thread.id
            async for event in session.runs.follow(run, toolbox=toolbox, polling=POLLING, deadline=300):
                if isinstance(event, ActionRequired):
                    self.asked.setdefault(run.id, set()).add(frozenset(call.id for call in event.tool_calls))
                if isinstance(event, RunEnded):
                    self.ended[event.run.status] += 1

    async def _audit(self, session: Session) -> None:
        for run_id, thread_id in self.threads.items():
            runs = [run.id async for run in session.runs.list(thread_id)]
            if runs != [run_id]:
                self.faults.append(f"{thread_id} has runs {runs}, should have {run_id} alone")
            messages = [m async for m in session.messages.list(thread_id, order="asc")]
            if [m.role for m in messages] != ["user", "assistant"] or not messages[-1].text:
                self.faults.append(f"{thread_id} has messages {messages}")
            steps = [step async for step in session.run_steps.list(thread_id=thread_id, run_id=run_id, order="asc")]
            if [step.type for step in steps] != ["tool_calls", "message_creation"]:
                self.faults.append(f"{run_id} has steps {steps}")
            called = [step.step_details.tool_calls for step in steps if isinstance(step.step_details, ToolCalls)]
            if any(call.function.output != "found" for calls in called for call in calls):
                self.faults.append(f"{run_id} lost an output: {called}")
            if len(self.asked.get(run_id, set())) != 1:
                self.faults.append(f"{run_id} asked for {self.asked.get(run_id)}")
        try:
            await session.threads.retrieve("thread_never_made")
            self.faults.append("a thread is there that nobody made")
        except NotFoundError:
            pass
