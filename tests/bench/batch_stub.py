"""A server for batches: each run ends at its second poll, with an answer; a process of its own."""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

from tests.bench.stub import SAMPLES, run_object

_RUN = run_object() | {"id": "RUN", "thread_id": "THREAD", "status": "STATUS", "usage": None}
_MESSAGE = json.loads((SAMPLES / "MessageObject.json").read_text()) | {
    "id": "MESSAGE", "thread_id": "THREAD", "run_id": "RUN", "role": "assistant"
}  # fmt: skip
_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def _template(value: object) -> bytes:
    return json.dumps(value).encode()


RUN = _template(_RUN)
COMPLETED = _template(_RUN | {"usage": _USAGE})
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
        if method == b"POST":
            Runs.created += 1
            run = b"run_%024d" % Runs.created
            self.polls[run] = 0
            return _filled(RUN, run, b"queued")
        if target.path.endswith(b"/messages"):
            return _filled(PAGE, parse_qs(target.query)[b"run_id"][0], b"")
        run = target.path.rsplit(b"/", 1)[1]
        self.polls[run] += 1
        if self.polls[run] < 2:
            return _filled(RUN, run, b"in_progress")
        del self.polls[run]
        return _filled(COMPLETED, run, b"completed")


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
