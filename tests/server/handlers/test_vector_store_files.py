"""``/vector_stores/{vector_store_id}/files``."""

import pytest

from tests.server.api import Api, form

pytestmark = pytest.mark.anyio


async def test_a_life(api: Api, until_completed):
    """A file is added, retrieved, changed, listed, shown and taken out."""
    file = await api("POST", "/files", data=form(b"one\ntwo"))
    store = await api("POST", "/vector_stores", {})
    path = f"/vector_stores/{store['id']}/files"
    sizes = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}
    body = {"file_id": file["id"], "attributes": {"a": 1.5, "b": True, "c": "d"}}
    made = await api("POST", path, body | {"chunking_strategy": {"type": "static", "static": sizes}})
    assert (made["id"], made["attributes"], made["last_error"]) == (file["id"], body["attributes"], None)
    assert made["chunking_strategy"] == {"type": "static", "static": sizes}
    own = f"{path}/{file['id']}"
    read = await until_completed(own)
    assert (read["status"], read["usage_bytes"]) == ("completed", 14)
    content = await api("GET", f"{own}/content")
    assert content["data"] == [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    changed = await api("POST", own, {"attributes": {"a": "b"}})
    assert (changed["attributes"], changed["status"]) == ({"a": "b"}, "completed")
    assert (await api("GET", path))["data"] == [changed]
    assert (await api("GET", f"{path}?filter=failed"))["data"] == []
    assert (await api("GET", f"{path}?filter=completed&limit=1"))["data"] == [changed]
    for no_status in ("lost", ""):
        error = await api("GET", f"{path}?filter={no_status}", status=400)
        assert (error["error"]["param"], error["error"]["code"]) == ("filter", "invalid_value")
    deleted = await api("DELETE", own)
    assert deleted == {"id": file["id"], "object": "vector_store.file.deleted", "deleted": True}
    for method, where, sent in [("GET", own, None), ("POST", own, {"attributes": {}}), ("GET", f"{own}/content", None)]:
        await api(method, where, sent, status=404)
    assert await api("GET", f"/files/{file['id']}") == file
