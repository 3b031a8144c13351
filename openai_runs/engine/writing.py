"""What a model is writing, for those who look on: texts of a model call that no stored message or step has yet."""

from collections.abc import Sequence
from typing import Literal

from attrs import frozen


@frozen
class Writing:
    """A text that a model is writing: a part of a message, or the arguments of a tool call."""

    object_id: str  #: the message's; of arguments, the step's
    index: int  #: of the part in the message, or of the call in the step
    kind: Literal["text", "refusal", "call"]
    pieces: Sequence[str]  #: grows while the model writes
    call_id: str = ""  #: of arguments
    name: str = ""  #: the function's, of arguments
