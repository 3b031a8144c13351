"""Calls of hosted tools: converted to run steps, and back to items in the next request."""

from typing import Any

from openai_runs.backends.hosted_tools import code_interpreter_call, file_search_call
from openai_runs.backends.responses_body import responses_body
from openai_runs.backends.search_prompt import search_call
from openai_runs.models.run_step import FileSearch, FileSearchCall
from openai_runs.models.tool import FileSearchTool
from tests.backends.judge import complaints
from tests.backends.requests import a_request, assistant, call, step, user


def input_of(*items: Any) -> Any:
    request = a_request(*items)
    body = responses_body(request, request.items, request.model)
    assert not complaints(body, "CreateResponse")
    return body["input"]


def test_uses_of_the_endpoints_own_tools_are_told_again() -> None:
    """The next call of the run sends the container and the search results again."""
    searched = {
        "type": "file_search_call",
        "id": "fs_1",
        "status": "completed",
        "queries": ["cats"],
        "results": [{"file_id": "file-1", "filename": "cats.pdf", "score": 0.9, "text": "Cats purr."}],
    }
    computed = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "status": "completed",
        "container_id": "cntr_1",
        "code": "print(1)",
        "outputs": [{"type": "logs", "logs": "1"}],
    }
    items = input_of(step(file_search_call(searched)), step(code_interpreter_call(computed), call()))
    assert items[:2] == [searched, computed]


def test_uses_of_tools_elsewhere_are_not() -> None:
    """Such as searches that were made here: the endpoint would refuse their IDs."""
    search = FileSearchCall(id="fs_1", file_search=FileSearch())
    here = search_call("call_1", ["cats"], FileSearchTool(), [])
    assert input_of(user("Hello"), step(search), step(here), assistant()) == [{"role": "user", "content": "Hello"}]
