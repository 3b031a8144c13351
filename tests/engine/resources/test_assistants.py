"""The API's operations on assistants."""

import pytest

from openai_runs import _wire
from openai_runs.backends import Say
from openai_runs.engine import ApiError
from openai_runs.stores import PageQuery
from tests.engine.world import ALL, WEATHER, conform, world

pytestmark = pytest.mark.anyio


async def test_create():
    """The values of the request come back unchanged; the others are the API's defaults."""
    async with world() as w:
        plain = conform(await w.engine.assistants.create("", {"model": "m"}))
        assert _wire.dump(plain) == {
            "id": plain.id,
            "object": "assistant",
            "created_at": int(w.clock.now()),
            "model": "m",
            "name": None,
            "description": None,
            "instructions": None,
            "tools": [],
            "tool_resources": {},
            "metadata": {},
            "temperature": 1.0,
            "top_p": 1.0,
            "response_format": "auto",
        }
        body = {
            "model": "m",
            "name": "n",
            "description": "d",
            "instructions": "i",
            "metadata": {"a": "b"},
            "tools": [WEATHER, {"type": "file_search", "file_search": {"max_num_results": 3}}],
            "temperature": 0,
            "tool_resources": {"file_search": {"vector_store_ids": ["vs"]}},
            "top_p": 0.5,
            "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        }
        full = conform(await w.engine.assistants.create("", body))
        shown = _wire.dump(full)
        assert {name: shown[name] for name in body} == body
        assert conform(await w.engine.assistants.retrieve("", full.id)) == full
        nulls = await w.engine.assistants.create("", {"model": "m", "metadata": None, "tool_resources": None})
        assert (nulls.metadata, nulls.tool_resources) == ({}, None)


async def test_update():
    """Fields that are not in the body stay; null resets a field."""
    async with world() as w:
        body = {"model": "m", "name": "n", "temperature": 0.5, "metadata": {"a": "1"}, "tools": [WEATHER]}
        assistant = await w.engine.assistants.create("", body)
        changes = {"name": "other", "temperature": None, "metadata": {"b": "2"}}
        changed = conform(await w.engine.assistants.update("", assistant.id, changes))
        assert (changed.name, changed.temperature, changed.metadata) == ("other", 1.0, {"b": "2"})
        assert (changed.tools, changed.created_at) == (assistant.tools, assistant.created_at)
        assert await w.engine.assistants.retrieve("", assistant.id) == changed
        assert (await w.engine.assistants.update("", assistant.id, {"metadata": None})).metadata == {}


async def test_delete():
    """A deleted assistant is not found any more; a run that was created with it continues."""
    async with world([Say("Still here.")]) as w:
        run = await w.start()
        deleted = await w.engine.assistants.delete("", run.assistant_id)
        assert _wire.dump(deleted) == {"id": run.assistant_id, "object": "assistant.deleted", "deleted": True}
        await w.until("run.completed", run)
        assert (await w.engine.assistants.list("", ALL)).data == ()
        for operation in (
            w.engine.assistants.retrieve("", run.assistant_id),
            w.engine.assistants.update("", run.assistant_id, {}),
            w.engine.assistants.delete("", run.assistant_id),
            w.again(run),
        ):
            with pytest.raises(ApiError) as caught:
                await operation
            assert (caught.value.status, str(caught.value)) == (
                404,
                f"No assistant found with id '{run.assistant_id}'.",
            )


async def test_list():
    """Pages, newest first; `first_id` and `last_id` of an empty one are null."""
    async with world() as w:
        empty = conform_page(await w.engine.assistants.list("", PageQuery()))
        assert (empty["data"], empty["first_id"], empty["last_id"], empty["has_more"]) == ([], None, None, False)
        made = [(await w.engine.assistants.create("", {"model": "m", "name": str(n)})).id for n in range(5)]
        page = conform_page(await w.engine.assistants.list("", PageQuery(limit=2)))
        assert [item["id"] for item in page["data"]] == [made[4], made[3]]
        assert (page["first_id"], page["last_id"], page["has_more"]) == (made[4], made[3], True)
        assert page["data"][0]["temperature"] == 1.0
        page = conform_page(await w.engine.assistants.list("", PageQuery(limit=3, after=made[3])))
        assert ([item["id"] for item in page["data"]], page["has_more"]) == (made[2::-1], False)


def conform_page(page):
    return _wire.dump(conform(page))


@pytest.mark.parametrize("param", ["after", "before"])
async def test_unknown_cursor(param):
    """400, naming the parameter: a 404 would mean that there is no such list."""
    async with world() as w:
        with pytest.raises(ApiError, match="No assistant found with id 'x'") as caught:
            await w.engine.assistants.list("", PageQuery(**{param: "x"}))
        assert (caught.value.status, caught.value.param) == (400, param)


async def test_owners():
    """Each owner sees only its own objects."""
    async with world() as w:
        mine = await w.engine.assistants.create("me", {"model": "m"})
        assert (await w.engine.assistants.list("you", ALL)).data == ()
        with pytest.raises(ApiError, match="No assistant found"):
            await w.engine.assistants.retrieve("you", mine.id)
        thread = await w.engine.threads.create("you", {})
        with pytest.raises(ApiError, match="No assistant found"):
            await w.engine.runs.create("you", thread.id, {"assistant_id": mine.id})
