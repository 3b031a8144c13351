"""Vectors from an endpoint: what is sent, what is accepted, and what a failure says."""

import numpy as np
import pytest

from openai_runs.errors import BackendError
from openai_runs.file_search.embeddings import EmbeddingsEndpoint
from tests.stub import CUT, Reply, Request, Stub, error, reply

pytestmark = pytest.mark.anyio

KEY = "sk-of-the-embeddings"


def endpoint(stub: Stub, **options):
    return EmbeddingsEndpoint(stub.url, KEY, **{"model": "small", **options})


def vectors(*rows, **more) -> Reply:
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return reply({"object": "list", "data": data, "model": "small", **more})


def echo(request: Request) -> Reply:
    """A vector for each text: its length, and one."""
    return vectors(*([len(text), 1.0] for text in request.json["input"]))


async def test_vectors_have_the_length_1():
    """As the ranking expects them; a row of zeros stays what it is."""
    async with Stub(vectors([3, 4], [0, 0])) as stub, (embedder := endpoint(stub)).opened():
        found = await embedder.embed(["a", "b"])
    assert found.dtype == np.float32
    assert found.tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]
    [request] = stub.requests
    assert (request.method, request.path) == ("POST", "/v1/embeddings")
    assert request.json == {"model": "small", "input": ["a", "b"]}
    assert request.headers["authorization"] == f"Bearer {KEY}"


async def test_batches():
    """Many texts are sent in several requests, and come back in their order."""
    texts = ["x" * length for length in range(1, 8)]
    async with Stub(echo) as stub, (embedder := endpoint(stub, batch_size=3)).opened():
        found = await embedder.embed(texts)
    assert [len(request.json["input"]) for request in stub.requests] == [3, 3, 1]
    assert np.allclose(found[:, 0] / found[:, 1], range(1, 8))


async def test_the_order_is_the_index():
    """An endpoint may send vectors in any order."""
    data = [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [2, 0]}]
    async with Stub(reply({"data": data})) as stub, (embedder := endpoint(stub)).opened():
        assert (await embedder.embed(["a", "b"])).tolist() == [[1, 0], [0, 1]]


async def test_an_endpoint_without_indexes():
    """Then the order is that of the texts."""
    async with Stub(reply({"data": [{"embedding": [2, 0]}, {"embedding": [0, 2]}]})) as stub:
        embedder = endpoint(stub)
        async with embedder.opened():
            assert (await embedder.embed(["a", "b"])).tolist() == [[1, 0], [0, 1]]


async def test_prefixes_and_dimensions():
    """What a model wants before queries and texts is added, and shorter vectors are asked for."""
    options = {"query_prefix": "query: ", "text_prefix": "passage: ", "dimensions": 2}
    async with Stub(echo) as stub, (embedder := endpoint(stub, **options)).opened():
        await embedder.embed(["a"])
        await embedder.embed(["a"], are_queries=True)
    assert [request.json["input"] for request in stub.requests] == [["passage: a"], ["query: a"]]
    assert all(request.json["dimensions"] == 2 for request in stub.requests)


async def test_labels_tell_models_apart():
    """Vectors that cannot be compared have different labels; where the endpoint is does not matter."""
    async with Stub() as stub, Stub() as other:
        assert endpoint(stub).label == endpoint(other).label
        labels = {
            endpoint(stub, **options).label
            for options in ({}, {"model": "large"}, {"dimensions": 2}, {"text_prefix": "passage: "})
        }
    assert len(labels) == 4


async def test_an_outage_is_waited_for():
    """A request that changes nothing is repeated whenever that may help."""
    async with Stub(error(503), CUT, echo) as stub, (embedder := endpoint(stub)).opened():
        assert len(await embedder.embed(["a"])) == 1
    assert len(stub.requests) == 3


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (error(401, f"bad key {KEY}"), "server_error", "bad key"),
        (error(429, "slow down"), "rate_limit_exceeded", "slow down"),
        (reply(b"<html>", content_type="text/html"), "server_error", "not JSON"),
        (CUT, "server_error", "the request to the embedding model's endpoint failed"),
    ],
)
async def test_failures(answer, code, message, caplog):
    """A failure is a `BackendError` with one of the API's codes, and never has the key in it."""
    async with Stub(answer) as stub, (embedder := endpoint(stub, max_retries=0)).opened():
        with pytest.raises(BackendError, match=message) as raised:
            await embedder.embed(["a"])
    assert raised.value.code == code
    assert "127.0.0.1" not in raised.value.message  # the owner of a file reads it, the log has the rest
    assert "127.0.0.1" in caplog.text
    assert KEY not in f"{raised.value!r} {raised.value.__cause__!r} {embedder!r}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "2 were asked for"),
        ({"data": "x"}, "2 were asked for"),
        ({"data": [{"embedding": [1]}]}, "2 were asked for"),
        ({"data": ["x", "y"]}, "they are not numbered arrays"),
        ({"data": [{"index": "0", "embedding": [1]}, {"embedding": [1]}]}, "they are not numbered arrays"),
        ({"data": [{"index": 7, "embedding": [1]}, {"embedding": [1]}]}, "they are not numbered arrays"),
        ({"data": [{"embedding": "AAAA"}, {"embedding": [1]}]}, "they are not numbered arrays"),
        ({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}, "arrays of numbers"),
        ({"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}, "arrays of numbers, all of one length"),
        ({"data": [{"embedding": ["x"]}, {"embedding": ["y"]}]}, "arrays of numbers"),
        ({"data": [{"embedding": []}, {"embedding": []}]}, "arrays of finite numbers"),
        ({"data": [{"embedding": [1e300]}, {"embedding": [1]}]}, "arrays of finite numbers"),
        ({"data": [{"embedding": [[1]]}, {"embedding": [[1]]}]}, "arrays of finite numbers"),
        ({"data": [{"embedding": [None]}, {"embedding": [1]}]}, "arrays of"),
    ],
)
async def test_what_is_no_vector(body, message):
    """Whatever an endpoint sends, it is a matrix of numbers or an error."""
    async with Stub(reply(body)) as stub, (embedder := endpoint(stub)).opened():
        with pytest.raises(BackendError, match=message):
            await embedder.embed(["a", "b"])


async def test_batches_of_different_lengths():
    """An endpoint that changes its model between two requests gives no matrix."""
    async with Stub(vectors([1, 0]), vectors([1, 0, 0])) as stub:
        embedder = endpoint(stub, batch_size=1)
        async with embedder.opened():
            with pytest.raises(BackendError, match="no usable vectors"):
                await embedder.embed(["a", "b"])


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"timeout": 0}, {"max_retries": -1}, {"dimensions": 0}])
async def test_arguments_are_checked(options):
    """A wrong number raises where it is passed."""
    with pytest.raises(ValueError, match=next(iter(options))):
        EmbeddingsEndpoint("http://127.0.0.1:1/v1", model="small", **options)


async def test_repr():
    """Says which model where, and no key."""
    embedder = EmbeddingsEndpoint("http://127.0.0.1:1/v1", KEY, model="small")
    assert repr(embedder) == "<EmbeddingsEndpoint 'small' at http://127.0.0.1:1/v1>"
