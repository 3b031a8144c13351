"""What messages say and tool calls did, as texts."""

from openai_runs import Message, load
from openai_runs.models.run_step import ToolCalls
from openai_runs.models.texts import call_texts, parts


def test_calls_of_each_type() -> None:
    """Functions with their outputs, code with what it printed, searches with what they found, others as they came."""
    function = {"name": "get_weather", "arguments": "{", "output": "12 degrees"}
    code = {"input": "1+1", "outputs": [{"type": "logs", "logs": "2"}, {"type": "image", "image": {"file_id": "f"}}]}
    found = [{"file_id": "f", "file_name": "a.txt", "score": 0.5}]
    made = [
        {"id": "c1", "type": "function", "function": function},
        {"id": "c2", "type": "function", "function": {**function, "output": None}},
        {"id": "c3", "type": "code_interpreter", "code_interpreter": code},
        {"id": "c4", "type": "file_search", "file_search": {"results": found}},
        {"id": "c5", "type": "file_search", "file_search": {"results": []}},
        {"id": "c6", "type": "file_search", "file_search": {}},
        {"id": "c7", "type": "browser", "url": "ü"},
        {"type": "browser"},
    ]
    texts = [call_texts(call) for call in load({"type": "tool_calls", "tool_calls": made}, ToolCalls).tool_calls]
    assert [(call.id, call.name, call.arguments, call.output) for call in texts] == [
        ("c1", "get_weather", "{", "12 degrees"),
        ("c2", "get_weather", "{", None),
        ("c3", "code_interpreter", "1+1", "2\n(image)"),
        ("c4", "file_search", "", "0.50  a.txt"),
        ("c5", "file_search", "", "nothing found"),
        ("c6", "file_search", "", None),
        ("c7", "browser", '{"id": "c7", "type": "browser", "url": "ü"}', None),
        ("", "browser", '{"type": "browser"}', None),
    ]


def test_parts_of_a_message() -> None:
    """Each says something, also one of a type that is not known."""
    content = [
        {"type": "text", "text": {"value": "Hi", "annotations": []}},
        {"type": "refusal", "refusal": "No."},
        {"type": "image_file", "image_file": {"file_id": "file-1"}},
        {"type": "image_url", "image_url": {"url": "http://x/y"}},
        {"type": "smell"},
    ]
    message = {"id": "m", "created_at": 1_767_225_600, "thread_id": "t", "role": "user", "content": content}
    assert list(parts(load(message, Message))) == [
        "Hi",
        "(refused) No.",
        "(image file-1)",
        "(image http://x/y)",
        "(smell)",
    ]
