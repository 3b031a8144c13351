"""How aiohttp is set up; `test_transport.py` sees what comes of it."""

import math

import pytest
from multidict import CIMultiDict

from openai_runs._http.connections import client_timeout, new_connections, traces
from tests.recorded import Recorded

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("seconds", "connect", "read"), [(60.0, 10.0, 60.0), (3.0, 3.0, 3.0), (math.inf, 10.0, None)])
def test_timeouts(seconds: float, connect: float, read: float | None) -> None:
    """Without a limit for the whole, which would count the wait for a connection."""
    timeout = client_timeout(seconds)
    assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, connect, read)


def test_no_hooks() -> None:
    """Nor are any made without telemetry."""
    assert traces(None) == []


async def test_hooks() -> None:
    """aiohttp gets hooks only for telemetry."""
    for telemetry, count in ((None, 0), (Recorded().telemetry(), 1)):
        async with new_connections(CIMultiDict(), 1, telemetry) as connections:
            assert len(connections.trace_configs) == count
