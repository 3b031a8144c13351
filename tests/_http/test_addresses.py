"""`Addresses`: from paths, IDs and queries to URLs; which base URLs and proxies are refused."""

from types import SimpleNamespace

import pytest
from yarl import URL

from openai_runs._http import addresses
from openai_runs._http.addresses import Addresses, provider_of

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
BASE = Addresses("https://example.org/v1/", {})


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch):
    for name in (*PROXIES, *map(str.upper, PROXIES), "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("id", "segment"),
    [
        ("thread_1", "thread_1"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("100%", "100%25"),
        ("{x}", "%7Bx%7D"),
        ("...", "..."),
        ("ö", "%C3%B6"),
    ],
)
def test_an_id_stays_one_segment(id, segment):
    """Whatever is in an ID, it changes neither the path nor the query."""
    url = BASE.url("/threads/{thread_id}/runs", thread_id=id)
    assert str(url) == f"https://example.org/v1/threads/{segment}/runs"


@pytest.mark.parametrize("id", ["", ".", "..", "\ud800"])
def test_an_id_that_would_change_the_path(id):
    """Servers resolve dot segments, even encoded ones: such an ID would name another object."""
    with pytest.raises(ValueError, match=r"^thread_id must be an ID: got .*; nothing was sent$"):
        BASE.url("/threads/{thread_id}", thread_id=id)


def test_an_id_that_is_no_string():
    """A whole object in the place of its ID is noticed here."""
    with pytest.raises(TypeError, match=r"; pass \.id of it; nothing was sent$"):
        Addresses("http://x", {}).url("/{run_id}", run_id=SimpleNamespace(id="run_1"))
    with pytest.raises(TypeError, match=r"^run_id must be a string: got 7; nothing was sent$"):
        BASE.url("/runs/{run_id}", run_id=7)


@pytest.mark.parametrize(
    ("always", "query", "expected"),
    [
        ({}, None, ""),
        ({}, {}, ""),
        ({}, {"limit": 2, "include[]": ["a", "b"]}, "?limit=2&include%5B%5D=a&include%5B%5D=b"),
        ({}, {"include[]": []}, ""),
        ({"api-version": "1&2"}, None, "?api-version=1%262"),
        ({"api-version": "1"}, {"limit": 2}, "?api-version=1&limit=2"),
    ],
)
def test_queries(always, query, expected):
    """What every request has comes first."""
    url = Addresses("https://example.org", always).url("/threads", query)
    assert str(url) == f"https://example.org/threads{expected}"


@pytest.mark.parametrize("base_url", ["https://example.org", "http://[::1]:8080/a%20b/v1", "https://ö.example/%7B"])
def test_urls_are_those_that_yarl_would_make(base_url):
    """They are put together from parts of the base URL; also if yarl keeps what it knows in another way."""
    known = Addresses(base_url, {})
    unknown = Addresses(base_url, {})
    unknown._common = None
    for made in (known, unknown):
        for query in (None, {"limit": 2}):
            url = made.url("/threads/{thread_id}", query, thread_id="100%")
            fresh = URL(str(url), encoded=True)
            assert str(url) == f"{known.base}/threads/100%25" + ("?limit=2" if query else "")
            assert url == fresh
            for name in ("scheme", "host", "port", "raw_authority", "raw_fragment", "user", "raw_path_qs", "authority"):
                assert getattr(url, name) == getattr(fresh, name)


def test_another_yarl(monkeypatch):
    """If it does not keep what is expected, nothing is put into it."""
    assert addresses._common_parts(URL("https://example.org")) is not None
    monkeypatch.setattr(addresses, "_COMMON", addresses._COMMON | {"is_absolute"})
    assert addresses._common_parts(URL("https://example.org")) is None


def test_below():
    """An action is put between path and query, and encoded IDs stay encoded."""
    addresses = Addresses("https://example.org", {"v": "1"})
    url = addresses.url("/runs/{run_id}", run_id="a/b")
    assert str(addresses.below(url, "cancel")) == "https://example.org/runs/a%2Fb/cancel?v=1"


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("example.org/v1", "must begin with http:// or https:// and a host"),
        ("ftp://example.org", "must begin with http:// or https:// and a host"),
        ("http://", "base_url must"),
        (None, "must be a URL: got None"),
        ("https://user:secret@example.org", "no user, password, query or fragment"),
        ("https://example.org?a=b", "no user, password, query or fragment"),
        ("https://example.org#a", "no user, password, query or fragment"),
    ],
)
def test_what_is_no_base_url(base_url, message):
    """The error says what is wrong; a password in it is not repeated."""
    with pytest.raises(ValueError, match=message) as caught:
        Addresses(base_url, {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_no_proxy_to_this_machine(host, monkeypatch):
    """A proxy elsewhere could not reach it."""
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert Addresses(f"http://{host}:8080", {}).proxy() is None


@pytest.mark.parametrize(
    ("given", "proxy"),
    [(None, None), ("http://proxy:3128", "http://proxy:3128"), ("proxy:3128", "http://proxy:3128")],
)
def test_the_proxy_of_the_environment(given, proxy, monkeypatch):
    """The one for the scheme of the base URL; its own scheme may be left out, as for curl."""
    monkeypatch.setenv("http_proxy", "http://other:1")
    if given is not None:
        monkeypatch.setenv("https_proxy", given)
    assert BASE.proxy() == proxy


def test_exceptions_from_the_proxy(monkeypatch):
    """``no_proxy`` counts."""
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "example.org")
    assert BASE.proxy() is None


def test_a_proxy_of_another_kind(monkeypatch):
    """The error names the scheme only, since the rest may have a password."""
    monkeypatch.setenv("https_proxy", "socks5://user:secret@proxy")
    with pytest.raises(ValueError, match="only http:// proxies") as caught:
        BASE.proxy()
    assert "socks5://" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_urls_are_not_changed_again():
    """yarl would decode what need not be encoded, and with it a server's idea of the ID."""
    assert BASE.url("/threads/{thread_id}", thread_id="a~b") == URL("https://example.org/v1/threads/a~b", encoded=True)


def test_providers():
    """By OpenTelemetry's names; whoever speaks OpenAI's API elsewhere has OpenAI's."""
    hosts = "api.openai.com", "127.0.0.1", "x.openai.azure.com", None
    assert [provider_of(host) for host in hosts] == ["openai", "openai", "azure.ai.openai", "openai"]
