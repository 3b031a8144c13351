"""`ChangesStream`: one connection over which this library's server tells what its runs become."""

from typing import Final, Self

from attrs import define, field

from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.overrides import Overrides
from openai_runs._http.sse import Decoder, Frame
from openai_runs._http.transport import Transport
from openai_runs._wire.paths import RUN_CHANGES
from openai_runs.models.run import Run

#: The event after the runs that had not ended when the connection was opened.
CURRENT: Final = b"openai_runs.runs.current"
#: What the name of an event begins with whose data is a run.
RUN: Final = b"thread.run."
#: Seconds without a byte, after which the connection counts as lost: the server sends one every 15.
_SILENCE: Final = 35.0


@define
class ChangesStream:
    """The events of one connection; the receiver has to close it."""

    stream: ByteStream
    _decoder: Decoder = field(factory=Decoder, init=False)

    @classmethod
    async def open(cls, transport: Transport, overrides: Overrides | None = None) -> Self:
        """Open a connection.

        Raises:
            NotFoundError: The endpoint is not this library's server.
            TransportError: It cannot be reached.
            ResponseError: It refuses.
        """
        stream = await transport.open_content(transport.url(RUN_CHANGES), Run, overrides=overrides)
        stream.limit_silence(_SILENCE)
        return cls(stream)

    async def read(self) -> list[Frame] | None:
        """The next events, as soon as there are bytes, if only a keep-alive; ``None`` once the connection has ended."""
        chunk = await self.stream.read()
        return self._decoder.feed(chunk) if chunk else None

    @property
    def how_it_ended(self) -> str:
        """For messages."""
        return self.stream.lost or "the stream ended"

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()
