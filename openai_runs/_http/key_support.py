"""`KeySupport`: whether an endpoint honours idempotency keys."""

from collections.abc import Awaitable, Callable, Mapping

from attrs import define, field

from openai_runs._http.overrides import Overrides
from openai_runs._wire.idempotency import SUPPORTED


@define
class KeySupport:
    """Whether an endpoint honours idempotency keys, as far as its responses have said."""

    _ask: Callable[[Overrides | None], Awaitable[object]]  # sends a request that changes nothing
    honoured: bool | None = field(default=None, init=False)  #: ``None`` before the first response that says so

    def learn(self, headers: Mapping[str, str], *, is_certain: bool) -> None:
        """Read the headers of a response.

        Args:
            headers: Of any response.
            is_certain: Whether the response is certainly the endpoint's, and not some proxy's: only then does a missing
                header say something.
        """
        if headers.get(SUPPORTED) == "true":
            self.honoured = True
        elif is_certain and self.honoured is None:
            self.honoured = False

    async def ask(self, overrides: Overrides | None = None) -> bool:
        """Whether keys are honoured; sends a request to find out, unless that is known.

        Args:
            overrides: Those of the request that is in doubt.

        Raises:
            TransportError, ResponseError, ProtocolError: There was no response that says so.
        """
        if self.honoured is None:
            await self._ask(overrides)
        return bool(self.honoured)
