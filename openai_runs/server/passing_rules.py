"""What of a request and its answer is passed on to a model's endpoint: which paths, headers and queries. No I/O.

Requests are passed on by lists of what is known, since the endpoint's key goes with them. What is not named here stays.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from multidict import CIMultiDict, MultiMapping

# A segment has no escape and does not begin with a dot, so that it cannot lead out of its path. Names of models may
# have a slash in them, and come with escapes: `meta-llama/Llama-3`, `ft:gpt-4o:shop::1`.
_ID: Final = r"[A-Za-z0-9_-][A-Za-z0-9_.:~-]*"
_WORD: Final = r"[A-Za-z0-9_-](?:[A-Za-z0-9_.:@~-]|%3[Aa]|%40)*"
_MODEL: Final = rf"{_WORD}(?:(?:/|%2[Ff]){_WORD}){{0,3}}"
_is_id: Final = re.compile(_ID).fullmatch
_VARIABLES: Final = {"id": _ID, "part": _ID, "deployment": _ID, "model": _MODEL}

#: Methods and paths that ask a model, or what models there are: nobody finds there what somebody else has left.
CALLS: Final = (
    ("POST", "/chat/completions"),
    ("POST", "/completions"),
    ("POST", "/responses"),
    ("POST", "/responses/input_tokens"),
    ("POST", "/responses/compact"),
    ("POST", "/embeddings"),
    ("POST", "/moderations"),
    ("GET", "/models"),
    ("GET", "/models/{model}"),
    ("POST", "/audio/speech"),
    ("POST", "/audio/transcriptions"),
    ("POST", "/audio/translations"),
    ("POST", "/images/generations"),
    ("POST", "/images/edits"),
    ("POST", "/images/variations"),
)
#: Those of objects that the endpoint keeps. It knows one key, so whoever may use these sees the objects of all.
OBJECTS: Final = (
    ("GET", "/chat/completions"),
    ("GET", "/chat/completions/{id}"),
    ("POST", "/chat/completions/{id}"),
    ("DELETE", "/chat/completions/{id}"),
    ("GET", "/chat/completions/{id}/messages"),
    ("GET", "/responses/{id}"),
    ("DELETE", "/responses/{id}"),
    ("POST", "/responses/{id}/cancel"),
    ("GET", "/responses/{id}/input_items"),
    ("POST", "/conversations"),
    ("GET", "/conversations/{id}"),
    ("POST", "/conversations/{id}"),
    ("DELETE", "/conversations/{id}"),
    ("GET", "/conversations/{id}/items"),
    ("POST", "/conversations/{id}/items"),
    ("GET", "/conversations/{id}/items/{part}"),
    ("DELETE", "/conversations/{id}/items/{part}"),
    ("GET", "/batches"),
    ("POST", "/batches"),
    ("GET", "/batches/{id}"),
    ("POST", "/batches/{id}/cancel"),
    ("GET", "/fine_tuning/jobs"),
    ("POST", "/fine_tuning/jobs"),
    ("GET", "/fine_tuning/jobs/{id}"),
    ("GET", "/fine_tuning/jobs/{id}/events"),
    ("GET", "/fine_tuning/jobs/{id}/checkpoints"),
    ("POST", "/fine_tuning/jobs/{id}/cancel"),
    ("POST", "/fine_tuning/jobs/{id}/pause"),
    ("POST", "/fine_tuning/jobs/{id}/resume"),
    ("POST", "/uploads"),
    ("POST", "/uploads/{id}/parts"),
    ("POST", "/uploads/{id}/complete"),
    ("POST", "/uploads/{id}/cancel"),
    ("DELETE", "/models/{model}"),
)

#: Of a request; beside these, those that begin with `_CLIENT`. No header that could name a caller, or have a key.
_REQUEST_HEADERS: Final = frozenset(
    {
        "accept",
        "content-length",
        "content-type",
        "idempotency-key",
        "last-event-id",
        "openai-beta",
        "user-agent",
        "x-client-request-id",
    }
)
_CLIENT: Final = "x-stainless-"  # what openai-python and its like say about themselves
#: Not of a response: those of one connection, and what is about the endpoint and not about the answer.
_KEPT_BACK: Final = frozenset(
    {
        "alt-svc",
        "connection",
        "date",
        "keep-alive",
        "openai-organization",
        "openai-project",
        "proxy-authenticate",
        "proxy-authorization",
        "server",
        "set-cookie",
        "strict-transport-security",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "www-authenticate",
    }
)
#: Parameters of a query that are for this server: the version of it that Azure's clients ask for, which Azure's `v1`
#: endpoints refuse, and those in which some clients send their key.
_KEPT_PARAMETERS: Final = frozenset(
    {"access_token", "api-key", "api-version", "api_key", "apikey", "key", "subscription-key", "token"}
)


def pattern(path: str) -> str:
    """The path as aiohttp's router takes it."""
    return path.format_map({name: f"{{{name}:{expected}}}" for name, expected in _VARIABLES.items()})


def is_id(text: str) -> bool:
    """Whether a text can be an ID in a path."""
    return _is_id(text) is not None


def is_known(path: str) -> bool:
    """Whether a path, with what may precede it, is one of those that can be passed on, whatever the method."""
    return _any_path().fullmatch(path) is not None


@cache
def _any_path() -> re.Pattern[str]:
    paths = {path.format_map(_VARIABLES) for _, path in (*CALLS, *OBJECTS)}
    return re.compile(f"(?:/v1|/openai|/openai/v1|/openai/deployments/{_ID})?(?:{'|'.join(sorted(paths))})")


def request_headers(theirs: MultiMapping[str], ours: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers of the request to the endpoint.

    Args:
        theirs: The caller's.
        ours: Those of every request to the endpoint, its key among them; they win.
    """
    headers = CIMultiDict[str]()
    is_encoded = "Content-Encoding" in theirs  # decoded by now, so it has another length
    for name, value in theirs.items():
        lower = name.lower()
        if lower not in _REQUEST_HEADERS and not lower.startswith(_CLIENT):
            continue
        if value.isascii() and not (is_encoded and lower == "content-length"):
            headers.add(name, value)
    headers["Accept-Encoding"] = "identity"  # so that each piece can be passed on, and a key be found in an error
    for name, value in ours.items():
        headers[name] = value
    return headers


def response_headers(theirs: MultiMapping[str]) -> CIMultiDict[str]:
    """The headers of the response to the caller, without secrets being looked for.

    Args:
        theirs: The endpoint's.
    """
    named = {name.strip().lower() for value in theirs.getall("Connection", ()) for name in value.split(",")}
    left_out = _KEPT_BACK | named
    if "Content-Encoding" in theirs:  # decoded by now, although it was asked for as it is
        left_out |= {"content-encoding", "content-length"}
    return CIMultiDict((name, value) for name, value in theirs.items() if _is_passed(name, value, left_out))


def _is_passed(name: str, value: str, left_out: Iterable[str]) -> bool:
    return name.lower() not in left_out and value.isascii()


def query(theirs: MultiMapping[str], ours: Mapping[str, str]) -> dict[str, list[str]]:
    """The parameters of the caller's query that are added to the endpoint's own.

    Args:
        theirs: The caller's.
        ours: Those of every request to the endpoint; they win.
    """
    left_out = _KEPT_PARAMETERS | {name.lower() for name in ours}
    return {
        # Bytes that are not UTF-8 came as lone surrogates, which no URL can have.
        name.encode(errors="replace").decode(): [
            value.encode(errors="replace").decode() for value in theirs.getall(name)
        ]
        for name in theirs
        if name.lower() not in left_out
    }
