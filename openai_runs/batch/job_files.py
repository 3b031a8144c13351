"""`JobFile`: the jobs of a file, one after another. A line that is no job is reported, and the others are read."""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from attrs import frozen

from openai_runs import _wire
from openai_runs._wire.parameters import check_params
from openai_runs.batch.jobs import RunJob
from openai_runs.batch.message_template import MessageTemplate
from openai_runs.errors import ProtocolError, snippet
from openai_runs.models.completion_window import CompletionWindow
from openai_runs.models.message import MessageCreateParams
from openai_runs.models.run import RunCreateParams, ThreadRunCreateParams

#: Characters of a cell; Python's csv module by itself allows 131,072, and a message may have 256,000.
_LONGEST_CELL: Final = 64_000_000
_BOM: Final = b"\xef\xbb\xbf"


class _NoAssistantError(ValueError):
    """A job names no assistant."""


class _UnknownFieldError(TypeError):
    """A line has a field that is no parameter."""


_Fields: TypeAlias = Mapping[str, Any]
#: The number of a line, and its fields, or why it has none.
_Line: TypeAlias = tuple[int, _Fields | ValueError]


@frozen
class BadLine:
    """A line that is no job."""

    number: int  #: from 1; of a CSV row that has several lines, the first
    problem: str
    lacks_assistant: bool = False  #: whether it would be one with an assistant for all jobs
    has_unknown_field: bool = False  #: whether it has one that is no parameter: with a template, it would be data

    def __str__(self) -> str:
        return f"line {self.number}: {self.problem}"


@frozen(kw_only=True)
class JobFile:
    """Jobs as JSON lines, or as CSV if the file's name ends in ``.csv``.

    Without a template, each JSON line is a `RunJob`, and may have a ``message``, the text of the user's message, beside
    its fields. With a template, and in CSV, a line is data: ``key``, ``thread_id`` and ``assistant_id`` are the job's,
    the message is the filled template or, without one, the field ``message``, and other fields have no meaning.

    A job without a ``key`` has its line's number as its key.
    """

    path: Path
    assistant_id: str | None = None  #: of the jobs that name none
    template: MessageTemplate | None = None
    completion_window: CompletionWindow | None = None  #: of the jobs that have none of their own, not even ``null``

    def read(self, on_bad_line: Callable[[BadLine], None]) -> Iterator[RunJob]:
        """Read the jobs. Of each only the key is kept, because a second job with the same key is a bad line.

        Args:
            on_bad_line: Is called with each line that is no job.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is CSV, and its first line does not name the columns that are needed.
        """
        lines = self._rows() if self._is_csv else self._json_lines()
        keys: dict[str, int] = {}
        for number, fields in lines:
            try:
                known = _known(fields)
                key = _key(known.get("key", number), keys)
                job = self._job(known, key)
                keys[key] = number
            except (ProtocolError, TypeError, ValueError) as error:
                lacks_assistant = isinstance(error, _NoAssistantError)
                on_bad_line(BadLine(number, str(error), lacks_assistant, isinstance(error, _UnknownFieldError)))
                continue
            yield job

    @property
    def batch_name(self) -> str:
        """The name of a durable batch of these jobs: the same one for the same file and assistant."""
        path = str(self.path.resolve())
        return path if self.assistant_id is None else f"{path} {self.assistant_id}"

    def uses_tools_of(self, assistant_id: str) -> bool:
        """Whether a job may call the tools that an assistant has; of a pipe, which is read once, whether one could.

        Raises:
            OSError: As for `read`. Also `ValueError`.
        """
        if not self.path.is_file():
            return self._is_csv or self.template is not None
        return any(
            job["assistant_id"] == assistant_id and job.get("tools") is None and job.get("tool_choice") != "none"
            for job in self.read(lambda _: None)
        )

    @property
    def _is_csv(self) -> bool:
        return self.path.suffix.lower() == ".csv"

    def _job(self, fields: _Fields, key: str) -> RunJob:
        job: dict[str, Any] = {name: value for name, value in fields.items() if name not in ("key", "message")}
        message = fields.get("message")
        if self._is_csv or self.template is not None:
            job = {name: job[name] for name in ("assistant_id", "thread_id") if job.get(name)}
        if self.template is not None:
            message = self.template.fill(fields)
        if self.assistant_id is not None:
            job.setdefault("assistant_id", self.assistant_id)
        if self.completion_window is not None:
            job.setdefault("completion_window", self.completion_window)
        _check(job)
        if message is not None or "message" in fields:
            _add_message(job, message)
        return cast(RunJob, {**job, "key": key})

    def _json_lines(self) -> Iterator[_Line]:
        with self.path.open("rb") as file:  # bytes, which are split on \n only: U+2028, say, may stand in JSON strings
            for number, line in enumerate(file, 1):
                text = line.removeprefix(_BOM) if number == 1 else line
                if text.strip():
                    yield number, _object(text)

    def _rows(self) -> Iterator[_Line]:
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
        # Bytes that are not UTF-8 become lone surrogates, so that only their own row is bad.
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file, strict=True)
            columns = self._columns(rows)
            while True:
                number = rows.line_num + 1
                try:
                    row = next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield number, ValueError(f"not CSV: {error}")
                    continue
                if row:
                    yield number, _cells(columns, row)

    def _columns(self, rows: Iterator[list[str]]) -> list[str]:
        try:
            columns = next(rows, [])
        except csv.Error as error:
            raise ValueError(f"the first line of {self.path} is not CSV: {error}") from None
        needed = {"message"} if self.template is None else self.template.fields
        if missing := sorted(needed - set(columns)):
            without = (
                "" if self.template else ', and no --message, such as "Summarise: {text}", says what it is made of'
            )
            raise ValueError(
                f"{self.path} has no column {', '.join(missing)}{without}; its first line names "
                f"{', '.join(columns) or 'none'}"
            )
        if len(set(columns)) < len(columns):
            raise ValueError(f"{self.path} has two columns of one name: {', '.join(columns)}")
        return columns


def _object(line: bytes) -> _Fields | ValueError:
    try:
        value = _wire.decode(line)
    except ProtocolError as error:
        return ValueError(str(error))
    return value if isinstance(value, dict) else ValueError(f"not a JSON object: {snippet(line)}")


def _cells(columns: list[str], row: list[str]) -> _Fields | ValueError:
    if len(row) != len(columns):
        return ValueError(f"it has {len(row)} cells, and there are {len(columns)} columns")
    if any("\udc80" <= character <= "\udcff" for cell in row if not cell.isascii() for character in cell):
        return ValueError("it is not UTF-8")
    return dict(zip(columns, row, strict=True))


def _known(fields: _Fields | ValueError) -> _Fields:
    if isinstance(fields, ValueError):
        raise fields
    return fields


def _key(value: Any, earlier: Mapping[str, int]) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"the key must be a text or a whole number: got {value!r}")
    key = str(value)
    if key in earlier:
        raise ValueError(f"line {earlier[key]} has the key {key!r}, too")
    return key


def _check(job: dict[str, Any]) -> None:
    """Check all parameters now: a wrong one is named with its line, and costs no request."""
    params = {name: value for name, value in job.items() if name not in ("thread_id", "idempotency_key")}
    if "assistant_id" not in job:
        raise _NoAssistantError("it names no assistant, and there is none for all jobs")
    for name in ("thread_id", "idempotency_key"):
        if name in job and not (isinstance(job[name], str) and job[name]):
            raise ValueError(f"{name} must be a text: got {job[name]!r}")
    kind: Any = RunCreateParams if "thread_id" in job else ThreadRunCreateParams
    try:
        check_params(params, kind)
    except TypeError as error:
        if params.keys() <= kind.__annotations__.keys():
            raise
        raise _UnknownFieldError(str(error)) from None


def _add_message(job: dict[str, Any], text: Any) -> None:
    """Put the user's message behind those that the job has."""
    if isinstance(text, str) and not text.strip():
        raise ValueError("the message is empty")
    message = {"role": "user", "content": text}
    check_params(message, MessageCreateParams)
    if "thread_id" in job:
        job["additional_messages"] = [*(job.get("additional_messages") or ()), message]
    else:
        thread = job.get("thread", {})
        job["thread"] = {**thread, "messages": [*(thread.get("messages") or ()), message]}
