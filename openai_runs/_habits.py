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
_SUBMIT: Final = "run = await session.runs.submit_tool_outputs(run, outputs)"
_COMPLETE: Final = "await session.runs.complete(run)"

SESSION: Final[Mapping[str, str]] = {
    "beta": "leave it out: session.assistants, session.threads, session.messages, session.runs, session.run_steps",
}
FILES: Final[Mapping[str, str]] = {
    "retrieve_content": "write `await session.files.content(file_id).read()`",
    "wait_for_processing": "write `await session.files.retrieve(file_id)`, whose `status` tells",
}
THREADS: Final[Mapping[str, str]] = {
    "create_and_run_poll": f"write `{_THREAD_CREATE}`, then `{_COMPLETE}`",
    "create_and_run_stream": "write `async with session.threads.stream_run(…) as events`",
    "messages": "write session.messages",
    "runs": "write session.runs",
}
RUNS: Final[Mapping[str, str]] = {
    "create_and_poll": f"write `{_CREATE}`, then `{_COMPLETE}`",
    "create_and_stream": "write `async with session.runs.stream(thread_id, …) as events`",
    "poll": f"write `{_COMPLETE}`, or iterate over session.runs.follow(run)",
    "steps": "write session.run_steps",
    "submit_tool_outputs_and_poll": f"write `{_SUBMIT}`, then `{_COMPLETE}`; or pass a toolbox to complete()",
    "submit_tool_outputs_stream": "write `async with session.runs.stream_tool_outputs(run, outputs) as events`",
}


def missing(instead: Mapping[str, str]) -> Callable[[Any, str], NoReturn]:
    """A ``__getattr__`` whose error says what to write instead of some attributes."""

    def __getattr__(self: Any, name: str) -> NoReturn:  # noqa: N807  # it becomes one
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        hint = instead.get(name)
        raise AttributeError(f"{text}: {hint}" if hint else text, name=name, obj=self)

    return __getattr__
