"""The API's operations on assistants, on the server's side of `openai_runs.services.assistants`."""

from functools import partial

from attrs import define

from openai_runs._evolving import evolve
from openai_runs.engine.deciding import decided
from openai_runs.engine.idempotency import IdempotencyKey, used_by
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import Body, changed_assistant, new_assistant, shown_assistant
from openai_runs.engine.thread_stores import ThreadStores, changes_of, then_of
from openai_runs.models.assistant import Assistant, Deleted
from openai_runs.models.page import Page
from openai_runs.stores.records import Delete, PageQuery, Record


@define
class Assistants:
    """The assistants of each owner."""

    _ledger: Ledger
    _stores: ThreadStores

    async def create(self, owner: str, body: Body, *, key: IdempotencyKey | None = None) -> Assistant:
        """Operation ``createAssistant``."""
        now = self._ledger.clock.now()
        body, store = await self._stores.for_assistant(owner, body)
        assistant = new_assistant(body, now)
        await self._ledger.commit(
            [Record(owner, assistant), *changes_of(store), *used_by(key, owner, assistant, now)],
            then=then_of(store),
        )
        return shown_assistant(assistant)

    async def retrieve(self, owner: str, assistant_id: str) -> Assistant:
        """Operation ``getAssistant``."""
        return shown_assistant((await self._ledger.find(Assistant, owner, assistant_id)).value)

    @decided
    async def update(self, owner: str, assistant_id: str, body: Body) -> Assistant:
        """Operation ``modifyAssistant``. Existing runs keep the values they were created with."""
        async with self._ledger.lock(assistant_id):
            record = await self._ledger.find(Assistant, owner, assistant_id)
            assistant = changed_assistant(record.value, body)
            await self._ledger.commit([Record(owner, assistant)])
        return shown_assistant(assistant)

    async def list(self, owner: str, query: PageQuery) -> Page[Assistant]:
        """Operation ``listAssistants``."""
        page = await self._ledger.page(Assistant, owner, query)
        return evolve(page, data=tuple(shown_assistant(assistant) for assistant in page.data))

    @decided
    async def delete(self, owner: str, assistant_id: str) -> Deleted:
        """Operation ``deleteAssistant``. Existing runs continue."""
        async with self._ledger.lock(assistant_id):
            await self._ledger.find(Assistant, owner, assistant_id)
            await self._ledger.commit(
                [Delete(Assistant, assistant_id)],
                then=partial(self._ledger.note_deletion, owner, "assistant", assistant_id),
            )
        return Deleted(id=assistant_id, object="assistant.deleted")
