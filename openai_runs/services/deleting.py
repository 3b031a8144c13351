"""Deleting, which may be repeated: what is gone already was deleted by the attempt whose answer was lost."""

from typing import Any

from yarl import URL

from openai_runs._transport import Transport
from openai_runs.errors import NotFoundError, UnsupportedEndpointError
from openai_runs.models.assistant import Deleted


async def delete(transport: Transport, url: URL, kind: Any, word: Deleted) -> Deleted:
    """Delete what is at an address.

    Args:
        transport: Where to send it.
        url: The object's.
        kind: The object's model.
        word: What the server says of an object that is gone, for when its own answer is lost.
    """

    async def gone() -> Deleted | None:
        try:
            await transport.once("GET", url, kind)
        except UnsupportedEndpointError:  # it may be a proxy's: that says nothing about the object
            raise
        except NotFoundError:
            return word
        return None

    return await transport.request("DELETE", url, Deleted, look=gone)
