"""`Listing`: lists that the server sends in pages."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Protocol, TypeVar

from openai_runs import _habits
from openai_runs._http.overrides import Overrides
from openai_runs._http.transport import Transport
from openai_runs.errors import ProtocolError
from openai_runs.models.page import Page


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


ItemT = TypeVar("ItemT", bound=_HasId)


class Listing(Generic[ItemT]):
    """The result of a service's ``list``: iterate over all items, or fetch them all, or one page.

    ``async for`` fetches a page when the items of the previous one are used up, and holds no connection in between. A
    listing may be iterated any number of times; each iteration fetches the pages again.
    """

    def __init__(
        self,
        transport: Transport,
        page_type: type[Page[ItemT]],
        path: str,
        ids: Mapping[str, str],
        query: Mapping[str, Any],
        include: Sequence[str] = (),
        overrides: Overrides | None = None,
    ) -> None:
        self._transport: Final = transport
        self._page_type: Final = page_type
        self._path: Final = path
        self._ids: Final = ids
        self._overrides: Final = overrides
        self._query: Final = {**query, "include[]": include} if include else query
        transport.url(path, **ids)  # raises for a bad ID here rather than at the first item

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.LISTING)

        def __await__(self) -> NoReturn:
            raise TypeError(
                "a list is not awaited: write `async for item in ….list(…)`, or `await ….list(…).to_list()` for all "
                "items, or `await ….list(…).page()` for one page"
            )

        def __iter__(self) -> NoReturn:
            raise TypeError(
                "a list is fetched while you iterate: write `async for item in ….list(…)`, or "
                "`await ….list(…).to_list()`"
            )

    async def page(self) -> Page[ItemT]:
        """Fetch one page: the first, or the one after ``after``.

        Raises:
            NotFoundError: There is no such thread or run.
        """
        return await self._fetch(self._query)

    async def to_list(self) -> list[ItemT]:
        """Fetch all items, however many pages they take. Where there may be very many, iterate instead.

        Raises:
            NotFoundError: There is no such thread or run.
        """
        return [item async for item in self]

    async def __aiter__(self) -> AsyncGenerator[ItemT, None]:
        query = dict(self._query)
        ends = {query.get("after")}  # the last IDs of all pages so far
        while True:
            page = await self._fetch(query)
            if not page.data:
                return
            last = page.data[-1].id  # not page.last_id, which some endpoints get wrong
            if last in ends:
                after = query.get("after")
                how = "with it again" if last == after else f"with {last!r}, as an earlier page did"
                raise ProtocolError(f"the page after {after!r} ends {how}: the server ignores `after`")
            for item in page.data:
                yield item
            if not page.has_more:
                return
            ends.add(last)
            query["after"] = last

    async def _fetch(self, query: Mapping[str, Any]) -> Page[ItemT]:
        url = self._transport.url(self._path, query, **self._ids)
        return await self._transport.request("GET", url, self._page_type, overrides=self._overrides)
