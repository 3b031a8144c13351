"""A server that answers with bytes made beforehand, so that it is never the bottleneck; a process of its own."""

import asyncio
import json
import sys
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "samples" / "openapi" / "examples" / "objects"


def run_object() -> dict:
    """The documented run, grown to the size of real ones (1.6 KB) by instructions, a function and metadata."""
    run = json.loads((SAMPLES / "RunObject.json").read_text())
    function = {
        "name": "get_weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city's name."},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    }
    run["tools"].append({"type": "function", "function": function})
    run["instructions"] = "You tell the weather, in one sentence. Always ask the tool. " * 8
    run["metadata"] = {"customer": "c-4711", "purpose": "benchmark"}
    return run


RUN = json.dumps(run_object()).encode()
PAGE = json.dumps(
    {
        "object": "list",
        "data": [run_object() | {"id": f"run_{n:024}"} for n in range(100)],
        "first_id": f"run_{0:024}",
        "last_id": f"run_{99:024}",
        "has_more": False,
    }
).encode()


def _response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Answers(asyncio.Protocol):
    """Answers each request, known by the blank line that ends a GET's head."""

    run = _response(RUN)
    page = _response(PAGE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        *heads, self.rest = (self.rest + data).split(b"\r\n\r\n")
        for head in heads:
            one = b"/runs/" in head.split(b"\r\n", 1)[0]
            self.transport.write(self.run if one else self.page)  # type: ignore[attr-defined]  # the transport writes


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends with the process that started us


if __name__ == "__main__":
    asyncio.run(_serve())
