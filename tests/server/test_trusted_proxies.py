"""`TrustedProxies`: the client of a request that has come through reverse proxies, and nobody's word but theirs."""

import logging

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from openai_runs.server import LocalServer
from openai_runs.server.trusted_proxies import TrustedProxies
from tests.server.console.browser import browsing

INNER = TrustedProxies(["10.0.0.0/8", "fd00::/8"])
FORWARDED = TrustedProxies(["10.0.0.0/8", "fd00::/8"], "Forwarded")
CLIENT = "203.0.113.7"


def sent(*headers: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(headers))


@pytest.mark.parametrize(
    ("peer", "line", "client"),
    [
        ("10.0.0.1", CLIENT, CLIENT),
        ("10.0.0.1", f"198.51.100.1, {CLIENT}", CLIENT),  # the client has made the first one up
        ("10.0.0.1", f"{CLIENT}, 10.0.0.2, fd00::2", CLIENT),
        ("10.0.0.1", f"10.6.6.6,{CLIENT} ,10.0.0.2", CLIENT),
        ("::ffff:10.0.0.1", f"{CLIENT}:4711", CLIENT),
        ("fd00::1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("fd00::1", "2001:DB8::7", "2001:db8::7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # all are proxies: the first has asked by itself
        ("10.0.0.1", f"{CLIENT}, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", f"{CLIENT},", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        (CLIENT, "198.51.100.1", CLIENT),  # nobody has asked it
        ("11.0.0.1", CLIENT, "11.0.0.1"),
        (None, CLIENT, None),
    ],
)
def test_the_client(peer: str | None, line: str, client: str | None):
    """It is the first from the right that is no trusted proxy."""
    assert INNER.client(peer, sent(("X-Forwarded-For", line)))[0] == client
    quoted = ", ".join(f'for="{each.strip()}"' for each in line.split(","))
    assert FORWARDED.client(peer, sent(("Forwarded", quoted)))[0] == client


def test_several_lines():
    """They are one list, in their order, as RFC 9110 has it."""
    headers = sent(("X-Forwarded-For", f"198.51.100.1, {CLIENT}"), ("X-Forwarded-For", "10.0.0.2"))
    assert INNER.client("10.0.0.1", headers) == (CLIENT, None)


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([CLIENT], None),
        ([CLIENT, "HTTPS"], "https"),
        ([f"{CLIENT}, 10.0.0.2", "https"], "https"),  # replaced by the proxy next to us
        ([f"{CLIENT}, 10.0.0.2", "https, http"], "https"),  # appended to, by each
        ([f"198.51.100.1, {CLIENT}", "http, https"], "https"),
        ([CLIENT, "ftp"], None),
        ([CLIENT, "http, ftp, https"], "https"),
    ],
)
def test_the_scheme(lines: list[str], scheme: str | None):
    """By which the client has asked, if a trusted proxy says that."""
    headers = sent(*zip(("X-Forwarded-For", "X-Forwarded-Proto"), lines, strict=False))
    assert INNER.client("10.0.0.1", headers) == (CLIENT, scheme)
    assert INNER.client(CLIENT, headers) == (CLIENT, None)


def test_the_scheme_as_the_rfc_has_it():
    """Each element has its own, and case does not matter."""
    line = f"for=198.51.100.1;proto=http, By=x;FOR={CLIENT};Proto=https;host=h, for=10.0.0.2;proto=http"
    assert FORWARDED.client("10.0.0.1", sent(("Forwarded", line))) == (CLIENT, "https")


def test_a_quotation_mark_of_the_clients():
    """It does not swallow what the proxies have appended."""
    assert FORWARDED.client("10.0.0.1", sent(("Forwarded", f'for="198.51.100.1, for={CLIENT}')))[0] == CLIENT


@pytest.mark.parametrize(("proxies", "other"), [(INNER, "Forwarded"), (FORWARDED, "X-Forwarded-For")])
def test_the_other_header(proxies: TrustedProxies, other: str):
    """Proxies that write one of them pass the other one on, from whoever has made it up."""
    assert proxies.client("10.0.0.1", sent((other, "for=198.51.100.1;proto=https"))) == ("10.0.0.1", None)


@pytest.mark.unmeasured
@given(st.text(st.characters(codec="latin-1")), st.sampled_from([INNER, FORWARDED]))
def test_any_text(line: str, proxies: TrustedProxies):
    """Whatever a client sends, it is told from what its proxy has appended."""
    told = CLIENT if proxies is INNER else f"for={CLIENT};proto=https"
    name = "X-Forwarded-For" if proxies is INNER else "Forwarded"
    assert proxies.client("10.0.0.1", sent((name, f"{line}, {told}")))[0] == CLIENT
    proxies.client("10.0.0.1", sent((name, line), ("X-Forwarded-Proto", line)))


def test_mistakes():
    """They are reported at once."""
    with pytest.raises(ValueError, match=r"'proxy\.example' is no address of a proxy"):
        LocalServer(trusted_proxies=["proxy.example"])
    with pytest.raises(ValueError, match="proxy_header must be 'x-forwarded-for' or 'forwarded': got 'x-real-ip'"):
        LocalServer(trusted_proxies=["10.0.0.1"], proxy_header="x-real-ip")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("trusted", "clients"),
    [((), ["127.0.0.1"] * 2), (("10.0.0.1",), ["127.0.0.1"] * 2), (("127.0.0.1",), [CLIENT] * 2)],
)
async def test_the_access_log(caplog: pytest.LogCaptureFixture, trusted: tuple[str, ...], clients: list[str]):
    """It names the client, also of a poll that no middleware sees; by default nobody is believed."""
    caplog.set_level(logging.DEBUG, "openai_runs.access")
    async with LocalServer(trusted_proxies=trusted, log_access=True) as server, ClientSession() as http:
        for path in "/assistants", "/threads/a/runs/b":
            await http.get(server.url + path, headers={"X-Forwarded-For": f"198.51.100.1, {CLIENT}"})
    assert [record.request_fields["client"] for record in caplog.records] == clients


@pytest.mark.anyio
async def test_a_login_through_a_proxy_with_tls():
    """Its cookie is sent over TLS only, and a page of the same host without TLS has its forms refused."""
    through_tls = {"X_Forwarded_For": CLIENT, "X_Forwarded_Proto": "https"}
    async with (
        LocalServer(keys={"sk-anna": "anna"}, trusted_proxies=["127.0.0.1"]) as server,
        browsing(server) as browser,
    ):
        await browser.open("/", **through_tls)
        await browser.send("/console/login", {"key": "sk-anna"}, **through_tls)
        assert browser.status == 403
        secure = browser.origin.replace("http:", "https:")
        await browser.open("/", **through_tls)
        async with browser.http.post(
            f"{browser.origin}/console/login",
            data={"key": "sk-anna", "form_token": browser.text.split('form_token" value="')[1].split('"')[0]},
            headers={"Origin": secure, "X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"},
            allow_redirects=False,
        ) as response:
            assert response.status == 303
            assert response.cookies["openai_runs_session"]["secure"]
