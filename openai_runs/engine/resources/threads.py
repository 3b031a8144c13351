"""The API's operations on threads, on the server's side of `openai_runs.services.threads`."""

from functools import partial

from attrs import define

from openai_runs._finishing import finish
from openai_runs._slices import in_slices
from openai_runs.engine.api_events import ApiEvent, Subscriber
from openai_runs.engine.audit import By
from openai_runs.engine.deciding import decided
from openai_runs.engine.errors import ApiError
from openai_runs.engine.executor import Executor
from openai_runs.engine.guard import Guard
from openai_runs.engine.idempotency import IdempotencyKey, used_by
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import Body, changed_thread, new_messages, new_run, new_thread
from openai_runs.engine.removal import remove_thread
from openai_runs.engine.thread_stores import ThreadStores, changes_of, in_turn, then_of
from openai_runs.engine.use import Use
from openai_runs.models.assistant import Assistant, Deleted
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.stores.records import Change, PageQuery, Record


@define
class Threads:
    """The threads of each owner."""

    _ledger: Ledger
    _executor: Executor
    _stores: ThreadStores
    _guard: Guard
    _use: Use
    _expires_after: float

    async def create(self, owner: str, body: Body, *, key: IdempotencyKey | None = None) -> Thread:
        """Operation ``createThread``."""
        now = self._ledger.clock.now()
        self._guard.check_messages(owner, len(body.get("messages", ())), "messages")
        body, store = await self._stores.for_thread(owner, body)
        thread = new_thread(body, now)
        messages = await in_slices(new_messages(body.get("messages", ()), thread.id, now))
        await self._guard.check_bytes(owner, [thread, *messages])
        created: list[Change] = [Record(owner, value) for value in (thread, *messages)]
        await self._ledger.commit(
            [*created, *changes_of(store), *used_by(key, owner, thread, now)], then=then_of(store)
        )
        return thread

    async def retrieve(self, owner: str, thread_id: str) -> Thread:
        """Operation ``getThread``."""
        return (await self._ledger.find(Thread, owner, thread_id)).value

    async def list(self, owner: str, query: PageQuery) -> Page[Thread]:
        """Beyond the API: the owner's threads."""
        return await self._ledger.page(Thread, owner, query)

    @decided
    async def update(self, owner: str, thread_id: str, body: Body) -> Thread:
        """Operation ``modifyThread``."""
        async with self._ledger.lock(thread_id):
            thread = changed_thread((await self._ledger.find(Thread, owner, thread_id)).value, body)
            await self._ledger.commit([Record(owner, thread)])
        return thread

    @decided
    async def delete(self, owner: str, thread_id: str) -> Deleted:
        """Operation ``deleteThread``: its messages, runs and run steps go with it.

        An active run is cancelled first. If deletion were refused, as adding a message is, a program that cleans up
        would have to wait until the run has expired. Idempotency keys that its requests came with stay for their day:
        a late repetition of such a request must not create anything again.
        """
        await self._delete(owner, thread_id, By.REQUEST)
        return Deleted(id=thread_id, object="thread.deleted")

    async def remove(self, thread_id: str) -> bool:
        """Beyond the API: delete a thread for the operator, whoever owns it; whether there is one."""
        record = await self._ledger.store.get(Thread, thread_id)
        if record is None:
            return False
        try:
            await self._delete(record.owner, thread_id, By.OPERATOR)
        except ApiError:  # its owner has deleted it just now
            return False
        return True

    async def _delete(self, owner: str, thread_id: str, by: By) -> None:
        async with self._ledger.lock(thread_id):
            await self._ledger.find(Thread, owner, thread_id)
            await self._executor.end_now(owner, thread_id)
            spent = await self._use.spent_in(owner, thread_id)
            await finish(remove_thread(self._ledger, owner, thread_id, by=by, also=spent))

    @decided
    async def create_and_run(
        self, owner: str, body: Body, subscriber: Subscriber | None = None, *, key: IdempotencyKey | None = None
    ) -> Run:
        """Operation ``createThreadAndRun``."""
        async with self._guard.new_run(owner):
            return await self._create_and_run(owner, body, subscriber, key)

    async def _create_and_run(
        self, owner: str, body: Body, subscriber: Subscriber | None, key: IdempotencyKey | None
    ) -> Run:
        assistant = (await self._ledger.find(Assistant, owner, body["assistant_id"])).value
        now = self._ledger.clock.now()
        thread_body: Body = body.get("thread") or {}
        self._guard.check_messages(owner, len(thread_body.get("messages", ())), "thread.messages")
        thread_body, store = await self._stores.for_thread(owner, thread_body)
        thread = new_thread(thread_body, now)
        messages = await in_slices(new_messages(thread_body.get("messages", ()), thread.id, now))
        await self._guard.check_bytes(owner, [thread, *messages])
        run, state = new_run(body, thread, assistant, now, self._expires_after)
        self._executor.refuse_unsupported(run, state)
        async with self._ledger.lock(thread.id, is_new=True):
            queue = self._executor.queueing(owner, run, state, is_read=subscriber is not None)
            created: list[Change] = [Record(owner, value) for value in (thread, *messages, run, state)]
            await self._ledger.commit(
                [*created, *queue.changes, *changes_of(store), *used_by(key, owner, run, now)],
                run.id,
                [
                    ApiEvent("thread.created", thread),
                    ApiEvent("thread.run.created", run),
                    ApiEvent("thread.run.queued", run),
                ],
                subscriber,
                then=partial(in_turn, then_of(store), queue.then),
            )
        return run
