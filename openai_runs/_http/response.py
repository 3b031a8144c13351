"""Reads responses: status, headers and body in, a model or an error out. No I/O."""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec
from attrs import frozen
from yarl import URL

from openai_runs import _wire
from openai_runs._http.redaction import Secrets
from openai_runs.errors import (
    ProtocolError,
    ResponseError,
    TransportError,
    UnsupportedEndpointError,
    response_error_class,
    snippet,
)

T = TypeVar("T")

SHUTDOWN: Final = (
    "OpenAI switched its hosted Assistants API off on 2026-08-26. Use an endpoint that speaks it: "
    "Session(base_url=…) or OPENAI_BASE_URL, a server of your own (openai-runs serve), "
    "or one inside this process (openai_runs.server.LocalServer)."
)
_NOT_SPOKEN: Final = "This endpoint does not speak the Assistants API, or base_url is wrong (it often ends in /v1)."
#: Characters of a server's message or body that an error keeps.
_MAX_TEXT: Final = 2000


class Response(NamedTuple):
    """A response with its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@frozen
class Reader:
    """Reads the responses of one endpoint; hides secrets in all its errors."""

    base: str  #: the endpoint, for messages
    secrets: Secrets
    strict: bool = True  #: see `_wire.load`

    def model(self, response: Response, into: type[T], method: str, url: URL) -> T:
        """Make a model of a response.

        Raises:
            ResponseError: The status is not 2xx.
            TransportError: The body is only the beginning of one.
            ProtocolError: The body does not fit the model.
        """
        if not 200 <= response.status < 300:
            raise self.refusal(response, method, url)
        try:
            return _wire.load(response.body, into, strict=self.strict)
        except ProtocolError as error:
            unreadable = error
        if _is_cut_off(response):
            raise self.no_response("the connection broke within the body", method, url, maybe_done=True)
        # Outside the `except` block: `__context__` would keep the unredacted body, in which a key may be echoed.
        raise self._protocol_error(response, unreadable)

    def refusal(self, response: Response, method: str, url: URL) -> ResponseError:
        """The error for a response whose status is not 2xx."""
        hide = self.secrets.hide
        headers = {name.lower(): hide(value) for name, value in response.headers.items()}
        fields = self._error_fields(response.body)
        body = hide(response.body.decode(errors="replace"))
        message = fields.get("message", "")
        cls = response_error_class(response.status)
        if 300 <= response.status < 400:
            text = f", a redirect to {headers.get('location', 'nowhere')}, which is not followed; correct base_url"
        elif response.status == 404 and _is_whole_path(message):
            cls = UnsupportedEndpointError
            hosted = URL(self.base).host == "api.openai.com"
            text = f". {SHUTDOWN if hosted else _NOT_SPOKEN} It responded: {snippet(body) or 'nothing'}"
        else:
            text = f": {snippet(message, _MAX_TEXT) or snippet(body) or 'no body'}"
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
            body=snippet(body, _MAX_TEXT),
        )

    def refusal_in_stream(self, url: URL, headers: Mapping[str, str], data: bytes) -> ResponseError:
        """The error for an ``error`` event of a stream."""
        fields = self._error_fields(data)
        body = self.secrets.hide(data.decode(errors="replace"))
        message = fields.get("message", "")
        return ResponseError(
            f"POST {url.path} at {self.base} sent an error event: {snippet(message, _MAX_TEXT) or snippet(body)}",
            status=None,
            message=message,
            type=fields.get("type"),
            code=fields.get("code"),
            param=fields.get("param"),
            request_id=headers.get("x-request-id"),
            body=snippet(body, _MAX_TEXT),
        )

    def no_response(self, problem: str, method: str, url: URL, *, maybe_done: bool) -> TransportError:
        """The error for a request without a response."""
        effect = "the request may have taken effect" if maybe_done and method != "GET" else "nothing was changed"
        text = f"{method} {url.path} at {self.base}: {problem}; {effect}"
        return TransportError(self.secrets.hide(text), maybe_done=maybe_done)

    def broken(self, problem: str, url: URL) -> str:
        """The message for a stream whose connection broke."""
        return self.secrets.hide(f"POST {url.path} at {self.base} broke off: {problem}")

    def _protocol_error(self, response: Response, error: ProtocolError) -> ProtocolError:
        hide = self.secrets.hide
        body = hide(response.body.decode(errors="replace"))
        content_type = response.headers.get("Content-Type", "no content type")
        content = f"{content_type}: {snippet(body)}" if body else "an empty body"
        text = (
            f"{self.base} answered {response.status} with a body that does not fit the API: {error}. It sent {content}"
        )
        paths = tuple(map(hide, error.paths))
        return ProtocolError(hide(text), paths=paths, status=response.status, body=snippet(body, _MAX_TEXT))

    def _error_fields(self, body: bytes) -> dict[str, str]:
        return {name: self.secrets.hide(value) for name, value in _error_fields(body).items()}


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


def _error_fields(body: bytes) -> dict[str, str]:
    """The API's error object, wrapped as documented or bare; empty if it is something else, such as a proxy's HTML."""
    try:
        parsed = _wire.decode(body)
    except ProtocolError:  # not JSON: the caller shows the raw text
        return {}
    if isinstance(parsed, dict):
        parsed = parsed.get("error", parsed)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("message"), str):
        return {}
    return {name: str(parsed[name]) for name in ("message", "type", "code", "param") if parsed.get(name) is not None}


def _is_whole_path(message: str) -> bool:
    """Whether a 404 says that the path does not exist; the API's own messages say which object does not."""
    text = message.lower().rstrip(".")
    return text in ("", "not found", "file not found") or text.startswith(
        ("invalid url", "unknown request url", "resource not found")
    )
