"""`SearchIndex`: what keeps the chunks of files, and finds them again; and what goes in and comes out."""

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_TERMS: Final = 64  # of a query: each is looked up by itself
_LONGEST_TERM: Final = 64  # characters

_words: Final = re.compile(r"\w+").findall

#: English words that say nothing about a question. They are left out unless there is no other word.
_STOP_WORDS: Final = frozenset(
    _words(
        "a about after all also am an and any are as at be because been before being between both but by can "
        "could did do does doing down during each few for from further had has have having he her here hers him "
        "his how i if in into is it its itself just me more most my no nor not of off on once only or other our "
        "ours out over own s same she should so some such t than that the their theirs them then there these they "
        "this those through to too under until up us very was we were what when where which while who whom whose "
        "why will with would you your yours"
    )
)


@frozen(kw_only=True)
class Vectors:
    """Vectors of length 1, the rows of a matrix of float32, and which model has made them."""

    label: str
    matrix: "NDArray[np.float32]" = field(eq=False, repr=False)


@frozen(kw_only=True)
class NewFile:
    """A file for the index."""

    store_id: str
    file_id: str
    filename: str
    chunks: Sequence[str] = field(repr=False)
    vectors: Vectors | None = None  #: one for each chunk


@frozen(kw_only=True)
class Question:
    """What is searched for, and where."""

    store_ids: Sequence[str]
    terms: Sequence[str]  #: see `terms_of`
    vector: Vectors | None = None  #: with one row
    #: By vector store, the files to search in; ``None``: all of them.
    file_ids: Mapping[str, Collection[str]] | None = None


@frozen(kw_only=True)
class Hit:
    """A chunk that was found."""

    store_id: str
    file_id: str
    filename: str
    index: int  #: which chunk of its file, from 0 on
    text: str = field(repr=False)
    score: float  #: 0 to 1


class SearchIndex(Protocol):
    """Keeps chunks by vector store and file."""

    async def add(self, file: NewFile) -> int:
        """Add all chunks of a file or, if that fails, none. A file that is there already is replaced.

        Returns:
            How many bytes it takes.
        """
        ...

    async def remove(self, store_id: str, file_id: str) -> bool:
        """Remove a file; whether it was there."""
        ...

    async def remove_store(self, store_id: str) -> None:
        """Remove all files of a vector store."""
        ...

    async def chunks(self, store_id: str, file_id: str) -> Sequence[str]:
        """The chunks of a file in their order; none if it is not there."""
        ...

    async def file_ids(self, store_id: str) -> Collection[str]:
        """The files of a vector store."""
        ...

    def everything(self) -> AsyncIterator[NewFile]:
        """All files of all vector stores, as they were added, in that order; for copies."""
        ...

    async def search(self, question: Question, *, limit: int, threshold: float = 0.0) -> Sequence[Hit]:
        """The best hits with a score of at least ``threshold``, the best first."""
        ...


async def copy_index(source: SearchIndex, target: SearchIndex) -> int:
    """Add all files of an open index to another one.

    Returns:
        How many there are.
    """
    number = 0
    async for file in source.everything():
        await target.add(file)
        number += 1
    return number


def terms_of(query: str) -> Sequence[str]:
    """The words of a query that are searched for: in lower case, each once."""
    words = dict.fromkeys(word[:_LONGEST_TERM] for word in _words(query.lower()))
    told = [word for word in words if word not in _STOP_WORDS]
    return (told or list(words))[:_MOST_TERMS]
