"""How many items the arrays in a request's body have, together."""

from collections.abc import Mapping
from typing import Any

from openai_runs._slices import Work
from openai_runs.engine import ApiError
from openai_runs.server.validation_errors import dotted

_STEPS = 1000  # values between two breaks


def checking_items(body: Mapping[str, Any], most: int) -> Work[None]:
    """Count the items of all arrays in a body.

    Raises:
        ApiError: 400: there are more than ``most``; the parameter is the array with which that is so.
    """
    total, at_fault, steps = 0, "", 0
    left: list[tuple[tuple[str | int, ...], Any]] = [((), body)]
    while left:
        path, value = left.pop()
        if isinstance(value, list):
            total += len(value)
            if total > most and not at_fault:
                at_fault = dotted(path)
        # In reverse: the first one is taken first.
        pairs = enumerate(value) if isinstance(value, list) else value.items()
        left += [((*path, key), inner) for key, inner in pairs if isinstance(inner, dict | list)][::-1]
        steps += 1
        if steps % _STEPS == 0:
            yield
    if at_fault:
        text = f"too many items. Expected at most {most} items in all arrays together, but got {total} instead."
        raise ApiError(400, f"Invalid '{at_fault}': {text}", param=at_fault, code="array_above_max_length")
