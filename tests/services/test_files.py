"""`session.files`: each operation, each parameter; what is uploaded arrives, and comes back."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs.errors import BadRequestError, NotFoundError, ResponseError, TransportError
from openai_runs.server import LocalServer
from openai_runs.session import Session
from tests.proxy import Fate, Proxy
from tests.stub import Stub, error

pytestmark = pytest.mark.anyio

TEXT = "some téxt".encode()


async def pieces(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        yield text


def source_of(kind: str, folder: Path) -> Any:
    path = folder / "a b.txt"
    path.write_bytes(TEXT)
    match kind:
        case "bytes":
            return TEXT
        case "path":
            return path
        case "open file":
            return path.open("rb", buffering=0)
        case "bytes as a file":
            return io.BytesIO(TEXT)
        case _:
            return pieces(TEXT[:3], b"", TEXT[3:])


@pytest.mark.parametrize("kind", ["bytes", "path", "open file", "bytes as a file", "iterable"])
async def test_whatever_can_be_read(session: Session, tmp_path: Path, kind: str) -> None:
    """Bytes, paths, open files and iterables are uploaded, under their own name, if they have one."""
    source = source_of(kind, tmp_path)
    made = await session.files.create(source, purpose="assistants")
    assert (made.bytes, made.purpose, made.status) == (len(TEXT), "assistants", "processed")
    assert made.filename == ("a b.txt" if kind in ("path", "open file") else "upload")
    assert await session.files.content(made.id).read() == TEXT
    if hasattr(source, "close"):
        assert not source.closed  # it is the caller's
        source.close()


async def test_a_file_from_where_it_stands(session: Session) -> None:
    """What was read before is not sent."""
    file = io.BytesIO(b"header" + TEXT)
    file.seek(6)
    made = await session.files.create(file, purpose="assistants", filename="named.txt")
    assert (made.bytes, made.filename) == (len(TEXT), "named.txt")
    assert await session.files.content(made.id).read() == TEXT


@pytest.mark.parametrize("name", ["ä b.txt", "☂.pdf", "a%20b", "a/b", "x" * 500])
async def test_names(session: Session, name: str) -> None:
    """A name of any characters arrives as it is."""
    assert (await session.files.create(b"", purpose="assistants", filename=name)).filename == name


async def test_create_with_everything(session: Session) -> None:
    """Every parameter arrives; the file is found again."""
    made = await session.files.create(
        b"x", filename="a", purpose="batch", expires_after={"anchor": "created_at", "seconds": 7200}, timeout=9
    )
    assert (made.expires_at - made.created_at).total_seconds() == 7200
    assert await session.files.retrieve(made.id) == made
    plain = await session.files.create(b"x", purpose="vision")
    assert plain.expires_at is None


async def test_list(session: Session) -> None:
    """Newest first, over any number of pages; of one purpose on request."""
    purposes: list[Any] = ["vision", "assistants", "vision", "vision"]
    ids = [(await session.files.create(b"x", purpose=purpose)).id for purpose in purposes]
    assert [file.id async for file in session.files.list(limit=1)] == ids[::-1]
    listed = [file.id async for file in session.files.list(limit=2, purpose="vision", order="asc")]
    assert listed == [ids[0], ids[2], ids[3]]
    page = await session.files.list(limit=10_000, after=ids[2]).page()
    assert [file.id for file in page.data] == ids[1::-1]


async def test_delete(session: Session) -> None:
    """A second time there is no such file, and no content of it."""
    made = await session.files.create(b"x", purpose="assistants")
    word = await session.files.delete(made.id)
    assert (word.id, word.object, word.deleted) == (made.id, "file", True)
    for call in (session.files.retrieve, session.files.delete, lambda file_id: session.files.content(file_id).read()):
        with pytest.raises(NotFoundError, match="No such File object") as caught:
            await call(made.id)
        assert type(caught.value) is NotFoundError


async def test_a_large_content(session: Session, tmp_path: Path) -> None:
    """It is sent and received in pieces of a few hundred kilobytes."""
    path, data = tmp_path / "large", bytes(range(256)) * 20_000
    await anyio.Path(path).write_bytes(data)
    made = await session.files.create(path, purpose="user_data")
    async with session.files.content(made.id) as content:
        received = [piece async for piece in content]
    assert b"".join(received) == data
    assert max(map(len, received)) < 2**20


@pytest.mark.parametrize(
    ("file", "params", "kind", "text"),
    [
        ("text", {}, TypeError, "file must be a Path, bytes, a file opened in binary mode"),
        (io.StringIO("text"), {}, TypeError, "got StringIO; nothing was sent"),
        (("name", b"x"), {}, TypeError, "got tuple"),
        (b"x", {"purpose": "sports"}, ValueError, "purpose must be 'assistants' or"),
        (b"x", {"purposes": "vision"}, TypeError, "did you mean 'purpose'"),
        (b"x", {"expires_after": {"anchor": "created_at", "seconds": 1}}, ValueError, "must be 3600 to 2592000"),
    ],
)
async def test_misuse(file: Any, params: Any, kind: type[Exception], text: str) -> None:
    """It is refused before anything is sent."""
    async with Stub() as stub, stub.session() as session:
        with pytest.raises(kind, match=text):
            await session.files.create(file, **{"purpose": "vision", **params})
        with pytest.raises(TypeError, match=r"write `await ….content\(…\).read\(\)`"):
            await session.files.content("file-1")
        with pytest.raises(AttributeError, match=r"session\.files\.retrieve"):
            session.files.wait_for_processing("file-1")
    assert stub.requests == []


async def test_refused_by_the_server(session: Session) -> None:
    """What only the server can judge comes back with its message."""
    with pytest.raises(BadRequestError) as caught:
        await session.files.create(b"x", purpose="vision", extra_body={"colour": {"hue": "red"}})
    assert (caught.value.param, caught.value.code) == ("colour", "unknown_parameter")
    async with LocalServer(max_file_bytes=5) as server, server.session() as session:
        with pytest.raises(ResponseError, match=r"413: File is too large: at most 5 bytes"):
            await session.files.create(b"123456", purpose="vision")


async def test_options_of_the_request() -> None:
    """Headers and query are the request's own; the content type is the form's, whatever is given."""
    async with Stub(error(400), error(400)) as stub, stub.session(default_query={"v": "1"}) as session:
        for options in {}, {"extra_headers": {"X-A": "b", "content-type": "x"}, "extra_query": {"q": 1}}:
            with pytest.raises(BadRequestError):
                await session.files.create(TEXT, purpose="vision", filename='a"\r\n', **options)
    first, second = stub.requests
    for request in first, second:
        assert request.raw.lower().count(b"\r\ncontent-type: multipart/form-data; boundary=") == 1
        assert b'form-data; name="purpose"\r\n' in request.body
        assert b'form-data; name="file"; filename="a%22%0D%0A"\r\n' in request.body
        assert b"\r\n\r\n" + TEXT + b"\r\n--" in request.body
        assert int(request.headers["content-length"]) == len(request.body)
    assert (first.query, second.query, second.headers["x-a"]) == ("v=1", "v=1&q=1", "b")


@pytest.fixture
async def proxy(server: LocalServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.url) as proxy:
        yield proxy


LOST: list[Fate] = ["lose answer", "lose request", error(500), "late"]


@pytest.mark.parametrize("fate", LOST)
@pytest.mark.parametrize("kind", ["bytes", "path", "open file"])
async def test_what_can_be_read_again_is_repeated(
    proxy: Proxy, session: Session, tmp_path: Path, fate: Fate, kind: str
) -> None:
    """The response is lost: where keys are honoured, the upload is repeated, and there is one file."""
    proxy.plan("POST", "/files", fate)
    source = source_of(kind, tmp_path)
    async with proxy.session() as shaky:
        made = await shaky.files.create(source, purpose="vision")
    assert [file async for file in session.files.list()] == [made]
    assert await session.files.content(made.id).read() == TEXT
    if hasattr(source, "close"):
        source.close()


async def test_what_can_be_read_once_is_sent_once(proxy: Proxy, session: Session) -> None:
    """The error says that the file may exist; with the same key, a call with the same bytes finds it."""
    proxy.plan("POST", "/files", "lose answer")
    async with proxy.session() as shaky:
        with pytest.raises(TransportError) as caught:
            await shaky.files.create(pieces(TEXT), purpose="vision", filename="a", idempotency_key="k")
        assert caught.value.maybe_done
        assert len([request for request in proxy.requests if request.startswith("POST")]) == 1
        made = await shaky.files.create(pieces(TEXT), purpose="vision", filename="a", idempotency_key="k")
    assert [file async for file in session.files.list()] == [made]


@pytest.mark.usefixtures("keyless")
async def test_without_keys_nothing_is_repeated(proxy: Proxy, session: Session) -> None:
    """At an endpoint that ignores keys there is one file, and an error that says that there may be."""
    proxy.plan("POST", "/files", "lose answer")
    async with proxy.session() as shaky:
        with pytest.raises(TransportError) as caught:
            await shaky.files.create(TEXT, purpose="vision")
    assert caught.value.maybe_done
    assert len([file async for file in session.files.list()]) == 1


@pytest.mark.parametrize("fate", ["lose answer", error(500)])
async def test_a_lost_deletion(proxy: Proxy, session: Session, fate: Fate) -> None:
    """A file that is gone when its deletion is repeated was deleted by the first attempt."""
    made = await session.files.create(TEXT, purpose="vision")
    proxy.plan("DELETE", f"/files/{made.id}", fate)
    async with proxy.session() as shaky:
        assert (await shaky.files.delete(made.id)).deleted
