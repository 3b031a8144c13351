"""What people write who know openai-python or another library, and what to write here instead; errors say so."""

import difflib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final, NoReturn, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
ClassT = TypeVar("ClassT", bound=type)

#: By the parameter. The options of one request are missing only where many are sent, in `follow` and `complete`.
PARAMETERS: Final[Mapping[str, str]] = {
    "additional_messages": 'on a new thread, write thread={"messages": [{"role": "user", "content": …}]}',
    "event_handler": "iterate over the stream instead: `async with session.runs.stream(…) as events`",
    "extra_body": "pass it to the method that sends the request, such as create()",
    "extra_headers": "for all requests, write Session(default_headers=…)",
    "extra_query": "for all requests, write Session(default_query=…)",
    "message": 'a run takes additional_messages=[{"role": …, "content": …}], on a new thread thread={"messages": […]}',
    "poll_interval_ms": "write polling=Polling(first=…, longest=…), in seconds",
    "stream": "for a stream, use session.runs.stream(), stream_tool_outputs() or session.threads.stream_run()",
    "timeout": "deadline=… limits following or streaming a run, Session(timeout=…) each request",
}

_CREATE: Final = "run = await session.runs.create(…)"
_THREAD_CREATE: Final = "run = await session.threads.create_and_run(…)"
_MESSAGE_CREATE: Final = "write `await session.messages.create(thread_id, role=…, content=…)`"
_SUBMIT: Final = "run = await session.runs.submit_tool_outputs(run, outputs)"
_COMPLETE: Final = "await session.runs.complete(run)"

_NO_STEP_CHANGES: Final = "a run makes its steps, and they cannot be changed: retrieve and list show them"
_UPLOAD_TO_STORE: Final = "write `await session.vector_stores.files.upload_and_poll(vector_store_id, path)`"

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
    "steps": "write session.run_steps",
    "beta": "leave it out: session.assistants, session.threads, session.messages, session.runs, session.run_steps",
}
_DUMP: Final = "write `openai_runs.dump(…)` of it: the JSON as it came, as a dict"
_DUMP_JSON: Final = "write `json.dumps(openai_runs.dump(…))` of it"
MODELS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("model_dump", "to_dict", "dict"), _DUMP),
    **dict.fromkeys(("model_dump_json", "to_json", "json"), _DUMP_JSON),
}
#: Of a list that is not fetched yet.
LISTING: Final[Mapping[str, str]] = {
    name: f"write `(await ….list(…).page()).{name}` for one page, or iterate over all: `async for item in ….list(…)`"
    for name in ("data", "has_more", "first_id", "last_id")
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
RUN_STEPS: Final[Mapping[str, str]] = {
    "get": "write `await session.run_steps.retrieve(thread_id=…, run_id=…, step_id=…)`",
    "create": _NO_STEP_CHANGES,
    "update": _NO_STEP_CHANGES,
    "modify": _NO_STEP_CHANGES,
    "poll": f"write `{_COMPLETE}`, or iterate over session.runs.follow(run)",
}
VECTOR_STORES: Final[Mapping[str, str]] = {
    "get": "write `await session.vector_stores.retrieve(vector_store_id)`",
    "modify": "write session.vector_stores.update",
    "query": "write `await session.vector_stores.search(vector_store_id, query=…)`",
    **dict.fromkeys(
        ("create_and_poll", "poll", "wait"),
        "write `store = await session.vector_stores.create(…)`, then "
        "`await session.vector_stores.file_batches.create_and_poll(store.id, file_ids=…)`, which waits until the files "
        "have been read",
    ),
    **dict.fromkeys(("add", "add_file", "upload", "upload_file", "upload_and_poll"), _UPLOAD_TO_STORE),
    **dict.fromkeys(
        ("add_files", "upload_files", "batches"),
        "write session.vector_stores.file_batches, such as its upload_and_poll",
    ),
}
VECTOR_STORE_FILES: Final[Mapping[str, str]] = {
    "get": "write `await session.vector_stores.files.retrieve(vector_store_id=…, file_id=…)`",
    "modify": "write session.vector_stores.files.update",
    "add": "write `await session.vector_stores.files.create(vector_store_id, file_id=…)`",
    "upload": _UPLOAD_TO_STORE,
    "wait": "write `await session.vector_stores.files.poll(file)`",
    "remove": "write `await session.vector_stores.files.delete(file)`, or session.files.delete for the file itself",
    "retrieve_content": "write `await session.vector_stores.files.content(file)`",
}
VECTOR_STORE_FILE_BATCHES: Final[Mapping[str, str]] = {
    "get": "write `await session.vector_stores.file_batches.retrieve(vector_store_id=…, batch_id=…)`",
    "add": "write `await session.vector_stores.file_batches.create(vector_store_id, file_ids=…)`",
    "upload": "write `await session.vector_stores.file_batches.upload_and_poll(vector_store_id, files)`",
    "wait": "write `await session.vector_stores.file_batches.poll(batch)`",
    "list": "write session.vector_stores.file_batches.list_files(batch), which lists the files of one",
    "files": "write session.vector_stores.file_batches.list_files(batch)",
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

#: For a stream that has ended since its run requires outputs, and whose ``tools`` were a `Toolbox`.
TOOLBOX_AS_TOOLS: Final = (
    "tools=… tells the model of the functions; pass the Toolbox as toolbox=…, too, to answer calls"
)
#: By the name at the top of the package.
HOMES: Final[Mapping[str, str]] = {
    "LocalServer": "openai_runs.server",
    "Telemetry": "openai_runs.telemetry",
    "Timeline": "openai_runs.models.notebook",
}
#: Of the session and all its services.
_EVERYWHERE: Final[Mapping[str, str]] = {
    "with_options": "the methods take timeout=…, extra_headers=…, extra_query=…, extra_body=…; or make a Session",
    **dict.fromkeys(
        ("with_raw_response", "with_streaming_response"),
        "there are no raw responses: call the method itself, whose errors have `status` and `request_id`",
    ),
}
#: By the model whose ID is given alone.
BY_ID: Final[Mapping[str, str]] = {
    "Run": "; `await session.runs.find(run_id)` needs no thread, at this library's server"
}
LIST_RUNS: Final = {"thread_id": "write session.runs.list_all() for the runs on all threads, at this library's server"}

NOT_SYNCHRONOUS: Final = "a session is asynchronous: write `async with Session(…) as session:`"
STREAM_AWAITED: Final = (
    "a stream is not awaited: write `async with session.runs.stream(…) as events:`, and in it "
    "`async for event in events:`"
)
BATCH_ITERATED: Final = "a batch is asynchronous: write `async for result in batch:`"
JOB: Final = 'a job is a dict: write RunJob(assistant_id=…, thread={"messages": [{"role": "user", "content": …}]})'

#: Of methods that wait until files have been read.
FILE_POLLING: Final[Mapping[str, str]] = {
    "poll_interval_ms": PARAMETERS["poll_interval_ms"],
    **dict.fromkeys(("timeout", "max_wait"), "write deadline=…, the seconds to wait at most"),
    "max_concurrency": "leave it out: files are uploaded one after another",
    "chunk_size": "write chunking_strategy=…",
}

#: By what people call the parameters of something; a ``*`` stands for arguments by position.
_RATES: Final = {
    "requests_per_minute": ("rpm", "requests", "max_requests", "max_requests_per_minute", "rate", "limit", "calls"),
    "tokens_per_minute": ("tpm", "tokens", "max_tokens", "max_tokens_per_minute"),
}
_PER_MINUTE: Final = {habit: f"write {name}=…" for name, habits in _RATES.items() for habit in habits} | {
    "requests_per_second": "write requests_per_minute=…, sixty times as many",
    "rps": "write requests_per_minute=…, sixty times as many",
}
_IN_SESSION: Final = "write Session(rate_limits=RateLimits({}=…))"
_ON_SESSION: Final = {habit: _IN_SESSION.format(name) for name, habits in _RATES.items() for habit in (name, *habits)}
RATE_LIMITS: Final[Mapping[str, str]] = {
    **_PER_MINUTE,
    "polls": "write polls_per_second=…",
    "*": "takes names only: write RateLimits(requests_per_minute=…)",
}
SHARED_LIMITS: Final[Mapping[str, str]] = {
    **_PER_MINUTE,
    "runs": "write runs_per_minute=…",
    "*": "takes names only: write SharedLimits(requests_per_minute=…)",
}
POLLING: Final[Mapping[str, str]] = {
    **dict.fromkeys(("interval", "poll_interval", "every", "delay"), "write first=… and longest=…, in seconds"),
    "poll_interval_ms": "write first=… and longest=…, in seconds",
    **dict.fromkeys(("max_interval", "max_delay", "maximum"), "write longest=…"),
    **dict.fromkeys(("backoff", "multiplier"), "write factor=…"),
    **dict.fromkeys(
        ("timeout", "deadline"), "pass deadline=… to what follows the run; outage=… is the patience with it"
    ),
    "*": "takes names only: write Polling(first=…, longest=…), in seconds",
}
JOB_RETRIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("max_retries", "retries", "max_attempts", "tries"), "write attempts=…, which counts the first one"
    ),
    **dict.fromkeys(("delay", "wait", "initial_delay"), "write first=…, in seconds"),
    **dict.fromkeys(("max_delay", "max_wait"), "write longest=…, in seconds"),
    **dict.fromkeys(("backoff", "multiplier"), "write factor=…"),
    "*": "takes names only: write JobRetries(attempts=…)",
}
TOOLBOX: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("*", "tools", "functions"), "begins empty: write `toolbox = Toolbox()`, then `toolbox.tool(function)`"
    ),
    **dict.fromkeys(("workers", "concurrency", "max_workers"), "write max_concurrency=…"),
}
SESSION_OPTIONS: Final[Mapping[str, str]] = {
    **_ON_SESSION,
    "http_client": "a session has its own connections: timeout=…, max_connections=…; HTTPS_PROXY names a proxy",
    "headers": "write default_headers=…",
    "query": "write default_query=…",
    **dict.fromkeys(
        ("token", "azure_ad_token", "azure_ad_token_provider"), "write api_key=…, also for a function that returns one"
    ),
    **dict.fromkeys(("azure_endpoint", "url", "host", "endpoint"), "write base_url=…"),
    "api_version": 'write default_query={"api-version": …}',
    "retries": "write max_retries=…",
}
BATCH: Final[Mapping[str, str]] = {
    **_ON_SESSION,
    **dict.fromkeys(("concurrency", "max_concurrency", "max_workers", "num_workers", "limit"), "write workers=…"),
    "rate_limits": "write Session(rate_limits=…)",
    "timeout": "write deadline=…, the seconds for each attempt of a job",
    "tools": "write toolbox=…",
    **dict.fromkeys(("max_retries", "attempts", "max_attempts"), "write retries=JobRetries(attempts=…)"),
    **dict.fromkeys(("max_tokens", "budget", "token_budget"), "write budget_tokens=…"),
    "return_exceptions": "leave it out: each failure is the `error` of its job's result",
}


def refuse_positional(values: tuple[object, ...], instead: str) -> None:
    """Say how to write a call whose parameters came by position.

    Raises:
        TypeError: There are such values.
    """
    if values:
        raise TypeError(f"too many arguments by position: write {instead}; nothing was sent")


def refusing(text: str) -> Callable[..., NoReturn]:
    """A special method, such as ``__enter__``, whose error says what to write instead."""

    def refuse(*_: object) -> NoReturn:
        raise TypeError(text)

    return refuse


def needing(instead: Mapping[str, str]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Have a method's error for a parameter that it does not get say what to write.

    Args:
        instead: What to write, by the parameter that must be there.
    """

    def decorate(method: Callable[P, T]) -> Callable[P, T]:
        places = {name: place for place, name in enumerate(inspect.signature(method).parameters)}

        @wraps(method)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            for name, hint in instead.items():
                if len(args) <= places[name] and name not in kwargs:
                    raise TypeError(f"{method.__name__}() needs {name}: {hint}")
            return method(*args, **kwargs)

        return checked

    return decorate


def missing(instead: Mapping[str, str]) -> Callable[[Any, str], NoReturn]:
    """A ``__getattr__`` whose error says what to write instead of some attributes."""
    hints = {**_EVERYWHERE, **instead}

    def __getattr__(self: Any, name: str) -> NoReturn:  # noqa: N807  # it becomes one
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        hint = hints.get(name)
        raise AttributeError(f"{text}: {hint}" if hint else text, name=name, obj=self)

    return __getattr__


def explained(instead: Mapping[str, str]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Have a function's error for a parameter that it does not have say what to write.

    Args:
        instead: What to write, by the habit; ``*`` for arguments by position.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        parameters = inspect.signature(function).parameters.values()
        names = {each.name: each for each in parameters if each.name != "self"}
        positions = sum(each.kind is not inspect.Parameter.KEYWORD_ONLY for each in parameters)
        called = f"{function.__qualname__.removesuffix('.__init__')}()"

        def check(args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
            if len(args) > positions and "*" in instead:
                raise TypeError(f"{called} {instead['*']}")
            if not kwargs.keys() <= names.keys():
                name = next(name for name in kwargs if name not in names)
                close = difflib.get_close_matches(name, names, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
                raise TypeError(f"{called} has no parameter {name!r}: {instead.get(name, hint)}")

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            check(args, kwargs)
            return function(*args, **kwargs)

        @wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:  # what calls it sees a coroutine function
            check(args, kwargs)
            return await cast("Callable[P, Awaitable[Any]]", function)(*args, **kwargs)

        return cast("Callable[P, T]", awaited) if inspect.iscoroutinefunction(function) else checked

    return decorate


def explained_init(instead: Mapping[str, str]) -> Callable[[ClassT], ClassT]:
    """The same for a class, whose ``__init__`` is replaced."""

    def decorate(cls: ClassT) -> ClassT:
        setattr(cls, "__init__", explained(instead)(vars(cls)["__init__"]))  # noqa: B010  # mypy refuses the assignment
        return cls

    return decorate
