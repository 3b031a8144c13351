"""`Schedule`: which job of a batch runs next, and whose result comes next. No I/O and no clock: times are passed in.

A job is *open* from when it is taken from the source until its result is handed out. An open job waits (for a worker,
for its thread, or for the time of its repetition), runs, or has ended and waits for its result to be handed out.
"""

import itertools
import math
from collections import deque
from heapq import heappop, heappush

from attrs import define, field


@define
class Schedule:
    """The jobs of a batch that are open, by their positions in the source, from 0."""

    workers: int  #: how many jobs may run at once; one whose result could be handed out counts, too
    window: int  #: how many jobs may be open at once
    ordered: bool = False  #: whether results are handed out in the order of the source
    taken: int = field(default=0, init=False)  #: jobs taken from the source so far
    is_exhausted: bool = field(default=False, init=False)  #: whether the source has no more jobs
    is_stopped: bool = field(default=False, init=False)  #: whether no job is to be taken or started any more
    is_paused: bool = field(default=False, init=False)  #: whether no job is to be taken or started for now
    _ready: list[int] = field(factory=list, init=False)  # a heap: the earliest job goes first
    _delayed: list[tuple[float, int]] = field(factory=list, init=False)  # a heap: when to repeat which job
    open: int = field(default=0, init=False)  #: how many jobs are open
    _running: set[int] = field(factory=set, init=False)
    _queues: dict[str, deque[int]] = field(factory=dict, init=False)  # of threads with an open job: who waits for it
    _queued: int = field(default=0, init=False)  # how many jobs wait for their threads
    _threads: dict[int, str] = field(factory=dict, init=False)  # of the open jobs that name a thread and have not ended
    _repeated: set[int] = field(factory=set, init=False)  # waiting jobs that have a result
    _ended: deque[int] = field(factory=deque, init=False)  # whose results may be handed out
    _early: set[int] = field(factory=set, init=False)  # which have ended before their turn
    _skipped: set[int] = field(factory=set, init=False)  # which were taken and will not be started
    _turn: int = field(default=0, init=False)  # with `ordered`: whose result is next

    @property
    def waiting(self) -> int:
        """How many jobs wait for a worker, for their thread, or to be repeated."""
        return len(self._ready) + len(self._delayed) + self._queued

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._running)

    @property
    def can_take(self) -> bool:
        """Whether another job is to be taken from the source."""
        is_free = len(self._ready) + len(self._running) + len(self._ended) < self.workers
        return is_free and self.open < self.window and not self.is_stopped and not self.is_paused

    @property
    def can_start(self) -> bool:
        """Whether `start` has a job, apart from those that wait for the time of their repetition."""
        return bool(self._ready) and len(self._running) + len(self._ended) < self.workers and not self.is_paused

    @property
    def has_result(self) -> bool:
        """Whether `hand_out` has a job."""
        return bool(self._ended)

    @property
    def is_idle(self) -> bool:
        """Whether no job runs, or ever will."""
        return (self.is_exhausted or self.is_stopped) and not self._running and not self.waiting

    @property
    def is_over(self) -> bool:
        """Whether there will be no further result."""
        return self.is_idle and not self.open

    @property
    def next_due(self) -> float:
        """When the next job is to be repeated; infinity if there is none."""
        return self._delayed[0][0] if self._delayed else math.inf

    def add(self, thread: str | None) -> int:
        """Add the next job of the source.

        Args:
            thread: The thread that the job names. Its jobs run one after another, in their order.

        Returns:
            The job's position.
        """
        index, self.taken = self.taken, self.taken + 1
        self.open += 1
        if self.is_stopped:  # it was on its way
            self._skip(index)
            return index
        if thread is not None:
            self._threads[index] = thread
            if (queue := self._queues.get(thread)) is not None:
                queue.append(index)
                self._queued += 1
                return index
            self._queues[thread] = deque()
        heappush(self._ready, index)
        return index

    def start(self, now: float) -> int | None:
        """The job to start now, which counts as running from here on; ``None`` if there is none."""
        while self.next_due <= now:
            heappush(self._ready, heappop(self._delayed)[1])
        if not self.can_start:
            return None
        index = heappop(self._ready)
        self._repeated.discard(index)
        self._running.add(index)
        return index

    def repeat(self, index: int, at: float, *, has_result: bool = True) -> None:
        """Have a job that runs wait until ``at``, and then for a worker; other jobs of its thread wait for it.

        Args:
            index: The job's position.
            at: The time.
            has_result: Whether it has the result of an attempt; otherwise it waits as if it had never run.
        """
        self._running.remove(index)
        if has_result:
            self._repeated.add(index)
        heappush(self._delayed, (at, index))

    def finish(self, index: int) -> None:
        """Note that a job that runs has ended: it has its result."""
        self._running.remove(index)
        if (thread := self._threads.get(index)) is not None:
            if queue := self._queues[thread]:
                heappush(self._ready, queue.popleft())
                self._queued -= 1
            else:
                del self._queues[thread]
        self._end(index)

    def hand_out(self) -> int | None:
        """The job whose result is handed out next, with which it is no longer open; ``None`` if there is none yet."""
        if not self._ended:
            return None
        self.open -= 1
        return self._ended.popleft()

    def stop(self) -> tuple[int, ...]:
        """Take and start no more jobs; those that run go on.

        Returns:
            The jobs that waited for their repetition: they have ended, with the result of their latest attempt. Others
            that waited will have no result.
        """
        self.is_stopped = True
        waiting = [*self._ready, *(index for _, index in self._delayed), *itertools.chain(*self._queues.values())]
        ended = tuple(sorted(self._repeated))
        self._queues = {self._threads[index]: deque() for index in self._running if index in self._threads}
        self._ready, self._delayed, self._queued = [], [], 0
        for index in sorted(waiting):
            (self._end if index in self._repeated else self._skip)(index)
        self._repeated.clear()
        return ended

    def _end(self, index: int) -> None:
        self._threads.pop(index, None)
        if self.ordered:
            self._early.add(index)
            self._take_turns()
        else:
            self._ended.append(index)

    def _skip(self, index: int) -> None:
        self.open -= 1
        self._threads.pop(index, None)
        if self.ordered:
            self._skipped.add(index)
            self._take_turns()

    def _take_turns(self) -> None:
        while True:
            if self._turn in self._early:
                self._early.remove(self._turn)
                self._ended.append(self._turn)
            elif self._turn in self._skipped:
                self._skipped.remove(self._turn)
            else:
                return
            self._turn += 1
