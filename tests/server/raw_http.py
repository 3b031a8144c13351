"""Raw bytes to a server, for requests that no client library sends."""

import asyncio

HEAD = b"Host: x\r\nContent-Type: application/json\r\n"


async def send_raw(server, data, *, then_close=False):
    """Send bytes; returns status and body of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
    try:
        writer.write(data)
        await writer.drain()
        if then_close:
            return None, b""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return int(head.split()[1]), await reader.readexactly(int(length.split(b":")[1]))
    finally:
        writer.close()
        await writer.wait_closed()
