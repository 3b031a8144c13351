"""What a response means: status, headers and body in, a model or an error out. No I/O."""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

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
#: Characters of a server's words that are kept.
_MOST_TEXT: Final = 2000


class Response(NamedTuple):
    """What came back, fully read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@frozen
class Reader:
    """Reads the responses of one endpoint; hides secrets in whatever it says of them."""

    base: str  #: the endpoint, for messages
    secrets: Secrets

    def model(self, response: Response, into: type[T], method: str, url: URL) -> T:
        """Make a model of a response.

        Raises:
            ResponseError: The server said no.
            ProtocolError: The body does not fit the model.
        """
        if not 200 <= response.status < 300:
            raise self.refusal(response, method, url)
        try:
            return _wire.load(response.body, into)
        except ProtocolError as error:
            unreadable = error
        # Outside the `except` block: what is in `__context__` has the body as it came, in which a key may be echoed.
        raise self._nonsense(response, unreadable)

    def refusal(self, response: Response, method: str, url: URL) -> ResponseError:
        """The error for a response that says no."""
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
            text = f". {SHUTDOWN if hosted else _NOT_SPOKEN} It said: {snippet(body) or 'nothing'}"
        else:
            text = f": {snippet(message, _MOST_TEXT) or snippet(body) or 'no body'}"
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
            body=snippet(body, _MOST_TEXT),
        )

    def refusal_in_stream(self, url: URL, headers: Mapping[str, str], data: bytes) -> ResponseError:
        """The error for an event of a stream that tells one."""
        fields = self._error_fields(data)
        body = self.secrets.hide(data.decode(errors="replace"))
        message = fields.get("message", "")
        return ResponseError(
            f"POST {url.path} at {self.base} told of an error: {snippet(message, _MOST_TEXT) or snippet(body)}",
            status=None,
            message=message,
            type=fields.get("type"),
            code=fields.get("code"),
            param=fields.get("param"),
            request_id=headers.get("x-request-id"),
            body=snippet(body, _MOST_TEXT),
        )

    def no_response(self, what: str, method: str, url: URL, *, maybe_done: bool) -> TransportError:
        """The error for a request without a response."""
        advice = (
            "the request may have had its effect all the same"
            if maybe_done and method != "GET"
            else "nothing was changed"
        )
        text = f"{method} {url.path} at {self.base}: {what}; {advice}"
        return TransportError(self.secrets.hide(text), maybe_done=maybe_done)

    def broken(self, what: str, url: URL) -> str:
        """Say that a stream broke off."""
        return self.secrets.hide(f"POST {url.path} at {self.base} broke off: {what}")

    def _nonsense(self, response: Response, error: ProtocolError) -> ProtocolError:
        hide = self.secrets.hide
        body = hide(response.body.decode(errors="replace"))
        kind = response.headers.get("Content-Type", "no content type")
        what = f"{kind}: {snippet(body)}" if body else "an empty body"
        text = f"{self.base} answered {response.status} with what the API does not have: {error}. It sent {what}"
        paths = tuple(map(hide, error.paths))
        return ProtocolError(hide(text), paths=paths, status=response.status, body=snippet(body, _MOST_TEXT))

    def _error_fields(self, body: bytes) -> dict[str, str]:
        return {name: self.secrets.hide(value) for name, value in _error_fields(body).items()}


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
    """Whether a 404 is for the path as such; one for an object says so in the API's own words."""
    words = message.lower().rstrip(".")
    return words in ("", "not found", "file not found") or words.startswith(
        ("invalid url", "unknown request url", "resource not found")
    )
