"""Reads responses: status, headers and body in, a model or an error out. No I/O."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Self, TypeVar

import msgspec
from attrs import define, evolve
from yarl import URL

from openai_runs import _wire
from openai_runs._http.redaction import Secrets
from openai_runs.errors import (
    ProtocolError,
    ResponseError,
    TransportError,
    UnsupportedEndpointError,
    response_error_class,
)

T = TypeVar("T")

SHUTDOWN: Final = (
    "OpenAI switched its hosted Assistants API off on 2026-08-26. Use an endpoint that speaks it: "
    "Session(base_url=…) or OPENAI_BASE_URL, a server of your own (openai-runs serve), "
    "or one inside this process (openai_runs.server.LocalServer)."
)
_NOT_SPOKEN: Final = "This endpoint does not speak the Assistants API, or base_url is wrong (it often ends in /v1)."
_KEY_SENT: Final = "The request had a key, from api_key or OPENAI_API_KEY: is it one of this endpoint's?"
_NO_KEY_SENT: Final = "The request had no key: pass api_key=, or set OPENAI_API_KEY."
#: How a 404 begins that is about the path.
_PATH_WORDS: Final = ("invalid url", "unknown request url")
#: A 404 that may be about the path or the object: frameworks send these where nobody chose other words.
_ANY_WORDS: Final = frozenset({"not found", "404 not found", "file not found", "resource not found"})
_KEY_HEADERS: Final = frozenset({"authorization", "api-key"})
#: Bytes of a response that are read, after decompression. The largest that the API has is a page of 100 run steps, each
#: with tool outputs of 512 kB.
MAX_BODY: Final = 64 * 1024 * 1024
#: Characters of a server's message or body that an error keeps.
_MAX_TEXT: Final = 2000


class Response(NamedTuple):
    """A response with its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: Mapping[str, str]  #: the headers of its request


@define
class Reader:
    """Reads the responses of one endpoint.

    All that a server says gets into errors by `Secrets.snippet`, and no error is raised from one that has more of it.
    """

    base: str  #: the endpoint, for messages
    secrets: Secrets
    strict: bool = True  #: see `_wire.load`
    #: Whether it has sent something of the API's. Then a 404 that could mean anything is about an object.
    speaks_api: bool = False

    def model(self, response: Response, into: type[T], method: str, url: URL) -> T:
        """Make a model of a response.

        Raises:
            ResponseError: The status is not 2xx.
            TransportError: The body is only the beginning of one.
            ProtocolError: The body does not fit the model.
        """
        if not 200 <= response.status < 300:
            raise self.refusal(response, method, url)
        if len(response.body) > MAX_BODY:
            text = f"{self.base} answered {response.status} with a body of more than {MAX_BODY} bytes, the limit"
            body = self.of_request(response.sent, url).secrets.snippet(response.body, _MAX_TEXT)
            paths = (f"more than {MAX_BODY} bytes @ $",)
            raise ProtocolError(text, paths=paths, status=response.status, body=body)
        try:
            model = _wire.load(response.body, into, strict=self.strict)
        except ProtocolError:
            pass
        else:
            self.speaks_api = True
            return model
        if _is_cut_off(response):
            problem = "the connection broke within the body"
            raise self.no_response(problem, method, url, maybe_done=True, outline=problem)
        # Outside the `except` block: `__context__` would keep the unredacted body, in which a key may be echoed.
        reader = self.of_request(response.sent, url)
        said = reader.secrets.snippet
        content_type = said(response.headers.get("Content-Type", "no content type"))
        content = f"{content_type}: {said(response.body)}" if response.body else "an empty body"
        what = f"{self.base} answered {response.status} with a body that does not fit the API"
        raise reader.misfit(response.body, into, what, f". It sent {content}", status=response.status)

    def misfit(
        self, data: bytes, into: type[Any], what: str, more: str = "", *, status: int | None = None
    ) -> ProtocolError:
        """The error for bytes that do not fit a model.

        Args:
            data: The bytes.
            into: The model.
            what: What does not fit.
            more: The end of the message.
            status: The status of the response, unless it is a stream.
        """
        text = data.decode(errors="replace")
        hidden = self.secrets.hide(text)
        try:
            # Its error quotes parts of the values, so they are hidden before.
            _wire.load(data if hidden == text else hidden, into, strict=self.strict)
        except ProtocolError as error:
            reason, paths = str(error), error.paths
        else:
            reason, paths = "a secret is in the wrong place", ("a secret @ $",)
        body = self.secrets.snippet(data, _MAX_TEXT)
        return ProtocolError(f"{what}: {reason}{more}", paths=paths, status=status, body=body)

    def refusal(self, response: Response, method: str, url: URL) -> ResponseError:
        """The error for a response whose status is not 2xx."""
        reader = self.of_request(response.sent, url)
        said = reader.secrets.snippet
        headers = {name.lower(): said(value, _MAX_TEXT) for name, value in response.headers.items()}
        fields = _error_fields(response.body, said)
        message = fields.get("message", "")
        cls = response_error_class(response.status)
        if 300 <= response.status < 400:
            text = f", a redirect to {headers.get('location', 'nowhere')}, which is not followed; correct base_url"
        elif response.status == 404 and (reason := self._unknown_path(response.body, message)):
            cls = UnsupportedEndpointError
            text = f". {reason} It responded: {said(response.body) or 'nothing'}"
        else:
            text = f": {message or said(response.body) or 'no body'}"
        if response.status == 401:
            text = f"{text.rstrip('.')}. {_KEY_SENT if _has_key(response.sent) else _NO_KEY_SENT}"
        request_id = headers.get("x-request-id")
        return cls(
            f"{method} {url.path} at {self.base}: {response.status}{text}"
            + (f" (request {request_id})" if request_id else ""),
            status=response.status,
            message=message,
            type=fields.get("type"),
            code=fields.get("code"),
            param=fields.get("param"),
            request_id=request_id,
            headers=headers,
            body=said(response.body, _MAX_TEXT),
        )

    def _unknown_path(self, body: bytes, message: str) -> str:
        """Why a 404 does not say that an object does not exist, but perhaps the path; empty if it does."""
        words = (message or _other_words(body)).lower().rstrip(".")
        if words and not words.startswith(_PATH_WORDS) and (self.speaks_api or words not in _ANY_WORDS):
            return ""
        if self.speaks_api:
            return "There is no such object, or this endpoint does not have this operation."
        if URL(self.base).host == "api.openai.com":
            return SHUTDOWN
        return f"{_NOT_SPOKEN} Or there is no such object." if words in _ANY_WORDS else _NOT_SPOKEN

    def refusal_in_stream(self, url: URL, headers: Mapping[str, str], data: bytes) -> ResponseError:
        """The error for an ``error`` event of a stream."""
        said = self.secrets.snippet
        fields = _error_fields(data, said)
        message = fields.get("message", "")
        request_id = headers.get("x-request-id")
        return ResponseError(
            f"POST {url.path} at {self.base} sent an error event: {message or said(data)}",
            status=None,
            message=message,
            type=fields.get("type"),
            code=fields.get("code"),
            param=fields.get("param"),
            request_id=None if request_id is None else said(request_id),
            body=said(data, _MAX_TEXT),
        )

    def no_response(
        self, problem: str, method: str, url: URL, *, maybe_done: bool, outline: str, advice: str = ""
    ) -> TransportError:
        """The error for a request without a response.

        Args:
            problem: How the connection failed.
            method: Of the request.
            url: Of the request.
            maybe_done: Whether the request may have taken effect.
            outline: The problem without the endpoint's address.
            advice: The end of the message.
        """
        effect = "the request may have taken effect" if maybe_done and method != "GET" else "nothing was changed"
        problem = self.secrets.snippet(problem, _MAX_TEXT)
        text = f"{method} {url.path} at {self.base}: {problem}; {effect}" + (f". {advice}" if advice else "")
        return TransportError(text, maybe_done=maybe_done, problem=outline)

    def broken(self, problem: str, method: str, url: URL) -> str:
        """The message for a stream whose connection broke."""
        return f"{method} {url.path} at {self.base} broke off: {self.secrets.snippet(problem, _MAX_TEXT)}"

    def of_request(self, headers: Mapping[str, str], url: URL) -> Self:
        """The reader for the response to one request, which knows the secrets among its headers and in its query."""
        return evolve(self, secrets=self.secrets.of_request(headers, url.query))


def _is_cut_off(response: Response) -> bool:
    """Whether a body is only the beginning of a JSON text, and nothing but the connection's end says where it ends."""
    headers = response.headers
    if response.status == 204 or "Content-Length" in headers or "Transfer-Encoding" in headers:
        return False
    try:
        msgspec.json.decode(response.body)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    except (UnicodeDecodeError, RecursionError):
        pass
    return False


def _has_key(sent: Mapping[str, str]) -> bool:
    """Whether a request was sent with a key, by its headers."""
    return any(name.lower() in _KEY_HEADERS and value for name, value in sent.items())


def _error_fields(body: bytes, said: Callable[[str, int], str]) -> dict[str, str]:
    """The fields of the API's error object, wrapped as documented or bare, or of a web framework's ``detail``.

    Empty if the body is something else, such as a proxy's HTML.
    """
    parsed = _json_object(body)
    for wrapper in ("detail", "error"):
        inner = parsed.get(wrapper)
        parsed = inner if isinstance(inner, dict) else parsed
    message = parsed.get("message", parsed.get("detail"))
    if not isinstance(message, str):
        return {}
    fields = {"message": message, **{name: parsed.get(name) for name in ("type", "code", "param")}}
    return {name: said(str(value), _MAX_TEXT) for name, value in fields.items() if value is not None}


def _other_words(body: bytes) -> str:
    """What a framework's error says that has no message."""
    parsed = _json_object(body)
    return next((parsed[name] for name in ("error", "title") if isinstance(parsed.get(name), str)), "")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = _wire.decode(body)
    except ProtocolError:  # not JSON: the caller shows the raw text
        return {}
    return parsed if isinstance(parsed, dict) else {}
