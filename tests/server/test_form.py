"""Forms as clients write them, and as no client should."""

from typing import Any

import pytest
from aiohttp import ClientSession, FormData, MultipartWriter

from openai_runs.server import LocalServer
from openai_runs.server.form import _put
from tests.server.api import Api, form

pytestmark = pytest.mark.anyio

FILE = b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nsome text'
PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nassistants'


def multipart(*parts: bytes, boundary: bytes = b"X", end: bytes = b"--X--\r\n") -> dict[str, Any]:
    """A form, written by hand."""
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + end
    return {"data": body, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}}


@pytest.mark.parametrize(
    ("parts", "filename"),
    [
        ([FILE, PURPOSE], "a.txt"),
        ([PURPOSE, FILE], "a.txt"),
        # curl -F purpose=assistants -F 'file=@ä "b".txt'
        (
            [PURPOSE, 'Content-Disposition: form-data; name="file"; filename="ä %22b%22.txt"\r\n\r\nx'.encode()],
            "ä %22b%22.txt",
        ),
        ([PURPOSE, b'Content-Disposition: form-data; name="file"; filename="a \\"b\\".txt"\r\n\r\nx'], 'a "b".txt'),
        # RFC 5987, as Python's requests has it
        ([PURPOSE, b"Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%C3%A4.txt\r\n\r\nx"], "ä.txt"),
        ([PURPOSE, b"Content-Disposition: form-data; name=file; filename=a.txt\r\n\r\nx"], "a.txt"),
        # the client of Apache, for Java
        (
            [PURPOSE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"),
             FILE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: binary\r\n\r\n")],
            "a.txt",
        ),
        # bytes that are not UTF-8
        ([PURPOSE, b'Content-Disposition: form-data; name="file"; filename="\xff.txt"\r\n\r\nx'], "?.txt"),
        ([PURPOSE, b'Content-Disposition: form-data; name="file"; filename="%s"\r\n\r\nx' % (b"a" * 2000)], "a" * 1000),
    ],
)  # fmt: skip
async def test_forms_of_many_clients(api: Api, parts: list[bytes], filename: str):
    """Parts may come in any order, and names in any way of writing them."""
    file = await api("POST", "/files", **multipart(*parts))
    assert (file["filename"], file["purpose"]) == (filename, "assistants")


async def test_the_form_of_node(api: Api):
    """`FormData` of Node and browsers: a long boundary, no length of the parts, and nothing after the end."""
    boundary = b"----formdata-undici-012345678901"
    parts = [b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch', FILE]
    file = await api("POST", "/files", **multipart(*parts, boundary=boundary, end=b"--" + boundary + b"--"))
    assert (file["filename"], file["bytes"], file["purpose"]) == ("a.txt", 9, "batch")


@pytest.mark.parametrize("content", [b"", b"\r\n--", b"--X\r", b"\r\n--X-" * 50_000, bytes(range(256)) * 1000])
async def test_contents_of_any_bytes(server: LocalServer, api: Api, content: bytes):
    """What looks like the end of a part, and is not, belongs to the file."""
    part = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content
    file = await api("POST", "/files", **multipart(PURPOSE, part, boundary=b"XY", end=b"--XY--\r\n"))
    async with server.session() as session:
        assert await session.files.content(file["id"]).read() == content


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        ({"json": {"purpose": "assistants"}}, 415, "Unsupported content type: 'application/json'"),
        ({"data": b"x"}, 415, "only accepts 'multipart/form-data' requests"),
        ({"data": {"purpose": "assistants"}}, 415, "application/x-www-form-urlencoded"),
        ({"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ({"data": b"x", "headers": {"Content-Type": f"multipart/form-data; boundary={'x' * 80}"}}, 400, "too long"),
        (multipart(FILE, PURPOSE, end=b""), 400, "We could not read the form in the body of your request: "),
        (multipart(end=b""), 400, "starting boundary"),
        (multipart(b"no header at all"), 400, "We could not read the form"),
        (multipart(b"X: y\r\n\r\nx"), 400, "a part of it is no field"),
        (multipart(b'Content-Disposition: form-data; name=""\r\n\r\nx'), 400, "a part of it is no field"),
        (multipart(b"Content-Type: multipart/mixed; boundary=Y\r\n\r\nx"), 400, "a part of it is no field"),
        (multipart(PURPOSE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n")), 400, "Encoding"),
        (multipart(b'Content-Disposition: form-data; name="purpose"\r\n\r\n\xff'), 400, "'purpose' is not UTF-8"),
        (multipart(b'Content-Disposition: form-data; name="file"\r\n\r\nx'), 400, "expected a file, with a filename"),
        (multipart(FILE, FILE), 400, "Invalid 'file': it is given twice"),
        (multipart(PURPOSE, PURPOSE), 400, "Invalid 'purpose': it is given twice"),
        (multipart(PURPOSE, PURPOSE.replace(b'"purpose"', b'"purpose[x]"')), 400, "Invalid 'purpose[x]': it is given"),
        (multipart(PURPOSE.replace(b"assistants", b"x" * 5000)), 400, "with maximum length 1024"),
        (multipart(b'Content-Disposition: form-data; name="_charset_"\r\n\r\n' + b"x" * 50), 400, "charset"),
    ],
)  # fmt: skip
async def test_bad_forms(api: Api, request_: dict[str, Any], status: int, text: str):
    """A form that cannot be read is refused, and the error says why."""
    error = await api("POST", "/files", status=status, **request_)
    assert text in error["error"]["message"]


async def test_a_connection_that_breaks(server: LocalServer):
    """Nothing is left of an upload whose client goes away."""

    async def pieces():
        yield b"--X\r\n" + FILE[:-4]
        raise ConnectionResetError

    async with ClientSession() as http:
        headers = {"Content-Type": "multipart/form-data; boundary=X"}
        with pytest.raises(OSError):  # noqa: PT011  # aiohttp's error has several classes
            await http.post(f"{server.url}/files", data=pieces(), headers=headers)
    async with server.session() as session:
        assert [file async for file in session.files.list()] == []


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:1", 403), ("http://[", 403), (None, 200)],
)
async def test_forms_of_other_sites(
    server: LocalServer, api: Api, origin: str | None, status: int, caplog: pytest.LogCaptureFixture
):
    """A browser sends forms to any server without asking it; ours, without keys, takes none from pages of others.

    The log says so: behind a reverse proxy that changes the Host header, its own page looks like one of others.
    """
    headers = {"Origin": origin or server.url.removesuffix("/v1")}
    await api("POST", "/files", data=form(), headers=headers, status=status)
    assert ("Host header" in caplog.text) is (status == 403)


def test_brackets():
    """Names in brackets are places, at any depth."""
    fields: dict[str, Any] = {}
    for name, text in {"a[b]": "1", "a[c][d]": "2", "e": "3", "f[": "4"}.items():
        _put(fields, name, text)
    assert fields == {"a": {"b": "1", "c": {"d": "2"}}, "e": "3", "f": "4"}


async def test_nested_parts(api: Api):
    """A multipart in a multipart, as old browsers sent several files, is no file."""
    inner, outer = MultipartWriter("mixed"), MultipartWriter("form-data")
    inner.append("x")
    outer.append(inner).set_content_disposition("form-data", name="file")
    await api("POST", "/files", data=outer, status=400)


async def test_aiohttps_own_form(api: Api):
    """The forms that aiohttp writes are read."""
    data = FormData({"purpose": "vision"})
    data.add_field("file", b"x", filename="ä b.txt", content_type="image/png")
    assert (await api("POST", "/files", data=data))["purpose"] == "vision"
