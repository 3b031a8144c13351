"""The threads in a store: through the server that has it, or in the store itself."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define

from openai_runs.cli.audit_option import make_audit_log
from openai_runs.cli.store_options import operator_file_of

if TYPE_CHECKING:
    from openai_runs.engine.ledger import Ledger
    from openai_runs.server.operator_client import OperatorClient
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore


class StoredThreads(Protocol):
    """All threads of all owners."""

    def listed(self) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        """All of them, as `openai_runs.server.operator_site.threads_in` has them."""
        ...

    async def delete(self, thread_id: str) -> bool:
        """Delete one; whether it was there."""
        ...


@define
class _AtServer:
    _server: "OperatorClient"

    @asynccontextmanager
    async def listed(self) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
        async with self._server.asking("GET", "threads") as answer:
            yield (json.loads(line) async for line in answer)

    async def delete(self, thread_id: str) -> bool:
        return bool((await self._server.answer("DELETE", "threads", thread_id))["deleted"])


@define
class _InStore:
    _ledger: "Ledger"

    def listed(self) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        from openai_runs.server.operator_site import threads_in

        return aclosing(threads_in(self._ledger.store))

    async def delete(self, thread_id: str) -> bool:
        from openai_runs.engine.audit import By
        from openai_runs.engine.removal import remove_thread
        from openai_runs.models.thread import Thread

        record = await self._ledger.store.get(Thread, thread_id)
        return record is not None and await remove_thread(self._ledger, record.owner, thread_id, by=By.OPERATOR)


@asynccontextmanager
async def threads_of(
    kept: "SQLiteStore | PostgresStore", audit_log: str | None = None
) -> AsyncGenerator[StoredThreads]:
    """Connect to the server that has a store or, if there is none, open the store.

    Args:
        kept: The store, which is not open.
        audit_log: Where deletions are noted if no server does so.
    """
    from openai_runs.engine.clock import SystemClock
    from openai_runs.engine.ledger import Ledger
    from openai_runs.server.operator_client import reaching

    async with reaching(operator_file_of(kept)) as server:
        if server is not None:
            yield _AtServer(server)
            return
        audit = None if audit_log is None else make_audit_log(audit_log)
        async with kept as store:
            yield _InStore(Ledger(store, SystemClock(), is_open=True, audit=audit))
