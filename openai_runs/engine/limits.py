"""`Limits`: how much of the server one owner may take, so that its programs do not harm those of others."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from attrs import Attribute, evolve, field, fields, frozen

from openai_runs._arguments import check_count

_MB: Final = 2**20
#: What stands for no limit where limits are written as words.
NONE: Final = "none"

#: Some limits by the names of their fields; ``None`` removes one that holds otherwise.
SomeLimits: TypeAlias = Mapping[str, int | None]


def _check(_: object, attribute: "Attribute[Any]", value: int | None) -> None:
    if value is not None:
        check_count(attribute.name, value, least=1)


def _limit() -> Any:
    return field(default=None, validator=_check)


@frozen(kw_only=True)
class Limits:
    """What one owner may take; ``None``: as much as it likes.

    Raises:
        TypeError: A limit is not a whole number.
        ValueError: A limit is less than 1.
    """

    #: Requests of all kinds, polls among them. A minute's worth can come at once; then each has to wait until its part
    #: of a minute has passed.
    requests_per_minute: int | None = _limit()
    #: Runs that have not ended, those among them that wait for tool outputs.
    active_runs: int | None = _limit()
    #: Tokens of prompts and completions of the runs that were created on one day, in UTC. They are counted when a run
    #: ends, so what is active may go beyond the limit; then no run can be created.
    tokens_per_day: int | None = _limit()
    #: Bytes of threads, messages and files. A run writes its answers in any case.
    stored_bytes: int | None = _limit()
    #: Messages in each thread. A run writes its answers in any case.
    messages_per_thread: int | None = _limit()
    #: Items of all arrays in the JSON body of one request.
    items_per_body: int | None = _limit()


UNLIMITED: Final = Limits()


class OwnerLimits:
    """The limits of each owner.

    Args:
        default: Those of owners without their own.
        by_owner: The owners that have their own, in place of the others.
    """

    def __init__(self, default: Limits = UNLIMITED, by_owner: Mapping[str, Limits] | None = None) -> None:
        if not isinstance(default, Limits):
            raise TypeError(f"limits must be Limits: got {default!r}")
        self._default = default
        self.replace(by_owner or {})

    def replace(self, by_owner: Mapping[str, Limits]) -> None:
        """Take these limits in place of those that owners had of their own."""
        for owner, limits in by_owner.items():
            if not isinstance(limits, Limits):
                raise TypeError(f"the limits of an owner must be Limits: got {limits!r} for {owner!r}")
        self._by_owner = dict(by_owner)
        #: Whether anybody has a limit. Where nobody has one, nothing is counted.
        self.are_set: bool = any(limits != UNLIMITED for limits in (self._default, *by_owner.values()))

    def of(self, owner: str) -> Limits:
        """The limits of an owner."""
        return self._by_owner.get(owner, self._default)


@frozen
class _Word:
    """How a limit is written, on the command line and in the file of keys."""

    field: str
    unit: int = 1


WORDS: Final[Mapping[str, _Word]] = {
    "requests-per-minute": _Word("requests_per_minute"),
    "active-runs": _Word("active_runs"),
    "tokens-per-day": _Word("tokens_per_day"),
    "stored-mb": _Word("stored_bytes", _MB),
    "messages-per-thread": _Word("messages_per_thread"),
    "items-per-body": _Word("items_per_body"),
}


def is_limit(word: str) -> bool:
    """Whether a word is a limit, such as ``active-runs=20``, which may yet have a wrong value."""
    return word.partition("=")[0] in WORDS and "=" in word


def read_limits(words: Iterable[str]) -> SomeLimits:
    """Read limits that are written as words, such as ``active-runs=20`` and ``tokens-per-day=none``.

    Raises:
        ValueError: There is no such limit, its value is neither a whole number above 0 nor ``none``, or it is there
            twice.
    """
    found: dict[str, int | None] = {}
    for word in words:
        name, _, value = word.partition("=")
        if (known := WORDS.get(name)) is None:
            raise ValueError(f"there is no limit {name[:64]!r}: expected one of {', '.join(WORDS)}, as NAME=NUMBER")
        if known.field in found:
            raise ValueError(f"the limit {name} is there twice; remove one of the two")
        if value == NONE:
            found[known.field] = None
        elif value.isascii() and value.isdecimal() and 0 < len(value) < 16 and int(value) > 0:
            found[known.field] = int(value) * known.unit
        else:
            raise ValueError(f"the limit {name} must be a whole number above 0, or {NONE}: got {value[:64]!r}")
    return found


def written(limits: Limits | SomeLimits) -> tuple[str, ...]:
    """Limits as words, in their usual order; those that are not set are left out of `Limits`."""
    values = limits if isinstance(limits, Mapping) else _set_of(limits)
    return tuple(
        f"{name}={NONE if (value := values[word.field]) is None else value // word.unit}"
        for name, word in WORDS.items()
        if word.field in values
    )


def with_changes(limits: Limits, changes: SomeLimits) -> Limits:
    """Limits, but for some that are other ones."""
    # The names are those of fields: mypy cannot know it.
    changed: Callable[..., Limits] = evolve
    return changed(limits, **changes)


def _set_of(limits: Limits) -> SomeLimits:
    values = {each.name: getattr(limits, each.name) for each in fields(Limits)}
    return {name: value for name, value in values.items() if value is not None}
