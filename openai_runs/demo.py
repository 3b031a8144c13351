"""The whole story of one run with a tool call, told scene by scene; also a program to start from."""

from collections.abc import AsyncGenerator
from typing import Any

from openai_runs.events import ActionRequired
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

toolbox = Toolbox()


@toolbox.tool
async def get_weather(city: str, unit: str = "celsius") -> dict[str, Any]:
    """Tell the weather of a city.

    Args:
        city: The city's name.
        unit: celsius or fahrenheit.
    """
    return {"city": city, "temperature": 21 if unit == "celsius" else 70, "unit": unit, "sky": "clear"}


async def story(session: Session, *, model: str) -> AsyncGenerator[tuple[str, Any], None]:
    """Live through everything once: assistant, thread, messages, run, tool call, steps, answer, and tidy up.

    Args:
        session: Where.
        model: The model of the assistant and of the run.

    Yields:
        What happened, and the object or event it happened to.
    """
    assistant = await session.assistants.create(
        model=model, name="Weather man", instructions="You tell the weather.", tools=toolbox.tools
    )
    yield "assistant created", assistant
    thread = await session.threads.create()
    try:
        yield "thread created", thread
        for text in ("I am in Lisbon today.", "What is the weather like here?"):
            yield "message added", await session.messages.create(thread.id, role="user", content=text)
        run = await session.runs.create(
            thread.id,
            assistant_id=assistant.id,
            model=model,
            instructions="You tell the weather, in one sentence. Always ask the tool.",
            tools=toolbox.tools,
            temperature=0.2,
            top_p=0.9,
            metadata={"purpose": "demo"},
        )
        yield "run started", run
        async for event in session.runs.follow(run, deadline=120):
            yield f"event {type(event).__name__}", event
            if isinstance(event, ActionRequired):
                outputs = await toolbox.answer(event.tool_calls, run_id=run.id)
                await session.runs.submit_tool_outputs(event.run, outputs)
                yield "tool outputs submitted", outputs
        async for step in session.run_steps.list(thread.id, run.id, order="asc"):
            yield "step", step
        async for message in session.messages.list(thread.id, run_id=run.id, order="asc"):
            yield "answer", message.text
    finally:
        await session.assistants.delete(assistant.id)
        await session.threads.delete(thread.id)
    yield "deleted", (assistant.id, thread.id)
