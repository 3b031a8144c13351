"""`openai-runs demo`."""

from contextlib import AsyncExitStack
from typing import Annotated

import typer
from rich.markup import escape

from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.story import story
from openai_runs.cli.terminal import console, run
from openai_runs.session import Session


def demo(
    base_url: BaseUrl = None,
    model: Annotated[str, typer.Option(help="The model to ask for.")] = "gpt-4o-mini",
) -> None:
    """Live through a run with a tool call: on a server inside this process, or at an endpoint."""
    run(_demo(base_url, model))


async def _demo(base_url: str | None, model: str) -> None:
    async with AsyncExitStack() as stack:
        if base_url is None:
            from openai_runs.server import LocalServer

            server = await stack.enter_async_context(LocalServer())
            console.print(f"[dim]no endpoint given: running on {server.url}, with a scripted model[/]")
            session = await stack.enter_async_context(server.session())
        else:
            session = await stack.enter_async_context(Session(base_url))
        async for what, it in story(session, model=model):
            console.print(f"[bold]{what:24}[/] {escape(str(it))}")
