"""How a scripted model answers from what file search has found: it quotes and cites. No I/O, and no understanding."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from openai_runs.backends.search_prompt import SEARCH_PARAMETERS, passages_in
from openai_runs.models.run_step import RunStep
from openai_runs.models.tool import Function

_SENTENCE: Final = re.compile(r"[^.!?\n]+(?:[.!?](?!\s)[^.!?\n]*)*[.!?]?")
_WORD: Final = re.compile(r"\w{3,}")
_MOST_SENTENCES: Final = 200  # of a passage
_LONGEST: Final = 300  # characters of a quotation


def is_search(function: Function) -> bool:
    """Whether a function is the one that stands for file search."""
    return function.parameters == SEARCH_PARAMETERS


def cited(rounds: Iterable[RunStep], containing: str) -> Sequence[str]:
    """The mark of the first passage with these words, else of the best one; none if nothing was found."""
    outputs = [call.function.output or "" for step in rounds for call in step.function_calls]
    passages = [passage for output in outputs for passage in passages_in(output)]
    return [mark for mark, text in passages if containing in text][:1] or [mark for mark, _ in passages][:1]


def quoted(output: str, asked: str) -> str:
    """The sentence in an output that shares most words with a question, and the mark of its passage."""
    words = set(_WORD.findall(asked.lower()))
    best, most = output.strip(), -1
    for mark, text in passages_in(output):
        for found in _SENTENCE.findall(text)[:_MOST_SENTENCES]:
            sentence = found.strip()
            shared = len(words.intersection(_WORD.findall(sentence.lower())))
            if shared > most and sentence:
                best, most = f"{sentence[:_LONGEST]} {mark}", shared
    return best
