"""Deleting, which may be repeated: what is gone already was deleted by the attempt whose answer was lost."""

from typing import Any

from yarl import URL

from openai_runs._http.transport import Transport
from openai_runs.errors import NotFoundError, UnsupportedEndpointError
from openai_runs.models.assistant import Deleted


async def delete(transport: Transport, url: URL, kind: Any, answer: Deleted) -> Deleted:
    """Delete what is at an address.

    Args:
        transport: Where to send it.
        url: The object's.
        kind: The object's model.
        answer: What the server says of an object that is gone, for when its own answer is lost.
    """

    async def gone() -> Deleted | None:
        try:
            await transport.send("GET", url, kind)
        except UnsupportedEndpointError:  # it may be a proxy's: that says nothing about the object
            raise
        except NotFoundError:
            return answer
        return None

    return await transport.request("DELETE", url, Deleted, find=gone)
