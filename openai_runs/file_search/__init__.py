"""Makes files searchable: from their bytes to text, to chunks, to an index that is searched by words and by meaning.

It needs the extra ``files``, and `PostgresIndex` the extra ``postgres``, too. An engine needs `LocalFileSearch` only;
the parts can be used by themselves.

A name is loaded when it is used first: the process that reads a file imports this package, and is to be small.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from openai_runs.file_search.chunking import Chunking
    from openai_runs.file_search.embeddings import Embedder, EmbeddingsEndpoint
    from openai_runs.file_search.extraction import ExtractionLimits
    from openai_runs.file_search.local_file_search import IngestedFile, LocalFileSearch, RankingOptions
    from openai_runs.file_search.postgres_index import PostgresIndex
    from openai_runs.file_search.search_index import Hit, SearchIndex
    from openai_runs.file_search.sqlite_index import SQLiteIndex

__all__ = [
    "Chunking",
    "Embedder",
    "EmbeddingsEndpoint",
    "ExtractionLimits",
    "Hit",
    "IngestedFile",
    "LocalFileSearch",
    "PostgresIndex",
    "RankingOptions",
    "SQLiteIndex",
    "SearchIndex",
]

#: Where each name is, as the imports above tell type checkers.
_HOMES: Final = {
    "Chunking": "chunking",
    "Embedder": "embeddings",
    "EmbeddingsEndpoint": "embeddings",
    "ExtractionLimits": "extraction",
    "Hit": "search_index",
    "IngestedFile": "local_file_search",
    "LocalFileSearch": "local_file_search",
    "PostgresIndex": "postgres_index",
    "RankingOptions": "local_file_search",
    "SQLiteIndex": "sqlite_index",
    "SearchIndex": "search_index",
}

if not TYPE_CHECKING:  # to a type checker, `__getattr__` would mean that every name exists

    def __getattr__(name: str) -> object:
        """Load a name when it is used first."""
        if home := _HOMES.get(name):
            try:
                value = globals()[name] = getattr(import_module(f"openai_runs.file_search.{home}"), name)
            except ModuleNotFoundError as error:  # it needs the extra
                from openai_runs._extras import no_such_name

                raise no_such_name(error, name) from error
            return value
        raise AttributeError(f"module 'openai_runs.file_search' has no attribute {name!r}", name=name)
