"""`ModelBackend`: what the engine asks for the next words of a conversation."""

from typing import Protocol


class ModelBackend(Protocol):
    """A model, or something that plays one."""
