"""The options of `openai-runs serve` that choose what searches files, and the search made from them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from openai_runs._extras import can_search
from openai_runs.cli.model_options import Backend, EndpointOptions

if TYPE_CHECKING:
    from openai_runs.server.local_files import FileOption


class Files(StrEnum):
    """What searches the files of runs."""

    LOCAL = "local"
    ENDPOINT = "endpoint"


def make_files(
    files: Files | None,
    embedding_model: str | None,
    store: Path,
    backend: Backend,
    url: str | None,
    key: str | None,
    endpoint: EndpointOptions,
) -> "FileOption":
    """Make the search for these options.

    Raises:
        typer.BadParameter: The options do not fit together, or packages are missing: runs would fail later.
    """
    is_local = files is Files.LOCAL or (files is None and backend is not Backend.RESPONSES)
    if (files is Files.LOCAL or (is_local and embedding_model is not None)) and not can_search():
        raise typer.BadParameter("--files local needs packages that come with pip install 'openai_runs[files]'")
    if embedding_model is None:
        return None if files is None else files.value
    if not is_local or url is None:
        raise typer.BadParameter("--embedding-model needs --files local, and the --model-url that has the model")
    from openai_runs.file_search import EmbeddingsEndpoint, LocalFileSearch, SQLiteIndex
    from openai_runs.server.local_files import index_beside

    headers = endpoint.parsed().get("headers", {})
    embedder = EmbeddingsEndpoint(url, key, model=embedding_model, headers=headers)
    return LocalFileSearch(SQLiteIndex(index_beside(store)), embedder=embedder)
