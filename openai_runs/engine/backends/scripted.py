"""A backend that says and calls what it is told."""


class ScriptedBackend:
    """Plays a model: by default calls each function tool once, then answers from the outputs."""

    def __init__(self, script: object = None) -> None:
        self._script = script
