"""Uploaded images reach the model themselves, from the files of the run's owner, and of bounded size."""

import base64
from pathlib import Path
from typing import Any

import pytest

from openai_runs.backends.model_backend import Finished, TextChunk
from openai_runs.engine import images
from openai_runs.engine.images import image_type
from openai_runs.models.message import ImageFileContent, ImageUrlContent, TextContent
from openai_runs.models.run import Run
from openai_runs.stores import MemoryStore
from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.engine.world import World, YieldingBackend, world

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
FORMATS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
}


class Seeing(YieldingBackend):
    """Answers, and remembers what it was sent."""

    def __init__(self, *, has_files: bool = False) -> None:
        super().__init__(TextChunk("I see."), Finished())
        self.has_files = has_files

    def parts(self) -> list[Any]:
        """What the latest call had of users, without their questions."""
        parts = [part for item in self.requests[-1].items if item.role == "user" for part in item.content]
        return [part for part in parts if not isinstance(part, TextContent) or part.text.value != "?"]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


def shown(content: bytes, type: str = "image/png") -> str:
    return f"data:{type};base64,{base64.b64encode(content).decode()}"


async def upload(w: World, content: bytes = PNG, owner: str = "", purpose: str = "vision") -> str:
    async with w.engine.files.uploading(owner) as receiving:
        await receiving.write(content)
        return (await w.engine.files.create(owner, {"purpose": purpose}, "photo.txt", receiving)).id


def asking(*ids: str, **image: Any) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "image_file", "image_file": {"file_id": id, **image}} for id in ids],
    }


async def ask(w: World, *messages: dict[str, Any], owner: str = "") -> Run:
    """A run in a thread of its own, once it has ended."""
    assistant = await w.engine.assistants.create(owner, {"model": "m"})
    thread = await w.engine.threads.create(owner, {"messages": list(messages)})
    return await ended(w, await w.engine.runs.create(owner, thread.id, {"assistant_id": assistant.id}), owner)


async def again(w: World, run: Run, *messages: dict[str, Any]) -> Run:
    return await ended(w, await w.again(run, additional_messages=list(messages)))


async def ended(w: World, run: Run, owner: str = "") -> Run:
    while not (run := await w.get(run, owner)).status.is_terminal:
        await w.settle()
    return run


@pytest.mark.parametrize("type", FORMATS)
async def test_the_image_itself(store: Store, type: str):
    """Its type is that of its content, whatever its name is; the message keeps the ID of the file."""
    backend = Seeing()
    async with world(backend, store=store) as w:
        id = await upload(w, FORMATS[type], purpose="assistants")
        run = await ask(w, asking(id, detail="low"))
        assert run.status == "completed"
        [part] = backend.parts()
        assert isinstance(part, ImageUrlContent)
        assert (part.image_url.url, part.image_url.detail) == (shown(FORMATS[type], type), "low")
        [kept] = (await w.messages(run))[0].content
        assert isinstance(kept, ImageFileContent)
        assert kept.image_file.file_id == id


@pytest.mark.parametrize(
    ("content", "purpose", "reason"),
    [
        (b"<svg/>", "vision", "it is no PNG, JPEG, GIF or WebP image"),
        (b"", "vision", "it is no PNG, JPEG, GIF or WebP image"),
        (PNG, "user_data", "the purpose of the file is 'user_data', and has to be 'vision'"),
        (PNG + bytes(100), "vision", "it has 114 bytes, and all images together may have 50, of which 50 are left"),
    ],
)
@pytest.mark.parametrize("has_files", [False, True])
async def test_what_is_no_image(
    monkeypatch: pytest.MonkeyPatch, content: bytes, purpose: str, reason: str, has_files: bool
):
    """The run fails and says why, whatever the endpoint has; without the message, the thread goes on."""
    monkeypatch.setattr(images, "MOST_BYTES", 50)
    async with world(Seeing(has_files=has_files)) as w:
        id = await upload(w, content, purpose=purpose)
        run = await ask(w, asking(id))
        assert (run.status, run.last_error.code) == ("failed", "invalid_prompt")
        [message] = await w.messages(run)
        assert run.last_error.message == (
            f"The image {id} in the message {message.id} cannot be shown to the model: {reason}."
            " Delete the message to go on without it."
        )
        assert (await again(w, run)).status == "failed"
        await w.engine.messages.delete("", run.thread_id, message.id)
        assert (await again(w, run, {"role": "user", "content": "?"})).status == "completed"


@pytest.mark.parametrize("has_files", [False, True])
async def test_an_unknown_file(has_files: bool):
    """It may be one of the endpoint's; if that has none, the run fails. Another owner's is as unknown as any other."""
    backend = Seeing(has_files=has_files)
    async with world(backend) as w:
        for id, owner in ((await upload(w, owner="ada"), "bob"), ("file-nowhere", "")):
            run = await ask(w, asking(id), owner=owner)
            if has_files:
                assert run.status == "completed"
                assert backend.parts()[0].image_file.file_id == id
            else:
                assert (run.status, backend.requests) == ("failed", [])
                assert "cannot be shown to the model: there is no such file." in run.last_error.message


@pytest.mark.parametrize("has_files", [False, True])
async def test_an_old_image_that_is_gone(has_files: bool):
    """What the model has answered becomes a note, so that the conversation goes on; or an ID, which may be known."""
    backend = Seeing(has_files=has_files)
    async with world(backend) as w:
        id = await upload(w)
        run = await ask(w, asking(id))
        await w.engine.files.delete("", id)
        assert (await again(w, run, {"role": "user", "content": "?"})).status == "completed"
        part = backend.parts()[0]
        if has_files:
            assert part.image_file.file_id == id
        else:
            assert part.text.value == f"[An image, the file {id}, was here, which cannot be sent to this model.]"


async def test_the_newest_images_fit(monkeypatch: pytest.MonkeyPatch):
    """All images of a call have a bounded size together; older ones become notes. Text and steps stay as they are."""
    monkeypatch.setattr(images, "MOST_BYTES", 2 * len(PNG) + 3)
    backend = Seeing()
    async with world(backend) as w:
        ids = [await upload(w) for _ in range(3)]
        run = await ask(w, asking(ids[0]))
        assert (await again(w, run, asking(*ids[1:]))).status == "completed"
        first, *others = backend.parts()
        assert ids[0] in first.text.value
        assert [part.image_url.url for part in others] == [shown(PNG)] * 2
        text = {"type": "text", "text": "?"}
        run = await again(w, run, {"role": "user", "content": [text, *asking(*ids)["content"]]})
        assert run.status == "failed"
        assert "has 14 bytes, and all images together may have 31, of which 3 are left" in run.last_error.message


async def test_a_content_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Deleted before it is read, or while it is: the file is as unknown as any other."""
    async with world(Seeing(), store=SQLiteStore(tmp_path / "runs.db")) as w:
        id = await upload(w)
        source = await w.store.contents.source(id)
        assert isinstance(source, Path)
        source.unlink()
        assert "there is no such file" in (await ask(w, asking(id))).last_error.message

        async def gone(*_: object) -> Path:
            return source

        monkeypatch.setattr(ContentFolder, "source", gone)
        assert "there is no such file" in (await ask(w, asking(id))).last_error.message


async def test_images_of_the_assistant():
    """APIs take images of users only, so these are left to the backend, which writes a note."""
    backend = Seeing()
    async with world(backend) as w:
        id = await upload(w)
        await ask(w, {**asking(id), "role": "assistant"}, {"role": "user", "content": "?"})
        [item, _] = backend.requests[-1].items
        assert isinstance(item.content[0], ImageFileContent)


def test_types():
    """Other files are no images, however short they are."""
    assert {type: image_type(data) for type, data in FORMATS.items()} == {type: type for type in FORMATS}
    for data in (b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVE", b"%PDF-1.4", b"\x89PN", b"BM"):
        assert image_type(data) is None
