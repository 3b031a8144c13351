"""What people write who know openai-python, and what to write here instead; the errors for it say so."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

#: By the parameter. The options of one request are missing only where many are sent, in `follow` and `complete`.
PARAMETERS: Final[Mapping[str, str]] = {
    "event_handler": "iterate over the stream instead: `async with session.runs.stream(…) as events`",
    "extra_body": "pass it to the method that sends the request, such as create()",
    "extra_headers": "for all requests, write Session(default_headers=…)",
    "extra_query": "for all requests, write Session(default_query=…)",
    "poll_interval_ms": "write polling=Polling(first=…, longest=…), in seconds",
    "stream": "for a stream, use session.runs.stream(), stream_tool_outputs() or session.threads.stream_run()",
    "timeout": "deadline=… limits following or streaming a run, Session(timeout=…) each request",
}

_CREATE: Final = "run = await session.runs.create(…)"
_THREAD_CREATE: Final = "run = await session.threads.create_and_run(…)"
_MESSAGE_CREATE: Final = "write `await session.messages.create(thread_id, role=…, content=…)`"
_SUBMIT: Final = "run = await session.runs.submit_tool_outputs(run, outputs)"
_COMPLETE: Final = "await session.runs.complete(run)"

_OTHER_APIS: Final = "this library speaks the Assistants API; for other APIs, use openai-python beside it"
_CLOSE: Final = "write `async with Session(…) as session:`, which closes it at its end"

SESSION: Final[Mapping[str, str]] = {
    "chat": f"{_OTHER_APIS}; here, a run writes the answer: `run = await session.runs.create(…)`",
    "responses": f"{_OTHER_APIS}; here, a run writes the answer: `run = await session.runs.create(…)`",
    "completions": _OTHER_APIS,
    "embeddings": _OTHER_APIS,
    "models": _OTHER_APIS,
    "close": _CLOSE,
    "aclose": _CLOSE,
    "beta": "leave it out: session.assistants, session.threads, session.messages, session.runs, session.run_steps",
}
MESSAGES: Final[Mapping[str, str]] = {
    "get": "write `await session.messages.retrieve(message)`, or thread_id=… and message_id=… in place of the message",
    "modify": "write session.messages.update",
    "add": _MESSAGE_CREATE,
    "send": _MESSAGE_CREATE,
}
ASSISTANTS: Final[Mapping[str, str]] = {
    "get": "write `await session.assistants.retrieve(assistant_id)`",
    "modify": "write session.assistants.update",
}
FILES: Final[Mapping[str, str]] = {
    "get": "write `await session.files.retrieve(file_id)`",
    "upload": 'write `await session.files.create(path, purpose="assistants")`',
    "download": "write `await session.files.content(file_id).read()`",
    "retrieve_content": "write `await session.files.content(file_id).read()`",
    "wait_for_processing": "write `await session.files.retrieve(file_id)`, whose `status` tells",
}
THREADS: Final[Mapping[str, str]] = {
    "get": "write `await session.threads.retrieve(thread_id)`",
    "modify": "write session.threads.update",
    "create_and_run_poll": f"write `{_THREAD_CREATE}`, then `{_COMPLETE}`",
    "create_and_run_stream": "write `async with session.threads.stream_run(…) as events`",
    "messages": "write session.messages",
    "runs": "write session.runs",
}
RUNS: Final[Mapping[str, str]] = {
    "get": "write `await session.runs.retrieve(run)`, or thread_id=… and run_id=… in place of the run",
    "modify": "write session.runs.update",
    "start": f"write `{_CREATE}`",
    "wait": f"write `{_COMPLETE}`",
    "create_and_poll": f"write `{_CREATE}`, then `{_COMPLETE}`",
    "create_and_stream": "write `async with session.runs.stream(thread_id, …) as events`",
    "poll": f"write `{_COMPLETE}`, or iterate over session.runs.follow(run)",
    "steps": "write session.run_steps",
    "submit_tool_outputs_and_poll": f"write `{_SUBMIT}`, then `{_COMPLETE}`; or pass a toolbox to complete()",
    "submit_tool_outputs_stream": "write `async with session.runs.stream_tool_outputs(run, outputs) as events`",
}


def refuse_positional(values: tuple[object, ...], instead: str) -> None:
    """Say how to write a call whose parameters came by position.

    Raises:
        TypeError: There are such values.
    """
    if values:
        raise TypeError(f"only the first argument comes by position: write {instead}; nothing was sent")


def missing(instead: Mapping[str, str]) -> Callable[[Any, str], NoReturn]:
    """A ``__getattr__`` whose error says what to write instead of some attributes."""

    def __getattr__(self: Any, name: str) -> NoReturn:  # noqa: N807  # it becomes one
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        hint = instead.get(name)
        raise AttributeError(f"{text}: {hint}" if hint else text, name=name, obj=self)

    return __getattr__
