"""`CitationScanner`: finds the marks of citations in a model's text while it comes, and annotates them. No I/O.

A mark such as ``【1:0†notes.md】`` cites the first result of the run's second search; what stands after the dagger is
for readers. Marks stay in the text, as in the hosted API, where programs replace an annotation's text by a footnote. A
mark that cites nothing stays, too, without an annotation.
"""

import re
from collections.abc import Mapping
from typing import Final

from attrs import define, field

from openai_runs.backends.model_backend import AnnotationAdded, BackendEvent, TextChunk
from openai_runs.models.message import CitedFile, FileCitation
from openai_runs.models.run_step import FileSearchResult

_NAME: Final = r"†[^【】\n]{0,200}"
#: Some models leave the name out.
_MARK: Final = re.compile(rf"【([0-9]{{1,4}}):([0-9]{{1,4}})(?:{_NAME})?】")
_BEGUN: Final = re.compile(rf"【(?:[0-9]{{0,4}}|[0-9]{{1,4}}:[0-9]{{0,4}}|[0-9]{{1,4}}:[0-9]{{1,4}}{_NAME})\Z")


@define
class CitationScanner:
    """Reads the text of one message after another."""

    sources: Mapping[tuple[int, int], FileSearchResult]  #: by the numbers of the search and of the result
    has_cited: bool = field(default=False, init=False)
    _held: str = field(default="", init=False)  # what may become a mark
    _length: int = field(default=0, init=False)  # of the text part so far, in characters

    def feed(self, text: str) -> list[BackendEvent]:
        """Read a piece of text. What may be the beginning of a mark is held back until it is clear."""
        text, events = self._held + text, list[BackendEvent]()
        start = 0
        for mark in _MARK.finditer(text):
            source = self.sources.get((int(mark[1]), int(mark[2])))
            if source is not None:
                events += [*self._report(text[start : mark.end()]), self._citation(mark[0], source)]
                start = mark.end()
        begun = _BEGUN.search(text, start)
        end = len(text) if begun is None else begun.start()
        self._held = text[end:]
        return [*events, *self._report(text[start:end])]

    def flush(self) -> list[BackendEvent]:
        """Report what is held back: no text comes after it, or something else comes before more text."""
        held, self._held = self._held, ""
        return self._report(held)

    def end_part(self) -> list[BackendEvent]:
        """End a part of the message, or the message: places are counted anew."""
        events = self.flush()
        self._length = 0
        return events

    def _report(self, text: str) -> list[BackendEvent]:
        self._length += len(text)
        return [TextChunk(text)] if text else []

    def _citation(self, mark: str, source: FileSearchResult) -> AnnotationAdded:
        self.has_cited = True
        return AnnotationAdded(
            FileCitation(
                text=mark,
                file_citation=CitedFile(file_id=source.file_id),
                start_index=self._length - len(mark),
                end_index=self._length,
            )
        )
