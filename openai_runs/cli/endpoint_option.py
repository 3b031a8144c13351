"""The option that says where an endpoint is, for commands that are clients."""

from typing import Annotated, TypeAlias

import typer

BaseUrl: TypeAlias = Annotated[
    str | None, typer.Option(envvar="OPENAI_BASE_URL", help="The endpoint. Its key comes from OPENAI_API_KEY.")
]
