"""`session.assistants`: each operation, each parameter."""

import pytest

from openai_runs.errors import BadRequestError, NotFoundError
from openai_runs.models.assistant import Assistant
from openai_runs.models.tool import (
    CodeInterpreterTool,
    FileSearchOptions,
    FileSearchTool,
    JsonSchema,
    JsonSchemaFormat,
    TextFormat,
)
from openai_runs.session import Session
from tests.weather import WEATHER

pytestmark = pytest.mark.anyio


async def test_create_with_everything(session: Session) -> None:
    """Every parameter arrives, and comes back in the same shape."""
    tools = (WEATHER, CodeInterpreterTool(), FileSearchTool(file_search=FileSearchOptions(max_num_results=3)))
    form = JsonSchemaFormat(json_schema=JsonSchema(name="answer", schema={"type": "object"}, strict=True))
    made = await session.assistants.create(
        model="scripted",
        name="Weather",
        description="Tells it.",
        instructions="Be brief.",
        tools=[*tools[:1], {"type": "code_interpreter"}, tools[2]],
        tool_resources={"code_interpreter": {"file_ids": ["file_1"]}, "file_search": {"vector_store_ids": ["vs_1"]}},
        metadata={"k": "v"},
        temperature=0.5,
        top_p=0.25,
        response_format=form,
        reasoning_effort="low",
    )
    assert made.id.startswith("asst_")
    assert (made.model, made.name, made.description, made.instructions) == (
        "scripted",
        "Weather",
        "Tells it.",
        "Be brief.",
    )
    assert [tool.type for tool in made.tools] == ["function", "code_interpreter", "file_search"]
    assert made.tools[0].function.parameters == WEATHER.function.parameters
    assert made.tools[2].file_search.max_num_results == 3
    assert made.tool_resources.code_interpreter.file_ids == ("file_1",)
    assert made.tool_resources.file_search.vector_store_ids == ("vs_1",)
    assert (made.metadata, made.temperature, made.top_p) == ({"k": "v"}, 0.5, 0.25)
    assert made.response_format.json_schema.schema == {"type": "object"}
    assert await session.assistants.retrieve(made.id) == made


async def test_update(session: Session, assistant: Assistant) -> None:
    """A parameter that is given changes its field, one left out keeps it, and null removes it."""
    changed = await session.assistants.update(
        assistant.id,
        model="other",
        name="New",
        description="d",
        instructions="i",
        metadata={"a": "b"},
        temperature=2,
        top_p=1,
        response_format=TextFormat(),
        reasoning_effort=None,
        tool_resources={},
    )
    assert (changed.model, changed.name, changed.temperature, changed.top_p) == ("other", "New", 2, 1)
    assert changed.response_format.type == "text"
    assert changed.tools == assistant.tools
    again = await session.assistants.update(assistant.id, name=None, tools=[])
    assert (again.name, again.tools, again.description) == (None, (), "d")
    assert "name" not in again.absent


async def test_list(session: Session) -> None:
    """Newest first, over any number of pages."""
    ids = [(await session.assistants.create(model="scripted", name=str(n))).id for n in range(5)]
    assert [found.id async for found in session.assistants.list(limit=2)] == ids[::-1]
    assert [found.id async for found in session.assistants.list(limit=2, order="asc")] == ids
    page = await session.assistants.list(limit=2, order="asc", after=ids[0], before=ids[4]).page()
    assert [found.id for found in page.data] == ids[1:3]
    assert page.has_more


async def test_delete(session: Session, assistant: Assistant) -> None:
    """Deleting a second time raises NotFoundError."""
    word = await session.assistants.delete(assistant.id)
    assert (word.id, word.object, word.deleted) == (assistant.id, "assistant.deleted", True)
    for call in (session.assistants.retrieve, session.assistants.delete):
        with pytest.raises(NotFoundError) as caught:
            await call(assistant.id)
        assert type(caught.value) is NotFoundError


async def test_refused_by_the_server(session: Session) -> None:
    """What only the server can judge comes back with the server's message."""
    with pytest.raises(BadRequestError) as caught:
        await session.assistants.create(model="scripted", tools=[{"type": "teleport"}])
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id.startswith("req_")
