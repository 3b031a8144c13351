"""``/vector_stores/{vector_store_id}/file_batches``."""

import pytest

from openai_runs.server import LocalServer
from tests.server.api import Api, form

pytestmark = pytest.mark.anyio


async def test_a_life(api: Api, until_completed):
    """A batch is created, retrieved and listed."""
    files = [(await api("POST", "/files", data=form(b"%d" % number)))["id"] for number in range(3)]
    store = await api("POST", "/vector_stores", {})
    path = f"/vector_stores/{store['id']}/file_batches"
    made = await api("POST", path, {"file_ids": files, "attributes": {"a": 1}})
    own = f"{path}/{made['id']}"
    read = await until_completed(own)
    assert read["file_counts"] == {"in_progress": 0, "completed": 3, "failed": 0, "cancelled": 0, "total": 3}
    listed = await api("GET", f"{own}/files?order=asc&limit=2")
    assert ([file["id"] for file in listed["data"]], listed["has_more"]) == (files[:2], True)
    assert (await api("GET", f"{own}/files?filter=cancelled"))["data"] == []
    error = (await api("POST", f"{own}/cancel", status=400))["error"]
    assert error["message"] == "Cannot cancel file batch with status 'completed'."
    for where in f"{path}/vsfb_9", f"{path}/vsfb_9/files":
        await api("GET", where, status=404)


async def test_cancel(server: LocalServer, api: Api):
    """What has not been read is not read any more."""
    index = server.engine._ingestion.index
    index.stop()
    files = [(await api("POST", "/files", data=form(b"%d" % number)))["id"] for number in range(3)]
    store = await api("POST", "/vector_stores", {})
    path = f"/vector_stores/{store['id']}/file_batches"
    made = await api("POST", path, {"file_ids": files})
    cancelled = await api("POST", f"{path}/{made['id']}/cancel")
    assert (cancelled["status"], cancelled["file_counts"]["cancelled"]) == ("cancelled", 3)
    index.go_on()
    assert len((await api("GET", f"{path}/{made['id']}/files?filter=cancelled"))["data"]) == 3
