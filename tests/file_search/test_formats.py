"""The text of files: which kinds are read, and what is refused."""

import io
import sys

import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.errors import FileError
from openai_runs.file_search import formats
from openai_runs.file_search.formats import decoded, html_text, text_of
from tests.file_search.pdfs import of_streams, pdf


def text(data, filename="file.txt"):
    return text_of(io.BytesIO(data), filename)


def refusal(data, filename="file.txt"):
    with pytest.raises(FileError) as raised:
        text(data, filename)
    return raised.value


def test_a_pdf():
    """The text of each page, in their order; a PDF is one by how it begins, whatever its name is."""
    data = pdf("The first page", "The second page")
    assert text(data, "a.pdf") == text(data, "a.txt") == "The first page\n\nThe second page"


def test_a_word_that_is_divided():
    """A word that goes on in the next line of a page is found as one."""
    data = of_streams([b"BT /F1 12 Tf 72 700 Td (the manip-) Tj 0 -14 Td (ulation of) Tj ET"])
    assert "the manipulation of" in text(data)


def test_a_pdf_without_text():
    """A scan has no text, and the message says that pictures are not read."""
    error = refusal(pdf(""), "scan.pdf")
    assert error.code == "invalid_file"
    assert "what is only in pictures" in error.message


def test_a_damaged_pdf():
    """What begins as a PDF and is none is the file's fault."""
    error = refusal(b"%PDF-1.7 and nothing", "a.pdf")
    assert (error.code, error.message) == ("invalid_file", "The PDF cannot be read: it is damaged.")


def test_a_locked_pdf(monkeypatch):
    """A PDF with a password is refused, and the message says why."""

    def locked(file):
        raise pypdfium2.PdfiumError("Failed to load document (PDFium: Incorrect password error).")

    monkeypatch.setattr(pypdfium2, "PdfDocument", locked)
    assert refusal(pdf("x")).message == "The PDF cannot be read: it needs a password."


def test_a_pdf_without_the_library(monkeypatch):
    """If the extra is not installed, that is the server's fault, and the message says what to install."""
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    error = refusal(pdf("x"))
    assert error.code == "server_error"
    assert "openai_runs[files]" in error.message
    assert ".[files]" in error.message


def test_too_much_text(monkeypatch):
    """Reading stops at the limit, in a PDF at the page that goes beyond it."""
    monkeypatch.setattr(formats, "MOST_TEXT", 20)
    assert text(b"x" * 20) == "x" * 20
    assert "more than 5,000,000 tokens" in refusal(b"x" * 21).message
    assert "more than 5,000,000 tokens" in refusal(pdf("first page", "second page", "third page")).message


@pytest.mark.parametrize(
    ("filename", "data"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
        ("a.docx", b"PK\x03\x04\x14\x00\x06\x00"),
        ("a", b"\x7fELF\x02\x01\x01\x00"),
        ("a.txt", b"text" * 2000 + b"\x00"),
    ],
)
def test_other_files_are_not_supported(filename, data):
    """What is neither a PDF nor text is refused by what is in it, wherever in it that is."""
    error = refusal(data, filename)
    assert error.code == "unsupported_file"
    assert ("no extension" if filename == "a" else filename[1:]) in error.message


@pytest.mark.parametrize("data", [b"", b" \n\t ", b"\xef\xbb\xbf"])
def test_empty_files(data):
    """A file without text cannot be found, and is refused."""
    assert refusal(data).code == "invalid_file"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(encoding):
    """Text is decoded by its byte order mark, as UTF-8, or else as Windows-1252."""
    assert text("für 5 €".encode(encoding)) == "für 5 €"


def test_big_endian():
    """Both byte orders are read."""
    assert decoded(b"\xfe\xff" + "für".encode("utf-16-be")) == "für"
    assert decoded(b"\x00\x00\xfe\xff" + "für".encode("utf-32-be")) == "für"


def test_a_wrong_byte_order_mark():
    """A file that is not what it begins as is refused."""
    assert refusal(b"\xff\xfeabc").message == "The file is not the utf-16 that it begins as."


def test_html_declares_its_encoding():
    """As browsers do; one that does not exist is ignored."""
    page = '<html><head><meta charset="{}"></head><body>caf\u00e9 \u0142</body></html>'
    assert (
        text(page.format("iso-8859-2").replace("\u00e9", "\u0119").encode("iso-8859-2"), "a.html") == "caf\u0119 \u0142"
    )
    assert "caf\u00e9" in text(page.format("nonsense").encode(), "a.html")


@pytest.mark.parametrize("name", ["a.html", "a.HTM", "page"])
def test_html(name):
    """Tags are left out; blocks are lines, cells are apart, and what nobody reads is not there."""
    page = b"""<!DOCTYPE html><html><head><title>Kettle &amp; co</title><style>p {}</style></head><body>
    <script>evil("x")</script><h1>How to <b>boil</b>er</h1><p>First<br>second</p><p>third</p><noscript>no</noscript>
    <table><tr><td>1<td>2</table><svg><text>picture</text></svg><template/><hr/>end"""
    assert text(page, name) == "Kettle & co\n\nHow to boiler\n\nFirst\nsecond\n\nthird\n\n1 2\n\nend"


def test_text_about_html():
    """HTML in a text that is none stays."""
    assert text(b"Use <b> for bold.", "a.md") == "Use <b> for bold."


def test_a_hidden_part_that_is_not_closed_properly():
    """A tag that is closed out of order closes what is in it."""
    assert html_text("<p>a</p><svg><template>b</svg>c</template>d") == "a\n\ncd"


def test_source_code_and_data_stay_as_they_are():
    """JSON, CSV and code are found as they were written."""
    for data in (b'{"a": [1, 2]}', b"a,b\n1,2\n", b"def f():\n\treturn 1\n"):
        assert text(data) == data.decode()


def test_characters_that_cannot_be_stored():
    """A NUL, which UTF-16 may have between characters, is replaced."""
    assert text("a\x00b".encode("utf-16")) == "a\ufffdb"


@given(st.binary(max_size=300), st.sampled_from(["a.txt", "a.html", "a.pdf"]))
def test_any_bytes(data, filename):
    """Any bytes are text that can be stored, or a `FileError`."""
    try:
        found = text(data, filename)
    except FileError:
        return
    assert found.strip()
    assert "\x00" not in found.encode().decode()
