"""The command `openai-runs demo`."""

from contextlib import AsyncExitStack, aclosing
from typing import Annotated

import typer
from rich.markup import escape

from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.terminal import console, run
from openai_runs.cli.walkthrough import walkthrough
from openai_runs.session import Session


def demo(
    base_url: BaseUrl = None,
    model: Annotated[str, typer.Option(help="The model of the run.")] = "gpt-4o-mini",
) -> None:
    """Execute a run with a tool call and show each event, on a server in this process or at an endpoint."""
    run(_demo(base_url, model))


async def _demo(base_url: str | None, model: str) -> None:
    async with AsyncExitStack() as stack:
        if base_url is None:
            from openai_runs.server import LocalServer

            server = await stack.enter_async_context(LocalServer())
            console.print(
                f"[dim]no endpoint given: using a server in this process, {server.url}, with a scripted model[/]"
            )
            session = await stack.enter_async_context(server.session())
        else:
            session = await stack.enter_async_context(Session(base_url))
        # Closed here, while the session is still open: it deletes what it has created, also if the output is closed.
        events = await stack.enter_async_context(aclosing(walkthrough(session, model=model)))
        async for what, detail in events:
            console.print(f"[bold]{what:24}[/] {escape(str(detail))}")
