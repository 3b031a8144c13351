"""How a job has ended, as JSON: snapshots of runs as the API writes them, errors as their class, text and facts."""

import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from openai_runs import _wire, errors
from openai_runs.errors import OpenAIRunsError, RunError
from openai_runs.models.message import Message
from openai_runs.models.run import Run, Usage

#: Facts of errors that are not kept: the run is kept by itself, and a tool call stands in its run's steps.
_NOT_KEPT: Final = frozenset({"run", "tool_call"})


@frozen
class Outcome:
    """How a job has ended."""

    run: Run | None = None  #: the latest snapshot
    error: Exception | None = None  #: why it did not complete
    messages: tuple[Message, ...] | None = None  #: the assistant's, if they were fetched
    usage: Usage | None = None  #: the tokens of all tries
    tries: int = 0  #: how often the job was tried

    @property
    def state(self) -> str:
        """``completed`` or ``failed``."""
        return "completed" if self.error is None else "failed"

    @property
    def own_usage(self) -> Usage | None:
        """The tokens of the latest run."""
        return None if self.run is None else self.run.usage

    def columns(self) -> dict[str, Any]:
        """The values of the columns in which it is kept."""
        return {
            "state": self.state,
            "run": _encode(self.run),
            "error": None if self.error is None else json.dumps(dump_error(self.error)),
            "messages": _encode(self.messages),
            "usage": _encode(self.usage),
            "tries": self.tries,
            "tokens": 0 if self.usage is None else self.usage.total_tokens,
        }


def _encode(value: object) -> str | None:
    return None if value is None else _wire.encode(value).decode()


def load_outcome(row: Any) -> Outcome:
    """Read an outcome from its columns."""
    run = None if row.run is None else _wire.load(row.run, Run, strict=False)
    answer = None if row.messages is None else json.loads(row.messages)
    return Outcome(
        run,
        None if row.error is None else load_error(json.loads(row.error), run),
        None if answer is None else tuple(_wire.load(message, Message, strict=False) for message in answer),
        None if row.usage is None else _wire.load(row.usage, Usage, strict=False),
        row.tries,
    )


def dump_error(error: Exception) -> dict[str, Any]:
    """An error as JSON, without what is no JSON."""
    state = {name: value for name, value in vars(error).items() if name not in _NOT_KEPT and _is_json(value)}
    return {"class": type(error).__name__, "text": _text_of(error), "state": state}


def load_error(data: Mapping[str, Any], run: Run | None) -> Exception:
    """The error; one of a class that is not this library's becomes an `OpenAIRunsError` that names the class."""
    cls = getattr(errors, data["class"], None)
    if not (isinstance(cls, type) and issubclass(cls, OpenAIRunsError)) or (issubclass(cls, RunError) and run is None):
        return OpenAIRunsError(f"{data['class']}: {data['text']}")
    error: OpenAIRunsError = cls.__new__(cls)  # their constructors have each their own arguments
    error.args = (data["text"],)
    vars(error).update(data["state"])
    if isinstance(error, RunError) and run is not None:
        error.run = run
    return error


def _is_json(value: Any) -> bool:
    match value:
        case None | bool() | int() | float() | str():
            return True
        case dict():
            return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
        case list() | tuple():
            return all(map(_is_json, value))
        case _:
            return False


def _text_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception as problem:  # `__str__` is the caller's code as well
        return f"(its text cannot be read: {type(problem).__name__})"
