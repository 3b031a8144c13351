"""`Tokens`: what is asked of the caller's function, and when. `test_transport.py` has what is sent."""

import anyio
import pytest

from openai_runs._http.redaction import Secrets
from openai_runs._http.retries import OwnError
from openai_runs._http.tokens import RequestToken, Tokens, checked_key
from openai_runs.errors import AuthenticationError, ResponseError

pytestmark = pytest.mark.anyio


class Login:
    """An api_key function that gives ``token-1``, ``token-2`` and so on."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    async def __call__(self) -> str:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self.fails:
            raise LookupError("no login")
        return f"token-{self.asked}"


@pytest.fixture
def login() -> Login:
    return Login()


@pytest.fixture
def tokens(login: Login) -> Tokens:
    return Tokens(login, Secrets({}, {}))


def refusal() -> ResponseError:
    return AuthenticationError("401", status=401)


async def test_each_request_asks(tokens: Tokens, login: Login) -> None:
    """The function is asked for each request: how long a token lives is its affair."""
    assert [await RequestToken(tokens).first() for _ in range(2)] == ["token-1", "token-2"]


async def test_its_failure(tokens: Tokens, login: Login) -> None:
    """What the function raises is the caller's own error."""
    login.fails = True
    with pytest.raises(OwnError) as caught:
        await tokens.current()
    assert isinstance(caught.value.error, LookupError)


async def test_a_fresh_token_is_shared(tokens: Tokens, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that were refused share a fresh token for some seconds, since those that wait for turns come later."""
    requests = [RequestToken(tokens) for _ in range(3)]
    for request in requests:
        await request.first()
    now = anyio.current_time()
    assert [await request.second(refusal()) for request in requests[:2]] == ["token-4", "token-4"]
    monkeypatch.setattr(anyio, "current_time", lambda: now + 60)
    assert await requests[2].second(refusal()) == "token-5"


async def test_no_other_token(tokens: Tokens, login: Login) -> None:
    """If the function fails, the error is the refusal, with a note."""
    request = RequestToken(tokens)
    await request.first()
    login.fails = True
    with pytest.raises(AuthenticationError) as caught:
        await request.second(refusal())
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.__notes__ == ["For a fresh token, api_key() raised LookupError."]


@pytest.mark.parametrize(("key", "error"), [(7, TypeError), ("", ValueError), ("a\n", ValueError), (" a", ValueError)])
def test_keys_that_cannot_be_sent(key: object, error: type[Exception]) -> None:
    """A key is a string of one line."""
    with pytest.raises(error, match="my key must be"):
        checked_key("my key", key)
