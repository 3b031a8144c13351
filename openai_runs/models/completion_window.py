"""Completion windows: how long a model's endpoint may take for a call that is to cost less.

They are an addition of this library's server to the API, for OpenAI's Responses API. Source: OpenAI's guide to
background mode, ``background_options.completion_window``, since 2026-11-17. The endpoint aims to end each response
within the window from when it has taken the request. Tokens cost 30 % less than the standard price with two hours, and
40 % less with eight.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

CompletionWindow: TypeAlias = Literal["2h", "8h"]

#: Seconds.
WINDOW_SECONDS: Final[Mapping[str, float]] = MappingProxyType({"2h": 2 * 3600.0, "8h": 8 * 3600.0})
