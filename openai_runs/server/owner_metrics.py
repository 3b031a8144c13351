"""`OwnerCollector`: what Prometheus reads of the owners that have limits."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import frozen

from openai_runs._extras import needs
from openai_runs.engine import Engine
from openai_runs.server.gate import Gate
from openai_runs.server.owner_use import use_of

with needs("server"):
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_LABELS: Final = ("owner", "limit")


@frozen
class OwnerCollector:
    """The metrics of owners that have limits. Their labels are the operator's, and no key can be made up."""

    _engine: Engine
    _gate: Gate
    _owners: Callable[[], Iterable[str]]

    def collect(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        used = GaugeMetricFamily("openai_runs_owner_used", "What owners use of their limits.", labels=_LABELS)
        limit = GaugeMetricFamily("openai_runs_owner_limit", "The limits of owners.", labels=_LABELS)
        for owner in sorted(self._owners()):
            for each in use_of(self._engine, self._gate, owner):
                used.add_metric((owner, each.name), each.used)
                limit.add_metric((owner, each.name), each.most)
        refused = CounterMetricFamily(
            "openai_runs_owner_refusals", "Requests that were refused because of a limit.", labels=("owner", "code")
        )
        for (owner, code), number in sorted(self._gate.refused.items()):
            refused.add_metric((owner, code), number)
        return iter((used, limit, refused))
