"""The API's operations on messages, on the server's side of `openai_runs.services.messages`."""

from attrs import define

from openai_runs.engine.deciding import decided
from openai_runs.engine.errors import ApiError
from openai_runs.engine.executor import Executor
from openai_runs.engine.guard import Guard, too_many_messages
from openai_runs.engine.idempotency import IdempotencyKey, used_by
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import Body, new_message, with_metadata
from openai_runs.engine.thread_stores import ThreadStores, changes_with, then_of
from openai_runs.models.assistant import Deleted
from openai_runs.models.message import Message, MessageStatus
from openai_runs.models.page import Page
from openai_runs.models.thread import Thread
from openai_runs.stores.records import Delete, PageQuery, Record


@define
class Messages:
    """The messages of each thread."""

    _ledger: Ledger
    _executor: Executor
    _stores: ThreadStores
    _guard: Guard

    @decided
    async def create(self, owner: str, thread_id: str, body: Body, *, key: IdempotencyKey | None = None) -> Message:
        """Operation ``createMessage``. Refused while a run is active, as the hosted API does."""
        async with self._ledger.lock(thread_id):
            thread = (await self._ledger.find(Thread, owner, thread_id)).value
            if (run_id := self._executor.active_run(thread_id)) is not None:
                raise ApiError(400, f"Can't add messages to {thread_id} while a run {run_id} is active.")
            await check_message_limit(self._ledger, thread_id, 1, self._guard.most_messages(owner))
            now = self._ledger.clock.now()
            message = new_message(body, thread_id, now)
            await self._guard.check_bytes(owner, [message])
            thread, store = await self._stores.for_messages(owner, thread, [body])
            await self._ledger.commit(
                [Record(owner, message), *changes_with(owner, thread, store), *used_by(key, owner, message, now)],
                then=then_of(store),
            )
        return message

    async def retrieve(self, owner: str, thread_id: str, message_id: str) -> Message:
        """Operation ``getMessage``."""
        return (await self._ledger.find_in_thread(Message, owner, thread_id, message_id)).value

    @decided
    async def update(self, owner: str, thread_id: str, message_id: str, body: Body) -> Message:
        """Operation ``modifyMessage``; also while a run is active."""
        async with self._ledger.lock(thread_id):
            record = await self._ledger.find_in_thread(Message, owner, thread_id, message_id)
            message = with_metadata(record.value, body)
            await self._ledger.commit([Record(owner, message)])
        return message

    async def list(self, owner: str, thread_id: str, query: PageQuery, run_id: str | None = None) -> Page[Message]:
        """Operation ``listMessages``, of the whole thread or of one run."""
        await self._ledger.find(Thread, owner, thread_id)
        return await self._ledger.page(Message, thread_id, query, part=run_id)

    @decided
    async def delete(self, owner: str, thread_id: str, message_id: str) -> Deleted:
        """Operation ``deleteMessage``; also while a run is active, but not the message that it is writing."""
        async with self._ledger.lock(thread_id):
            record = await self._ledger.find_in_thread(Message, owner, thread_id, message_id)
            if record.value.status == MessageStatus.IN_PROGRESS:
                message = f"Can't delete message {message_id} while run {record.value.run_id} is writing it."
                raise ApiError(400, message)
            await self._ledger.commit([Delete(Message, message_id)])
        return Deleted(id=message_id, object="thread.message.deleted")


async def check_message_limit(ledger: Ledger, thread_id: str, more: int, most: int, param: str | None = None) -> None:
    """Check that a thread can take more messages. Called under its lock.

    Raises:
        ApiError: 400: it would have more than ``most``.
    """
    if not more:
        return
    number = more + await ledger.store.count_messages(thread_id, most - more + 1)
    if number > most:
        raise too_many_messages(number, most, param, thread_id)
