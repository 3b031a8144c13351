"""Files that are uploaded, and what is asked about them."""

import io
import json
import sqlite3
from collections.abc import Iterator
from typing import Final

from openai_runs.errors import FileError
from openai_runs.file_search.chunking import Chunking, chunks_of
from openai_runs.file_search.formats import text_of
from openai_runs.file_search.search_index import terms_of
from openai_runs.file_search.sqlite_index import quoted
from openai_runs.file_search.tokens import count
from tests.file_search.recall import documents, questions
from tests.fuzz.target import Target, first_line

_CHUNKING: Final = Chunking(100, 50)


def files(data: bytes) -> None:
    """Any file with any name is refused, or is chunks that fit and can be stored; a PDF is left to its own process."""
    name, content = first_line(data)
    if b"%PDF-" in content[:1024]:
        return
    try:
        text = text_of(io.BytesIO(content), name.decode(errors="replace"))
    except FileError as error:
        assert error.code in ("unsupported_file", "invalid_file")
        return
    chunks = list(chunks_of(text, _CHUNKING, most=10**6))
    assert chunks
    for chunk in chunks:
        assert chunk in text
        assert count(chunk) <= _CHUNKING.max_tokens + 1
        assert "\0" not in chunk.encode().decode()


def searches(data: bytes) -> None:
    """Any query is words to FTS5."""
    text = data.decode(errors="surrogateescape")
    for term in terms_of(text):
        _WORDS.execute("SELECT count(*) FROM words WHERE words MATCH ?", (quoted(term),))


_WORDS: Final = sqlite3.connect(":memory:")
_WORDS.execute("CREATE VIRTUAL TABLE words USING fts5 (text)")


def _file_seeds() -> Iterator[bytes]:
    for name, passages in list(documents().items())[:3]:
        yield f"{name}\n".encode() + "\n\n".join(passages).encode()
    yield b"page.html\n<html><meta charset=latin-1><p>one<br>two<script>no</script><table><tr><td>1</table>&amp;"
    yield b"a.txt\n" + "f\u00fcr 5 \u20ac".encode("utf-16")
    yield b"a.json\n" + json.dumps({"a": [1, "two"]}).encode()
    yield b"a.docx\nPK\x03\x04"


def _search_seeds() -> Iterator[bytes]:
    for question in questions()[::20]:
        yield question.text.encode()
    yield b'"a" OR NEAR(b c, 2) AND text: - ^d* {e}'


TARGETS = (Target("files", files, _file_seeds), Target("searches", searches, _search_seeds))
