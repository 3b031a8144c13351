"""The option for the endpoint's URL, for commands that act as clients."""

from typing import Annotated, TypeAlias

import typer

BaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(envvar="OPENAI_BASE_URL", help="The endpoint's base URL; its key: OPENAI_API_KEY."),
]
