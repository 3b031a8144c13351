"""Deleting with retries: an object that is already gone was deleted by an attempt whose response was lost."""

from typing import Any

from yarl import URL

from openai_runs._http.overrides import Overrides
from openai_runs._http.transport import Transport
from openai_runs.errors import NotFoundError, UnsupportedEndpointError
from openai_runs.models.assistant import Deleted


async def delete(
    transport: Transport, url: URL, model: Any, deleted: Deleted, overrides: Overrides | None = None
) -> Deleted:
    """Delete an object.

    Args:
        transport: Sends the requests.
        url: The object's URL.
        model: The object's model.
        deleted: What to return if the object is gone and the server's own response was lost.
        overrides: See `Transport.request`.
    """

    async def find_deleted() -> Deleted | None:
        try:
            await transport.send("GET", url, model, overrides=overrides)
        except UnsupportedEndpointError:  # a 404 that may come from a proxy says nothing about the object
            raise
        except NotFoundError:
            return deleted
        return None

    return await transport.request("DELETE", url, Deleted, find=find_deleted, overrides=overrides)
