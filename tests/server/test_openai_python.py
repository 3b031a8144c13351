"""The client library openai-python works with nothing but another base URL; its streams have their own file."""

import json
from functools import partial

import pytest
from openai import (
    AsyncAzureOpenAI,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
)

from openai_runs.server import LocalServer
from tests.engine.index import WordIndex
from tests.round_robin import replicas
from tests.serving import serving

pytestmark = [
    pytest.mark.unmeasured,
    pytest.mark.anyio,
    # The client marks all of the API as deprecated; that is what this server is for.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("store") / "runs.db", OPENAI_RUNS_KEYS="sk-test tester") as (url, _):
        yield url


@pytest.fixture(params=["LocalServer", "openai-runs serve", "three servers on one store"])
async def url(anyio_backend, request, tmp_path):
    """A server in this process with a memory store; one in its own process with a file; several that take turns."""
    if request.param == "LocalServer":
        async with LocalServer(keys={"sk-test": "tester"}) as server:
            yield server.url
    elif request.param == "three servers on one store":
        store = request.getfixturevalue("postgres_server").store_url()
        async with replicas(store, tmp_path, make=partial(LocalServer, keys={"sk-test": "tester"})) as servers:
            yield servers.url
    else:
        yield request.getfixturevalue("served")


@pytest.fixture
async def client(url):
    async with AsyncOpenAI(base_url=url, api_key="sk-test", max_retries=0) as client:
        yield client


def outputs_for(run):
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert all(isinstance(json.loads(call.function.arguments)["city"], str) for call in calls)
    return [{"tool_call_id": call.id, "output": "22 degrees"} for call in calls]


async def test_the_whole_story(client):
    """An assistant, a thread, a run with a tool call, its steps and its message; then all is deleted."""
    beta = client.beta
    assistant = await beta.assistants.create(model="scripted", name="Weather", instructions="Help.", tools=[TOOL])
    assert (await beta.assistants.retrieve(assistant.id)).tools[0].function.name == "get_weather"
    assistant = await beta.assistants.update(assistant.id, description="Tells the weather.")
    assert (assistant.description, assistant.name) == ("Tells the weather.", "Weather")

    thread = await beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
    thread = await beta.threads.update(thread.id, metadata={"user": "7"})
    assert (await beta.threads.retrieve(thread.id)).metadata == {"user": "7"}
    message = await beta.threads.messages.create(thread.id, role="user", content="How is the weather in Paris?")
    message = await beta.threads.messages.update(message.id, thread_id=thread.id, metadata={"n": "1"})
    assert await beta.threads.messages.retrieve(message.id, thread_id=thread.id) == message

    run = await beta.threads.runs.create_and_poll(
        thread_id=thread.id,
        assistant_id=assistant.id,
        model="other",
        instructions="Help a lot.",
        tools=[TOOL],
        temperature=0.5,
        top_p=0.9,
        metadata={"job": "1"},
        include=["step_details.tool_calls[*].file_search.results[*].content"],
    )
    assert (run.status, run.model, run.temperature) == ("requires_action", "other", 0.5)
    run = await beta.threads.runs.update(run.id, thread_id=thread.id, metadata={"job": "2"})
    run = await beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs_for(run)
    )
    assert (run.status, run.metadata) == ("completed", {"job": "2"})
    assert run.usage.total_tokens == run.usage.prompt_tokens + run.usage.completion_tokens

    steps = [step async for step in beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc")]
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
    assert steps[0].step_details.tool_calls[0].function.output == "22 degrees"
    assert await beta.threads.runs.steps.retrieve(steps[0].id, run_id=run.id, thread_id=thread.id) == steps[0]
    answers = [m async for m in beta.threads.messages.list(thread.id, run_id=run.id)]
    assert answers[0].content[0].text.value
    assert answers[0].id == steps[1].step_details.message_creation.message_id

    assert (await beta.threads.messages.delete(message.id, thread_id=thread.id)).deleted
    assert (await beta.threads.delete(thread.id)).deleted
    assert (await beta.assistants.delete(assistant.id)).deleted


async def test_create_and_run(client):
    """A thread and its run are created in one call, and polled until the run ends."""
    assistant = await client.beta.assistants.create(model="scripted")
    thread = {"messages": [{"role": "user", "content": "Hi"}]}
    run = await client.beta.threads.create_and_run_poll(assistant_id=assistant.id, thread=thread)
    assert run.status == "completed"
    listed = [r.id async for r in client.beta.threads.runs.list(run.thread_id)]
    assert listed == [run.id]


async def test_iterators_cross_pages(client):
    """The paging iterators yield every object once, in order."""
    thread = await client.beta.threads.create()
    made = [(await client.beta.threads.messages.create(thread.id, role="user", content=str(i))).id for i in range(7)]
    for limit in (1, 3, 7, 100):
        listed = [m.id async for m in client.beta.threads.messages.list(thread.id, limit=limit, order="asc")]
        assert listed == made
    newest = [m.id async for m in client.beta.threads.messages.list(thread.id, limit=2)]
    assert newest == made[::-1]
    assert [run async for run in client.beta.threads.runs.list(thread.id)] == []


async def test_errors_are_of_the_right_classes(client, url):
    """Errors arrive as the client's own exception classes."""
    assistant = await client.beta.assistants.create(model="scripted", tools=[TOOL])
    thread = await client.beta.threads.create()
    run = await client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    with pytest.raises(BadRequestError, match="already has an active run") as caught:
        await client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id.startswith("req_")
    with pytest.raises(BadRequestError, match="Can't add messages"):
        await client.beta.threads.messages.create(thread.id, role="user", content="And?")
    with pytest.raises(BadRequestError, match="Expected tool outputs for call_ids"):
        await client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=[])
    with pytest.raises(BadRequestError) as caught:
        await client.beta.assistants.create(model="m", temperature=3)
    assert (caught.value.param, caught.value.code) == ("temperature", "decimal_above_max_value")
    with pytest.raises(NotFoundError, match=r"No thread found with id '\.\./x'"):
        await client.beta.threads.retrieve("../x")
    with pytest.raises(AuthenticationError) as caught:
        await client.with_options(api_key="sk-other").beta.assistants.list()
    assert caught.value.code == "invalid_api_key"


async def test_cancel(client):
    """A waiting run is cancelled."""
    assistant = await client.beta.assistants.create(model="scripted", tools=[TOOL])
    run = await client.beta.threads.create_and_run_poll(assistant_id=assistant.id)
    run = await client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    run = await client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)
    assert run.status == "cancelled"
    with pytest.raises(BadRequestError, match="Cannot cancel run with status 'cancelled'"):
        await client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)


async def test_the_poll_hint_is_read(client):
    """The client's pollers use the poll hint of our responses."""
    assistant = await client.beta.assistants.create(model="scripted", tools=[TOOL])
    run = await client.beta.threads.create_and_run_poll(assistant_id=assistant.id)
    raw = await client.beta.threads.runs.with_raw_response.retrieve(run.id, thread_id=run.thread_id)
    assert int(raw.headers["openai-poll-after-ms"]) > 0
    assert raw.request_id.startswith("req_")


async def entra_token():
    return "sk-test"


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "sk-test"},
        {"api_key": "sk-test", "azure_deployment": "my-deployment"},
        {"azure_ad_token_provider": entra_token},
    ],
)
async def test_azures_client(url, options):
    """Its paths, with a deployment or without, its query, and its header for the key or a token are understood."""
    endpoint = url.removesuffix("/v1")
    async with AsyncAzureOpenAI(azure_endpoint=endpoint, api_version="2024-05-01-preview", **options) as client:
        assistant = await client.beta.assistants.create(model="m")
        run = await client.beta.threads.create_and_run_poll(assistant_id=assistant.id, poll_interval_ms=1)
        assert run.status == "completed"


async def test_files(client, tmp_path):
    """Files are created from whatever the client takes, listed, waited for, read, saved and deleted."""
    path = tmp_path / "ä b.txt"
    path.write_bytes(b"some text")
    expiry = {"anchor": "created_at", "seconds": 3600}
    with path.open("rb") as opened:
        made = [
            await client.files.create(file=opened, purpose="assistants", expires_after=expiry),
            await client.files.create(file=path, purpose="assistants"),
            await client.files.create(file=b"some text", purpose="vision"),
            await client.files.create(file=("named.txt", b"some text", "text/plain"), purpose="user_data"),
        ]
    assert [file.filename for file in made] == ["ä b.txt", "ä b.txt", "upload", "named.txt"]
    assert made[0].expires_at == made[0].created_at + 3600
    listed = [file async for file in client.files.list(purpose="assistants", order="asc", limit=1)]
    assert [file.id for file in listed][-2:] == [made[0].id, made[1].id]
    assert (await client.files.wait_for_processing(made[1].id, poll_interval=0)).status == "processed"
    assert (await client.files.content(made[0].id)).read() == b"some text"
    async with client.files.with_streaming_response.content(made[2].id) as response:
        await response.stream_to_file(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"some text"
    for file in made:
        assert (await client.files.retrieve(file.id)).id == file.id
        assert (await client.files.delete(file.id)).deleted
        with pytest.raises(NotFoundError, match="No such File object"):
            await client.files.retrieve(file.id)
    with pytest.raises(BadRequestError) as caught:
        await client.files.create(file=b"x", purpose="sports")
    assert (caught.value.param, caught.value.code) == ("purpose", "invalid_value")


async def test_vector_stores(anyio_backend):
    """Vector stores, their files and batches, with the client's own waiting."""
    async with LocalServer(files=WordIndex()) as server, AsyncOpenAI(base_url=server.url, api_key="k") as client:
        stores = client.vector_stores
        store = await stores.create(name="Menu", expires_after={"anchor": "last_active_at", "days": 3})
        wait = {"poll_interval_ms": 1}
        file = await client.files.create(file=b"blue sky", purpose="assistants")
        added = await stores.files.create_and_poll(file.id, vector_store_id=store.id, attributes={"a": 1}, **wait)
        assert (added.status, added.attributes) == ("completed", {"a": 1})
        batch = await stores.file_batches.upload_and_poll(store.id, files=[b"blue sea", b"red"], **wait)
        assert (batch.status, batch.file_counts.completed) == ("completed", 2)
        listed = [
            found.id async for found in stores.file_batches.list_files(batch.id, vector_store_id=store.id, limit=1)
        ]
        assert len(listed) == 2
        found = await stores.search(store.id, query="blue sea", max_num_results=2)
        assert [result.content[0].text async for result in found] == ["blue sea", "blue sky"]
        filtered = stores.search(store.id, query="blue", filters={"type": "eq", "key": "a", "value": 1})
        assert [result.file_id async for result in filtered] == [file.id]
        content = [page.text async for page in stores.files.content(file.id, vector_store_id=store.id)]
        assert content == ["blue sky"]
        await stores.files.update(file.id, vector_store_id=store.id, attributes={"b": "c"})
        assert len([entry async for entry in stores.files.list(store.id, filter="completed")]) == 3
        thread = await client.beta.threads.create(
            messages=[
                {
                    "role": "user",
                    "content": "Look.",
                    "attachments": [{"file_id": file.id, "tools": [{"type": "file_search"}]}],
                }
            ]
        )
        assert len(thread.tool_resources.file_search.vector_store_ids) == 1
        await stores.files.delete(file.id, vector_store_id=store.id)
        assert (await stores.update(store.id, name="Other")).file_counts.total == 2
        assert (await stores.delete(store.id)).deleted
        with pytest.raises(NotFoundError):
            await stores.retrieve(store.id)
