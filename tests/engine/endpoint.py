"""An endpoint that has files and vector stores, for tests of the engine: answers as it is told."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from openai_runs.engine import ApiError


@define
class Endpoint:
    """Makes vector stores.

    Attributes:
        requests: Method, path, IDs and body of each request.
        in_progress: How many files of a vector store have yet to be read, by its ID; counted down by each look.
        answer: Asked in place of all that, if it is set.
    """

    requests: list[tuple[str, str, dict[str, str], Any]] = field(factory=list)
    in_progress: dict[str, int] = field(factory=dict)
    answer: Callable[[], Mapping[str, Any]] | None = None

    async def request(
        self, method: str, path: str, /, body: Mapping[str, Any] | None = None, **ids: str
    ) -> Mapping[str, Any]:
        self.requests.append((method, path, ids, body))
        if self.answer is not None:
            return self.answer()
        if method == "POST":
            return {"id": f"vs_{len(self.requests)}"}
        id = ids["vector_store_id"]
        left = self.in_progress.get(id, 0)
        self.in_progress[id] = left - 1
        return {"id": id, "file_counts": {"in_progress": max(left, 0)}}

    @property
    def looks(self) -> list[str]:
        """The vector stores that were looked at."""
        return [ids["vector_store_id"] for method, _, ids, _ in self.requests if method == "GET"]


def refuse() -> Mapping[str, Any]:
    raise ApiError(502, "There is no answer.")
