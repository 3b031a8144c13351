"""The whole story of a program that answers from PDFs, written for OpenAI's servers: upload, ask, footnotes."""

import anyio
import pytest
from openai import AssistantEventHandler, AsyncOpenAI, OpenAI

from openai_runs.server import LocalServer
from tests.file_search.pdfs import pdf

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # OpenAI's own
    pytest.mark.unmeasured,
]

FACTS = (
    ("handbook.pdf", ("Breaks last fifteen minutes.", "The canteen opens at half past eleven.")),
    ("kettle.pdf", ("Descale it once a month.", "The kettle holds 1.7 litres of water.")),
)
QUESTION = "How many litres of water does the kettle hold?"
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


async def upload(client: AsyncOpenAI) -> str:
    """A vector store with two PDFs among twenty files."""
    store = await client.vector_stores.create(name="Manuals")
    files = [(name, pdf(*pages)) for name, pages in FACTS]
    files += [(f"note-{number}.txt", f"Note {number} is about shelf {number}.".encode()) for number in range(18)]
    batch = await client.vector_stores.file_batches.upload_and_poll(store.id, files=files, poll_interval_ms=20)
    assert (batch.status, batch.file_counts.completed) == ("completed", 20)
    return store.id


async def test_unchanged_program(anyio_backend):
    """openai-python's own calls; the answer is streamed, and its footnote names the file and the chunk."""
    async with LocalServer() as server, AsyncOpenAI(base_url=server.url, api_key="k") as client:
        store_id = await upload(client)
        beta = client.beta
        assistant = await beta.assistants.create(
            model="gpt-4o",
            tools=[{"type": "file_search"}],
            tool_resources={"file_search": {"vector_store_ids": [store_id]}},
        )
        thread = await beta.threads.create(messages=[{"role": "user", "content": QUESTION}])
        async with beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
            await stream.until_done()
            [message] = await stream.get_final_messages()
        text = message.content[0].text
        assert text.value.startswith("The kettle holds 1.7 litres of water.")
        [note] = text.annotations
        assert text.value[note.start_index : note.end_index] == note.text
        cited = await client.files.retrieve(note.file_citation.file_id)
        assert cited.filename == "kettle.pdf"
        steps = await beta.threads.runs.steps.list(
            message.run_id,
            thread_id=thread.id,
            include=[CONTENT],
        )
        [search] = [call for step in steps.data if step.type == "tool_calls" for call in step.step_details.tool_calls]
        best = search.file_search.results[0]
        assert best.file_id == cited.id
        assert "1.7 litres" in best.content[0].text


async def test_a_file_attached_to_a_message(anyio_backend):
    """It is put into a store of the thread, where the run finds it."""
    async with LocalServer() as server, AsyncOpenAI(base_url=server.url, api_key="k") as client:
        file = await client.files.create(file=("kettle.pdf", pdf(*FACTS[1][1])), purpose="assistants")
        assistant = await client.beta.assistants.create(model="gpt-4o", tools=[{"type": "file_search"}])
        attachment = {"file_id": file.id, "tools": [{"type": "file_search"}]}
        message = {"role": "user", "content": QUESTION, "attachments": [attachment]}
        thread = await client.beta.threads.create(messages=[message])
        [store_id] = thread.tool_resources.file_search.vector_store_ids
        await client.vector_stores.files.poll(file.id, vector_store_id=store_id, poll_interval_ms=20)
        run = await client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20
        )
        messages = await client.beta.threads.messages.list(thread.id, run_id=run.id)
        [note] = messages.data[0].content[0].text.annotations
        assert note.file_citation.file_id == file.id


async def test_the_store_of_another_owner(anyio_backend):
    """Who knows its ID has nothing of it: the run fails, and says why."""
    keys = {"key-of-ada": "ada", "key-of-bob": "bob"}
    async with (
        LocalServer(keys=keys) as server,
        AsyncOpenAI(base_url=server.url, api_key="key-of-ada") as ada,
        AsyncOpenAI(base_url=server.url, api_key="key-of-bob") as bob,
    ):
        store_id = (await ada.vector_stores.create(name="Secrets")).id
        assistant = await bob.beta.assistants.create(
            model="gpt-4o",
            tools=[{"type": "file_search"}],
            tool_resources={"file_search": {"vector_store_ids": [store_id]}},
        )
        thread = await bob.beta.threads.create(messages=[{"role": "user", "content": QUESTION}])
        run = await bob.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20
        )
        assert run.status == "failed"
        assert store_id in run.last_error.message


def documented_handler(client):
    """The event handler of OpenAI's documentation, with its sync client; what it would print is kept."""

    class EventHandler(AssistantEventHandler):
        def __init__(self):
            super().__init__()
            self.printed = []

        def on_tool_call_created(self, tool_call):
            self.printed.append(f"assistant > {tool_call.type}")

        def on_message_done(self, message):
            message_content = message.content[0].text
            citations = []
            for index, annotation in enumerate(message_content.annotations):
                message_content.value = message_content.value.replace(annotation.text, f"[{index}]")
                if file_citation := getattr(annotation, "file_citation", None):
                    cited_file = client.files.retrieve(file_citation.file_id)
                    citations.append(f"[{index}] {cited_file.filename}")
            self.printed += [message_content.value, *citations]

    return EventHandler()


def documented_program(url):
    """The program of OpenAI's documentation of file search, as it was in 2024 and 2025; returns what it would print."""
    with OpenAI(base_url=url, api_key="k") as client:
        assistant = client.beta.assistants.create(
            name="Assistant", instructions="Use your knowledge base.", model="gpt-4o", tools=[{"type": "file_search"}]
        )
        vector_store = client.vector_stores.create(name="Manuals")
        client.vector_stores.file_batches.upload_and_poll(
            vector_store_id=vector_store.id, files=[(name, pdf(*pages)) for name, pages in FACTS], poll_interval_ms=20
        )
        assistant = client.beta.assistants.update(
            assistant_id=assistant.id, tool_resources={"file_search": {"vector_store_ids": [vector_store.id]}}
        )
        message_file = client.files.create(file=("shelf.txt", b"Shelf 7 has the spare fuses."), purpose="assistants")
        thread = client.beta.threads.create(messages=[{"role": "user", "content": QUESTION}])
        printed = []
        for asked in None, "Which shelf has the spare fuses?":
            if asked is not None:
                client.beta.threads.messages.create(
                    thread.id,
                    role="user",
                    content=asked,
                    attachments=[{"file_id": message_file.id, "tools": [{"type": "file_search"}]}],
                )
            handler = documented_handler(client)
            with client.beta.threads.runs.stream(
                thread_id=thread.id, assistant_id=assistant.id, event_handler=handler, include=[CONTENT]
            ) as stream:
                stream.until_done()
            printed.append(handler.printed)
        return printed


async def test_the_documented_program(anyio_backend):
    """Its handler, on the sync client, shows footnotes; a file attached in a thread that exists is waited for."""
    async with LocalServer() as server:
        first, second = await anyio.to_thread.run_sync(documented_program, server.url)
    assert first == ["assistant > file_search", "The kettle holds 1.7 litres of water. [0]", "[0] kettle.pdf"]
    assert second == ["assistant > file_search", "Shelf 7 has the spare fuses. [0]", "[0] shelf.txt"]


@pytest.mark.parametrize("include", [[], [CONTENT]])
async def test_what_is_included(anyio_backend, include):
    """`include` decides whether a streamed run step, and one that is read later, has the passages found."""
    async with LocalServer() as server, AsyncOpenAI(base_url=server.url, api_key="k") as client:
        store_id = await upload(client)
        assistant = await client.beta.assistants.create(
            model="gpt-4o",
            tools=[{"type": "file_search"}],
            tool_resources={"file_search": {"vector_store_ids": [store_id]}},
        )
        thread = await client.beta.threads.create(messages=[{"role": "user", "content": QUESTION}])
        async with client.beta.threads.runs.stream(
            thread_id=thread.id, assistant_id=assistant.id, include=include
        ) as stream:
            streamed = (await stream.get_final_run_steps())[0]
        read = await client.beta.threads.runs.steps.retrieve(
            streamed.id, thread_id=thread.id, run_id=streamed.run_id, include=include
        )
        for step in streamed, read:
            best = step.step_details.tool_calls[0].file_search.results[0]
            assert best.file_name == "kettle.pdf"
            assert bool(best.content) == bool(include)
