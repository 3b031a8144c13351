"""The command line: what the library can do, in readable output. It has no logic of its own."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from openai_runs.errors import OpenAIRunsError
from openai_runs.session import Session

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Runs of the Assistants API, wherever they execute.")
console = Console(highlight=False, soft_wrap=True)

BaseUrl = Annotated[
    str | None, typer.Option(envvar="OPENAI_BASE_URL", help="The endpoint. Its key comes from OPENAI_API_KEY.")
]


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def demo(
    base_url: BaseUrl = None,
    model: Annotated[str, typer.Option(help="The model to ask for.")] = "gpt-4o-mini",
) -> None:
    """Live through a run with a tool call: on a server inside this process, or at an endpoint."""
    _run(_demo(base_url, model))


async def _demo(base_url: str | None, model: str) -> None:
    from openai_runs.demo import story

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


@app.command()
def follow(thread_id: str, run_id: str, base_url: BaseUrl = None) -> None:
    """Follow a run that was started anywhere, to its end."""
    _run(_follow(thread_id, run_id, base_url))


async def _follow(thread_id: str, run_id: str, base_url: str | None) -> None:
    async with Session(base_url) as session:
        async for event in session.runs.follow(thread_id, run_id):
            console.print(f"[bold]{type(event).__name__:24}[/] {escape(str(event.run))}")


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (OpenAIRunsError, ValueError) as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]{escape(str(error))}[/]")
        raise typer.Exit(1) from None
