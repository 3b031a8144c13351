"""What a store keeps: the API's objects, whose they are, and what the engine needs to know beside them."""

from typing import Literal

from attrs import frozen


@frozen
class PageQuery:
    """Which part of a list is wanted, in order of creation (which is not ``created_at``: many share a second)."""

    limit: int = 20  #: 1 to 100
    order: Literal["asc", "desc"] = "desc"  #: ``desc``: the newest first
    after: str | None = None  #: an object ID: start behind it
    before: str | None = None  #: an object ID: stop before it
