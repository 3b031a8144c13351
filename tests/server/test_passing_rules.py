"""What is passed on to a model's endpoint, by value."""

import pytest
from multidict import CIMultiDict, MultiDict

from openai_runs.server import passing_rules


@pytest.mark.parametrize(
    ("path", "is_known"),
    [
        ("/v1/chat/completions", True),
        ("/embeddings", True),
        ("/openai/v1/batches/batch_1/cancel", True),
        ("/openai/deployments/gpt-4o/chat/completions", True),
        ("/models/a/b", True),
        ("/v1/organization", False),
        ("/v2/embeddings", False),
        ("/v1/batches/", False),
        ("/v1/threads", False),
    ],
)
def test_a_path_that_could_be_passed_on(path: str, is_known: bool):
    """A hint is given for what would help, and for nothing else."""
    assert passing_rules.is_known(path) == is_known


def test_only_known_headers_of_a_request_are_passed_on():
    """No key, cookie or name of the caller's, and nothing of its connection; our own headers win."""
    theirs = CIMultiDict(
        {
            "Authorization": "Bearer sk-caller",
            "api-key": "sk-caller",
            "Cookie": "a=b",
            "OpenAI-Organization": "org-caller",
            "OpenAI-Project": "proj_caller",
            "Connection": "X-Mine",
            "X-Mine": "1",
            "Transfer-Encoding": "chunked",
            "TE": "trailers",
            "Host": "here",
            "Origin": "http://here",
            "X-Forwarded-For": "10.0.0.1",
            "Accept-Encoding": "gzip, br",
            "Accept": "text/event-stream",
            "Content-Type": "application/json",
            "Content-Length": "2",
            "User-Agent": "OpenAI/Python",
            "X-Stainless-Lang": "python",
            "Idempotency-Key": "k\u00e9y",
            "x-team": "red",
        }
    )
    passed = passing_rules.request_headers(theirs, {"Authorization": "Bearer sk-ours", "X-Team": "blue"})
    assert dict(passed) == {
        "Accept": "text/event-stream",
        "Content-Type": "application/json",
        "Content-Length": "2",
        "User-Agent": "OpenAI/Python",
        "X-Stainless-Lang": "python",
        "Accept-Encoding": "identity",
        "Authorization": "Bearer sk-ours",
        "X-Team": "blue",
    }


def test_the_length_of_a_compressed_body_is_not_passed_on():
    """aiohttp has decompressed it, and so it is sent on with another length."""
    theirs = CIMultiDict({"Content-Encoding": "gzip", "Content-Length": "2", "Accept": "*/*"})
    assert dict(passing_rules.request_headers(theirs, {})) == {"Accept": "*/*", "Accept-Encoding": "identity"}


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_headers_of_a_response(encoding: str | None):
    """All are passed on but those of the connection, of the endpoint's account, and of an encoding that is undone."""
    kept = {"Content-Type": "application/json", "x-ratelimit-remaining-requests": "7", "Retry-After": "3"}
    dropped = {
        "Connection": "close, X-Hop",
        "X-Hop": "1",
        "Set-Cookie": "a=b",
        "openai-organization": "org-ours",
        "Server": "nginx",
        "WWW-Authenticate": "Bearer",
        "X-Odd": "\u00e9",
    }
    length = {"Content-Length": "9"}
    theirs = CIMultiDict({**kept, **dropped, **length, **({"Content-Encoding": encoding} if encoding else {})})
    assert dict(passing_rules.response_headers(theirs)) == (kept if encoding else {**kept, **length})


def test_a_query():
    """Keys and Azure's version stay here, our own parameters win, and what is given twice is passed on twice."""
    theirs = MultiDict(
        [
            ("include", "a"),
            ("include", "b"),
            ("api-key", "sk-caller"),
            ("API-Version", "1"),
            ("V", "1"),
            ("x", "\udcff"),
        ]
    )
    passed = passing_rules.query(theirs, {"v": "2"})
    assert passed == {"include": ["a", "b"], "x": ["?"]}
