"""`openai-runs serve` behind a reverse proxy."""

import json
from pathlib import Path

import pytest
from aiohttp import ClientSession

from openai_runs.cli.proxy_options import ProxyHeader
from openai_runs.server.trusted_proxies import TrustedProxies
from tests.cli.commands import run
from tests.serving import serving


@pytest.mark.anyio
async def test_the_access_log(tmp_path: Path):
    """Its lines have the client that a trusted proxy names."""
    options = ("--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "::1", "--log-format", "json")
    with serving(tmp_path / "runs.db", *options) as (url, process):
        async with ClientSession() as http:
            await http.get(f"{url}/assistants", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"})
        process.terminate()
        _, log = process.communicate(timeout=20)
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["client"] for line in lines if line["logger"] == "openai_runs.access"] == ["203.0.113.7"]


def test_what_is_no_proxy(tmp_path: Path):
    """A name is refused at the start: it may become another address."""
    output = run("serve", "--store", tmp_path / "runs.db", "--trusted-proxy", "proxy.example", exit_code=1)
    assert "'proxy.example' is no address of a proxy" in output


@pytest.mark.parametrize("header", ProxyHeader)
def test_the_server_knows_each_header(header: ProxyHeader):
    """What the option offers, the server takes."""
    TrustedProxies(["127.0.0.1"], header)
