"""From a file to its text: what kind of file it is, and how each kind is read.

All of this runs in a process of its own (`extraction_worker`), where it may take too long, too much memory, or crash.
"""

import codecs
import re
from contextlib import closing
from html.parser import HTMLParser
from pathlib import PurePath
from typing import BinaryIO, Final, Literal, TypeAlias

from openai_runs._extras import installing
from openai_runs.errors import FileError

Kind: TypeAlias = Literal["pdf", "html", "text"]

#: Bytes of a text file, or characters of a PDF's text, that are read. More has more than 5,000,000 tokens anyway.
MOST_TEXT: Final = 64 * 2**20

#: What is looked at to tell what a file is.
_HEAD: Final = 4096

_HTML_SUFFIXES: Final = frozenset({".html", ".htm", ".xhtml"})
_is_html: Final = re.compile(r"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL).match

_MARKS: Final = (  # of the byte order; UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Control characters that no text has: all but tabs, line and page breaks, and the escapes of terminals.
_no_text: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]").search
_declared: Final = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([\w-]{3,40})", re.IGNORECASE).search

#: Parts of a page that nobody reads.
_HIDDEN: Final = frozenset({"script", "style", "template", "svg", "noscript"})
#: What does not end a line.
_INLINE: Final = frozenset(
    re.findall(
        r"\w+",
        "a abbr acronym b bdi bdo big cite code data del dfn em font i img input ins kbd label mark q s samp small "
        "span strike strong sub sup time tt u var wbr",
    )
)
_CELLS: Final = frozenset({"td", "th"})

_SPACES: Final = re.compile(r"[ \t\r\f\v]+")
_AROUND_BREAKS: Final = re.compile(r" ?\n ?")
_MANY_BREAKS: Final = re.compile(r"\n{3,}")


def text_of(file: BinaryIO, filename: str) -> str:
    """Read a file's text.

    Args:
        file: At its beginning; a PDF has to be seekable.
        filename: What tells HTML from text that is about HTML.

    Raises:
        FileError: The kind of file is not supported, or it is damaged, locked, too large or without any text.
    """
    head = file.read(_HEAD)
    file.seek(0)
    text = _pdf_text(file) if kind_of(filename, head) == "pdf" else _plain_text(file, filename)
    text = text.replace("\x00", "\ufffd")  # which would end it in SQLite
    if not text.strip():
        raise FileError("invalid_file", "The file has no text; what is only in pictures, such as scans, is not read.")
    return text


def kind_of(filename: str, head: bytes) -> Kind:
    """Tell what a file is by how it begins, and only in doubt by its name.

    Raises:
        FileError: It is neither a PDF nor text.
    """
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if not head.startswith(tuple(mark for mark, _ in _MARKS)) and _no_text(head):
        raise FileError(
            "unsupported_file",
            f"Files of this type ({_suffix(filename)}) are not supported: only PDF, and text such as plain text, "
            "Markdown, HTML, JSON, CSV and source code.",
        )
    return "html" if PurePath(filename).suffix.lower() in _HTML_SUFFIXES else "text"


def _suffix(filename: str) -> str:
    return PurePath(filename).suffix[:20] or "no extension"


def _plain_text(file: BinaryIO, filename: str) -> str:
    data = file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise too_much_text()
    is_html = kind_of(filename, data) == "html"
    text = decoded(data, is_html=is_html)
    del data  # a text may be large
    return html_text(text) if is_html or _is_html(text[:_HEAD]) else text


def decoded(data: bytes, *, is_html: bool = False) -> str:
    """Decode text: as its byte order mark or HTML's declaration says, or as UTF-8, or else as Windows-1252.

    Raises:
        FileError: It is not what its byte order mark says.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise FileError("invalid_file", f"The file is not the {encoding} that it begins as.") from error
    encodings = ["utf-8"]
    if is_html and (declared := _declared(data[:_HEAD])):
        encodings.insert(0, declared[1].decode())
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):  # the next one, then
            pass
    return data.decode("cp1252", errors="replace")


def html_text(page: str) -> str:
    """Take the text out of HTML, a line for each block."""
    parser = _TextParser()
    parser.feed(page)
    parser.close()
    text = _AROUND_BREAKS.sub("\n", _SPACES.sub(" ", "".join(parser.parts)))
    return _MANY_BREAKS.sub("\n\n", text).strip()


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden: list[str] = []  # the open parts that nobody reads

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif tag not in _INLINE:
            self.parts.append("\t" if tag in _CELLS else "\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _HIDDEN:  # it is empty
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        elif tag not in _INLINE and tag not in _CELLS and tag not in _HIDDEN:
            self.parts.append("\n\n" if tag == "p" else "\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def _pdf_text(file: BinaryIO) -> str:
    try:
        import pypdfium2  # type: ignore[import-untyped]  # it has no hints
    except ModuleNotFoundError as error:
        raise FileError("server_error", f"The server lacks pypdfium2: {installing('files')}.") from error
    try:
        with closing(pypdfium2.PdfDocument(file)) as document:
            pages: list[str] = []
            size = 0
            for page in document:
                with closing(page), closing(page.get_textpage()) as text:
                    # PDFium writes U+FFFE for a hyphen at the end of a line, which is no part of the word.
                    pages.append(text.get_text_range().replace("\r\n", "\n").replace("\ufffe", ""))
                size += len(pages[-1])
                if size > MOST_TEXT:
                    raise too_much_text()
            return "\n\n".join(pages)
    except pypdfium2.PdfiumError as error:
        reason = "it needs a password" if "password" in str(error).lower() else "it is damaged"
        raise FileError("invalid_file", f"The PDF cannot be read: {reason}.") from error


def too_much_text() -> FileError:
    """The error for a file that has more text than the API takes."""
    return FileError("invalid_file", "The file has too much text: more than 5,000,000 tokens.")
