"""A walkthrough of the client: one run with a tool call, step by step; also an example to start from."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from openai_runs.events import ActionRequired, RunEnded
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

toolbox: Final = Toolbox()


@toolbox.tool
async def get_weather(city: str, unit: str = "celsius") -> dict[str, Any]:
    """Report the weather of a city.

    Args:
        city: The city's name.
        unit: celsius or fahrenheit.
    """
    return {"city": city, "temperature": 21 if unit == "celsius" else 70, "unit": unit, "sky": "clear"}


async def walkthrough(session: Session, *, model: str) -> AsyncGenerator[tuple[str, object], None]:
    """Do everything once: create an assistant, a thread, messages and a run, run its tool, list its steps, clean up.

    Args:
        session: The client to use.
        model: The model of the assistant and of the run.

    Yields:
        What happened, and its details.
    """
    assistant = await session.assistants.create(
        model=model, name="Weather man", instructions="You tell the weather.", tools=toolbox.tools
    )
    try:
        yield "assistant created", f"{assistant.id}, with the tool {', '.join(t.function.name for t in toolbox.tools)}"
        thread = await session.threads.create()
        try:
            yield "thread created", thread.id
            for text in ("I am in Lisbon today.", "What is the weather like here?"):
                message = await session.messages.create(thread.id, role="user", content=text)
                yield "message added", f"{message.id}: {message.text}"
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
            yield "run created", f"{run.id}: model={run.model}, temperature={run.temperature}, top_p={run.top_p}"
            async for event in session.runs.follow(run, deadline=120):
                match event:
                    case ActionRequired(status=status, tool_calls=calls):
                        asked = ", ".join(f"{call.function.name}({call.function.arguments})" for call in calls)
                        yield f"event {type(event).__name__}", f"{status}: {asked}"
                        outputs = await toolbox.answer(calls, run_id=run.id)
                        await session.runs.submit_tool_outputs(event.run, outputs)
                        yield "outputs submitted", ", ".join(output.output for output in outputs)
                    case RunEnded(status=status, run=run):
                        yield f"event {type(event).__name__}", f"{status}, {run.usage}"
                    case _:
                        yield f"event {type(event).__name__}", event.run.status
            async for step in session.run_steps.list(thread_id=thread.id, run_id=run.id, order="asc"):
                yield "step", f"{step.id}: {step.type}, {step.status}"
            async for message in session.messages.list(thread.id, run_id=run.id, order="asc"):
                yield "answer", message.text
        finally:
            await session.threads.delete(thread.id)
    finally:
        await session.assistants.delete(assistant.id)
    yield "deleted", f"{assistant.id} and {thread.id}"
