"""A stand-in for Azure AI Foundry's Agents service (classic): its paths, its tokens, its shapes.

They are those that the public library azure-ai-agents 1.2.0b6 sends and reads; texts and IDs are ours. One run at a
time, whose rounds are said beforehand.
"""

import json
from typing import Any

from attrs import define, field

from tests.stub import Reply, Request, reply

API = "/api/projects/kitchen"  #: in the path of each request: the endpoint is a project's
TOOLS = [{"type": "bing_grounding", "bing_grounding": {"search_configurations": [{"connection_id": "c"}]}}]


def function_round(*cities: str) -> dict[str, Any]:
    """A required action: calls of the caller's function, one a city."""
    calls = [
        {
            "id": f"call_{city}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }
        for city in cities
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def approval_round() -> dict[str, Any]:
    """A required action of Azure's own: somebody has to allow a call of an MCP server."""
    call = {"id": "call_mcp", "type": "mcp", "server_label": "menu", "name": "search", "arguments": "{}"}
    return {"type": "submit_tool_approval", "submit_tool_approval": {"tool_calls": [call]}}


@define
class AgentsService:
    """Answers for the service; a `Stub` calls it."""

    rounds: list[dict[str, Any]]  #: the required actions of the run, first to last
    token: str = "fresh"  #: the only one that is accepted
    submitted: list[dict[str, Any]] = field(factory=list)  #: bodies of submissions
    created: dict[str, Any] = field(factory=dict)  #: bodies of what was created last, by the path's last part
    _polled: bool = False  # whether the run has been seen since it went on

    def __call__(self, request: Request) -> Reply:
        """Refuse what the service refuses, or answer."""
        if "api-version=v1" not in request.query.split("&"):
            return _refusal(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _refusal(401, "Unauthorized", "Access token is missing, invalid, or its audience is incorrect.")
        path = request.path.removeprefix(API)
        if request.method == "POST":
            return self._post(path, request.json or {})
        if path == "/threads/thread_1/runs/run_1":
            return reply(self._run("in_progress" if not self._seen() else None))
        if path == "/threads/thread_1/runs/run_1/steps":
            return reply(_page(_step()))
        if path == "/threads/thread_1/messages":
            return reply(_page(_message()))
        return _refusal(404, "NotFound", f"No {path}")

    def _post(self, path: str, body: dict[str, Any]) -> Reply:
        self.created[path.rpartition("/")[2]] = body
        if path == "/assistants":
            return reply(
                {"id": "asst_1", "object": "assistant", "created_at": 1, "model": "gpt-4o", **_SETTINGS, **body}
            )
        if path == "/threads":
            return reply({"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}, "tool_resources": {}})
        if path == "/threads/thread_1/runs":
            return self._started(body, self._run("queued"), "thread.run.created")
        if path == "/threads/thread_1/runs/run_1/submit_tool_outputs":
            self.submitted.append(body)
            del self.rounds[0]
            return self._started(body, self._run("queued"), "thread.run.queued")
        return _refusal(404, "NotFound", f"No {path}")

    def _started(self, body: dict[str, Any], run: dict[str, Any], name: str) -> Reply:
        self._polled = False
        if not body.get("stream"):
            return reply(run)
        events = [(name, run)]
        if not self.rounds:
            text = {"index": 0, "type": "text", "text": {"value": _ANSWER, "annotations": []}}
            events += [
                (
                    "thread.message.delta",
                    {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": [text]}},
                ),
                ("thread.message.completed", _message()),
            ]
        events.append((f"thread.run.{'requires_action' if self.rounds else 'completed'}", self._run()))
        frames = [f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events]
        stream = "".join([*frames, "event: done\ndata: [DONE]\n\n"])
        return reply(stream.encode(), content_type="text/event-stream")

    def _seen(self) -> bool:
        seen, self._polled = self._polled, True
        return seen

    def _run(self, status: str | None = None) -> dict[str, Any]:
        """The run: if not told otherwise, where its work stands."""
        action = self.rounds[0] if self.rounds and status is None else None
        return {
            "id": "run_1",
            "object": "thread.run",
            "created_at": 1,
            "thread_id": "thread_1",
            "assistant_id": "asst_1",
            "status": status or ("requires_action" if action else "completed"),
            "required_action": action,
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5} if not self.rounds else None,
            "model": "gpt-4o",
            "tools": TOOLS,
            **_SETTINGS,
        }


_SETTINGS = {"instructions": "", "metadata": {}, "temperature": 1.0, "top_p": 1.0, "tool_resources": {"mcp": []}}
_ANSWER = "It is sunny."


def _refusal(status: int, code: str, message: str) -> Reply:
    return reply({"error": {"code": code, "message": message}}, status)


def _page(item: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": [item], "first_id": item["id"], "last_id": item["id"], "has_more": False}


def _step() -> dict[str, Any]:
    call = {"id": "call_bing", "type": "bing_grounding", "bing_grounding": {"requesturl": "https://example.org"}}
    return {
        "id": "step_1",
        "object": "thread.run.step",
        "created_at": 1,
        "run_id": "run_1",
        "thread_id": "thread_1",
        "assistant_id": "asst_1",
        "type": "tool_calls",
        "status": "completed",
        "step_details": {"type": "tool_calls", "tool_calls": [call]},
    }


def _message() -> dict[str, Any]:
    return {
        "id": "msg_1",
        "object": "thread.message",
        "created_at": 1,
        "thread_id": "thread_1",
        "run_id": "run_1",
        "assistant_id": "asst_1",
        "role": "assistant",
        "content": [{"type": "text", "text": {"value": _ANSWER, "annotations": []}}],
        "attachments": [],
        "metadata": {},
    }
