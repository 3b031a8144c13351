"""`RunFeed`: tells the many followers of a session what their runs become, over one connection instead of by polls.

Only this library's server has such a feed, and says so in its responses. A run is *covered* once the connection has
shown it: from then on the connection tells each change, so nobody has to ask. Polling stays what it is for every other
run, and takes over whenever the connection is lost.
"""

import asyncio
import logging
from collections import OrderedDict
from typing import Final

import anyio
import msgspec
from attrs import define, field

from openai_runs import _wire
from openai_runs._http.retries import FAILURES, is_outage
from openai_runs._http.sse import Frame
from openai_runs._http.transport import Transport
from openai_runs.errors import ProtocolError
from openai_runs.following.changes_stream import RUN, ChangesStream
from openai_runs.following.polling import Polling
from openai_runs.lifecycle import CHANGING
from openai_runs.models.run import Run

_logger = logging.getLogger("openai_runs.following")

#: How many runs a session follows at least before it opens the feed, which tells all runs of its key.
_MANY: Final = 8
#: Seconds without a follower until the feed is closed.
_LINGER: Final = 10.0
#: Seconds between two polls of a covered run: they are for what the feed does not tell, such as a deleted thread.
_LONGEST: Final = 60.0
#: How many runs that nobody follows are kept in mind: what becomes of a new run may be told before it is followed.
_MOST_UNCLAIMED: Final = 1000
#: How soon the feed is opened again.
_REOPENING: Final = Polling()
#: The events of a run that changes by itself.
_CHANGING: Final = frozenset(RUN + status.encode() for status in CHANGING)


class _Id(msgspec.Struct):
    id: str


_read_id: Final = msgspec.json.Decoder(_Id).decode


@define(eq=False)
class News:
    """What the feed has told one follower, and it has not taken yet: the latest snapshot of its run."""

    _only_outcome: bool = False  # whether there is nothing to tell before something has to be done about the run
    _is_covered: bool = field(default=False, init=False)
    _snapshot: bytes | None = field(default=None, init=False)
    _waiting: "asyncio.Future[None] | None" = field(default=None, init=False)

    def tell(self, name: bytes, snapshot: bytes) -> None:
        """Pass on a snapshot: the name of its event, and its JSON."""
        self._is_covered = True
        if not (self._only_outcome and name in _CHANGING):
            self._snapshot = snapshot
            self._wake()

    def uncover(self) -> None:
        """The connection is lost: the follower has to poll again."""
        self._is_covered = False
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            _set(self._waiting)

    async def take(self, *, poll_after: float, until: float) -> bytes | None:
        """Wait for a snapshot that has not been taken.

        Args:
            poll_after: Seconds, after which it is time for a poll if the run is not covered.
            until: When to stop in any case, on the event loop's clock.

        Returns:
            The snapshot; ``None`` if it is time for a poll.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (snapshot := self._snapshot) is None:
            wait = max(poll_after, _LONGEST) if self._is_covered else poll_after
            end = min(began + wait, until)
            if end <= loop.time():
                return None
            self._waiting = loop.create_future()
            timer = loop.call_at(end, _set, self._waiting)
            try:
                await self._waiting
            finally:
                self._waiting = None
                timer.cancel()
        self._snapshot = None
        return snapshot


def _set(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


@define(eq=False)
class RunFeed:
    """The feed of one session. It is open while the session follows many runs."""

    _transport: Transport
    # By the run's ID. As a rule one each, for which a set takes several times as much.
    _followers: dict[str, tuple[News, ...]] = field(factory=dict, init=False)
    _number: int = field(default=0, init=False)  # of followers
    _is_refused: bool = field(default=False, init=False)
    _task: "asyncio.Task[None] | None" = field(default=None, init=False)  # reads the feed
    _unclaimed: OrderedDict[str, Frame] = field(factory=OrderedDict, init=False)
    _unused_since: float = field(default=0.0, init=False)

    @property
    def is_for_few(self) -> bool:
        """Whether the few followers may each wait for the answer of a poll, which takes a connection."""
        return self._task is None and self._number < _MANY and self.is_offered

    @property
    def is_offered(self) -> bool:
        """Whether the endpoint tells changes, and there are connections enough beside those that wait for them."""
        return self._transport.tells_changes and self._transport.max_connections >= _MANY

    @property
    def is_open(self) -> bool:
        """Whether the feed is open, or being opened."""
        return self._task is not None

    def join(self, run_id: str, *, only_outcome: bool = False) -> News:
        """Begin to follow a run; see `leave`.

        Args:
            run_id: The run.
            only_outcome: Whether to tell nothing while the run changes by itself.
        """
        news = News(only_outcome)
        self._followers[run_id] = (*self._followers.get(run_id, ()), news)
        self._number += 1
        if (told := self._unclaimed.pop(run_id, None)) is not None:
            news.tell(*told)
        self._open_if_wanted()
        return news

    def leave(self, run_id: str, news: News) -> None:
        """Stop following a run."""
        if others := tuple(each for each in self._followers[run_id] if each is not news):
            self._followers[run_id] = others
        else:
            del self._followers[run_id]
        self._number -= 1
        self._unused_since = anyio.current_time()

    def read(self, snapshot: bytes) -> Run | None:
        """Make a run of a snapshot; ``None`` if it does not fit, of which a poll will tell more."""
        try:
            return _wire.load(snapshot, Run, strict=self._transport.strict)
        except ProtocolError:
            return None

    def _open_if_wanted(self) -> None:
        if self._task is None and self._number >= _MANY and self.is_offered and not self._is_refused:
            self._task = self._transport.in_background(self._read_while_used())

    async def _read_while_used(self) -> None:
        """Read the feed, and open it again when the connection is lost."""
        failures = 0
        try:
            while self._is_used():
                opened_at = anyio.current_time()
                try:
                    await self._read()
                except FAILURES as error:
                    if not is_outage(error):
                        raise
                    _logger.info("the feed of runs cannot be opened, so they are polled: %s", error)
                failures = 0 if anyio.current_time() - opened_at > _REOPENING.longest else failures + 1
                await anyio.sleep(_REOPENING.delay(failures))
        except Exception as error:  # of any kind: the caller's `api_key` function, too, may raise it
            self._is_refused = True
            _logger.info("there is no feed of runs, so they are polled: %s", error)
        finally:
            self._task = None

    async def _read(self) -> None:
        """Open the feed, and read it until the connection is lost, or nobody has followed a run for a while."""
        changes = await ChangesStream.open(self._transport)
        try:
            while (frames := await changes.read()) is not None:
                for frame in frames:
                    self._tell(frame)
                if not self._is_used():
                    return
            _logger.info("the feed of runs is lost, and they are polled until it is open: %s", changes.how_it_ended)
        finally:
            changes.close()
            self._unclaimed.clear()
            for followers in self._followers.values():
                for news in followers:
                    news.uncover()

    def _tell(self, frame: Frame) -> None:
        name, snapshot = frame
        if not name.startswith(RUN):
            return
        try:
            run_id = _read_id(snapshot).id
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ProtocolError("the feed of runs has an event without a run") from None
        if (followers := self._followers.get(run_id)) is not None:
            for news in followers:
                news.tell(name, snapshot)
            return
        self._unclaimed[run_id] = frame
        self._unclaimed.move_to_end(run_id)
        if len(self._unclaimed) > _MOST_UNCLAIMED:
            self._unclaimed.popitem(last=False)

    def _is_used(self) -> bool:
        return self._number > 0 or anyio.current_time() - self._unused_since < _LINGER
