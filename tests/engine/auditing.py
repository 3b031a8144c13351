"""An audit that tests can read."""

from openai_runs.engine.audit import Audited


class Entries:
    """Keeps the entries, in order."""

    def __init__(self) -> None:
        self.entries: list[Audited] = []

    def note(self, entry: Audited) -> None:
        self.entries.append(entry)

    @property
    def short(self) -> list[tuple[str, ...]]:
        """On whose behalf, the kind of the object, its ID and its owner."""
        return [(entry.by, entry.object, entry.id, entry.owner) for entry in self.entries]
