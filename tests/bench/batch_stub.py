"""A server of runs: each ends at its second poll, with an answer; a process of its own.

Below ``/tools`` a run requires tool outputs at its second poll, and ends at the poll after them. Below ``/waiting``
runs never end.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

from tests.bench.stub import SAMPLES, run_object

_RUN = run_object() | {"id": "RUN", "thread_id": "THREAD", "status": "STATUS", "usage": None}
_MESSAGE = json.loads((SAMPLES / "MessageObject.json").read_text()) | {
    "id": "MESSAGE", "thread_id": "THREAD", "run_id": "RUN", "role": "assistant"
}  # fmt: skip
_THREAD = json.loads((SAMPLES / "ThreadObject.json").read_text()) | {"id": "THREAD"}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
_ACTION = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [_CALL]}}
_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def _template(value: object) -> bytes:
    return json.dumps(value).encode()


RUN = _template(_RUN)
ASKING = _template(_RUN | {"required_action": _ACTION})
COMPLETED = _template(_RUN | {"usage": _USAGE})
THREAD, MESSAGE = _template(_THREAD), _template(_MESSAGE)
PAGE = _template({"object": "list", "data": [_MESSAGE], "has_more": False})


class Runs(asyncio.Protocol):
    """Answers the requests of a batch; keeps a number for each run that has not ended, and nothing else."""

    polls: dict[bytes, int] = {}  # noqa: RUF012  # shared by all connections
    created = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head = self.rest[:end]
            length = 0
            if head.startswith(b"POST") and (at := head.lower().find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.rest) < end + 4 + length:
                return
            self.rest = self.rest[end + 4 + length :]
            body = self._answer(head.split(b" ", 2))
            header = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.transport.write(header.encode() + body)  # type: ignore[attr-defined]  # the transport writes

    def _answer(self, first: list[bytes]) -> bytes:
        method, target = first[0], urlsplit(first[1])
        parts = target.path.split(b"/")
        if method == b"POST":
            return self._create(parts)
        if parts[-1] == b"messages":
            return _filled(PAGE, parse_qs(target.query)[b"run_id"][0], b"")
        run = parts[-1]
        self.polls[run] += 1
        if parts[1] == b"waiting" or self.polls[run] < 2:
            return _filled(RUN, run, b"in_progress")
        if parts[1] == b"tools" and self.polls[run] == 2:
            return _filled(ASKING, run, b"requires_action")
        del self.polls[run]
        return _filled(COMPLETED, run, b"completed")

    def _create(self, parts: list[bytes]) -> bytes:
        if parts[-1] == b"submit_tool_outputs":
            return _filled(RUN, parts[-2], b"queued")
        if parts[-1] == b"messages":
            return _filled(MESSAGE, parts[-2], b"")
        Runs.created += 1
        run = b"run_%024d" % Runs.created
        if parts[-1] == b"threads":
            return _filled(THREAD, run, b"")
        self.polls[run] = 0
        return _filled(RUN, run, b"queued")


def _filled(template: bytes, run: bytes, status: bytes) -> bytes:
    number = run.removeprefix(b"run_")
    names = {b"RUN": run, b"THREAD": b"thread_" + number, b"MESSAGE": b"msg_" + number, b"STATUS": status}
    for name, value in names.items():
        template = template.replace(b'"' + name + b'"', b'"' + value + b'"')
    return template


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Runs, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends with the process that started us


if __name__ == "__main__":
    asyncio.run(_serve())
