"""The options of `openai-runs serve` that choose where files are and what searches them, and what is made of them."""

import logging
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from openai_runs._extras import NO_SEARCH, can_search
from openai_runs.cli.model_options import Backend, EndpointOptions

if TYPE_CHECKING:
    from openai_runs.server.local_files import FileOption
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore

_logger = logging.getLogger("openai_runs.cli")


class Files(StrEnum):
    """Where files are, and what searches them."""

    LOCAL = "local"
    ENDPOINT = "endpoint"
    UNREAD = "unread"


def make_files(
    files: Files | None,
    embedding_model: str | None,
    store: "SQLiteStore | PostgresStore",
    backend: Backend,
    url: str | None,
    key: str | None,
    endpoint: EndpointOptions,
) -> "FileOption":
    """Make what has the files, or searches them, for these options. Call `make_backend` first.

    Raises:
        typer.BadParameter: The options do not fit together, or packages are missing: runs would fail later.
    """
    is_local = files is Files.LOCAL or (files is None and backend is not Backend.RESPONSES)
    if is_local and not can_search():
        if files is Files.LOCAL or embedding_model is not None:
            raise typer.BadParameter(f"--files local: {NO_SEARCH}")
        _logger.warning("Files in vector stores are not read, and runs cannot search them. %s.", NO_SEARCH)
    headers = endpoint.parsed().get("headers", {})
    if embedding_model is None and files is Files.ENDPOINT:
        if backend is not Backend.RESPONSES or url is None:
            raise typer.BadParameter(f"--files endpoint is only for --backend responses: got --backend {backend}")
        from openai_runs.server import EndpointFiles

        return EndpointFiles(url, key, headers=headers, query=endpoint.parsed().get("query"))
    if embedding_model is None:
        return None if files is None else "local" if files is Files.LOCAL else "unread"
    if not is_local or url is None:
        raise typer.BadParameter("--embedding-model needs --files local, and the --model-url that has the model")
    from openai_runs.file_search import EmbeddingsEndpoint, LocalFileSearch
    from openai_runs.server.local_files import index_place, new_index

    embedder = EmbeddingsEndpoint(url, key, model=embedding_model, headers=headers)
    place = index_place(store)
    assert place is not None  # noqa: S101  # for the type checker: each of these stores has one
    return LocalFileSearch(new_index(place), embedder=embedder)


def refuse_with_endpoint(files: Files | None, *, limits_owners: bool, passes_through: bool, owners: int) -> None:
    """Refuse options that do not go with files at the endpoint.

    Raises:
        typer.BadParameter: There is one.
    """
    if files is not Files.ENDPOINT:
        return
    if limits_owners:
        raise typer.BadParameter(
            "--max-owner-mb is only for files that are kept here: leave it or --files endpoint out"
        )
    if passes_through and owners > 1:
        raise typer.BadParameter(
            "--pass-through and --files endpoint are only for one owner: what is passed through could use the files "
            "and vector stores of all owners"
        )
