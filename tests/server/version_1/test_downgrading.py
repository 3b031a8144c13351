"""Objects of version 2 as version 1 had them, by value."""

import pytest

from openai_runs.server.version_1.downgrading import assistants_in, downgraded

SEARCH = {"type": "file_search", "file_search": {"max_num_results": 3}}
RETRIEVAL = {"type": "retrieval"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
FILES = {"asst_1": ("file-a",)}
CALL = {"id": "call_1", "type": "file_search", "file_search": {"results": []}}
OLD_CALL = {"id": "call_1", "type": "retrieval", "retrieval": {}}
OTHER = {"id": "call_2", "type": "function", "function": {"name": "f"}}
CITATION = {"type": "file_citation", "text": "[1]", "file_citation": {"file_id": "file-a"}}
PATH = {"type": "file_path", "text": "x", "file_path": {"file_id": "file-b"}}


@pytest.mark.parametrize(
    ("shown", "old"),
    [
        (
            {"object": "assistant", "id": "asst_1", "tools": [SEARCH, FUNCTION], "tool_resources": {}},
            {"object": "assistant", "id": "asst_1", "tools": [RETRIEVAL, FUNCTION], "file_ids": ["file-a"]},
        ),
        (
            {
                "object": "thread.run",
                "assistant_id": "asst_1",
                "tools": [SEARCH],
                "tool_choice": {"type": "file_search"},
            },
            {"object": "thread.run", "assistant_id": "asst_1", "tools": [RETRIEVAL], "tool_choice": RETRIEVAL}
            | {"file_ids": ["file-a"]},
        ),
        (
            {"object": "thread.run", "assistant_id": "asst_1", "tools": [], "tool_choice": "auto"},
            {
                "object": "thread.run",
                "assistant_id": "asst_1",
                "tools": [],
                "tool_choice": "auto",
                "file_ids": ["file-a"],
            },
        ),
        ({"object": "thread", "id": "t", "tool_resources": {}}, {"object": "thread", "id": "t"}),
        (
            {
                "object": "thread.message",
                "attachments": [{"file_id": "file-a", "tools": []}, {"file_id": "file-a"}, {}],
                "content": [
                    {"type": "text", "text": {"value": "[1]", "annotations": [CITATION, PATH]}},
                    {"type": "image_file", "image_file": {"file_id": "file-c"}},
                ],
            },
            {
                "object": "thread.message",
                "file_ids": ["file-a"],
                "content": [
                    {
                        "type": "text",
                        "text": {
                            "value": "[1]",
                            "annotations": [CITATION | {"file_citation": {"file_id": "file-a", "quote": ""}}, PATH],
                        },
                    },
                    {"type": "image_file", "image_file": {"file_id": "file-c"}},
                ],
            },
        ),
        (
            {"object": "thread.message", "attachments": None, "content": []},
            {"object": "thread.message", "file_ids": [], "content": []},
        ),
        (
            {"object": "thread.run.step", "step_details": {"type": "tool_calls", "tool_calls": [CALL, OTHER]}},
            {"object": "thread.run.step", "step_details": {"type": "tool_calls", "tool_calls": [OLD_CALL, OTHER]}},
        ),
        (
            {"object": "thread.run.step", "step_details": {"type": "message_creation"}},
            {"object": "thread.run.step", "step_details": {"type": "message_creation"}},
        ),
        (
            {"object": "thread.run.step.delta", "delta": {"step_details": {"type": "x", "tool_calls": [CALL]}}},
            {"object": "thread.run.step.delta", "delta": {"step_details": {"type": "x", "tool_calls": [OLD_CALL]}}},
        ),
        ({"object": "thread.message"}, {"object": "thread.message", "content": [], "file_ids": []}),
        (
            {"object": "thread.message", "content": [{"type": "text", "text": {"value": "x"}}]},
            {"object": "thread.message", "content": [{"type": "text", "text": {"value": "x", "annotations": []}}]}
            | {"file_ids": []},
        ),
        ({"object": "thread.run.step"}, {"object": "thread.run.step"}),
        (
            {"object": "assistant", "id": "asst_1"},
            {"object": "assistant", "id": "asst_1", "tools": [], "file_ids": ["file-a"]},
        ),
        ({"object": "thread.run.step.delta", "delta": {}}, {"object": "thread.run.step.delta", "delta": {}}),
        ({"object": "file", "id": "file-a"}, {"object": "file", "id": "file-a"}),
        ({"status": "ok"}, {"status": "ok"}),
    ],
)
def test_objects(shown, old):
    """Each has the fields that version 1 required, and none that has replaced them, whatever it lacks."""
    assert downgraded(shown, FILES) == old
    assert downgraded({"object": "list", "data": [shown], "has_more": False}, FILES)["data"] == [old]


def test_whose_files_are_wanted():
    """Assistants and runs show files; nothing else does."""
    shown = [
        {"object": "assistant", "id": "asst_1"},
        {"object": "thread.run", "id": "run_1", "assistant_id": "asst_2"},
        {"object": "thread.message", "id": "msg_1", "assistant_id": "asst_3"},
    ]
    assert assistants_in({"object": "list", "data": shown}) == {"asst_1", "asst_2"}
    assert [assistants_in(item) for item in shown] == [{"asst_1"}, {"asst_2"}, set()]
    assert assistants_in({"status": "ok"}) == set()
