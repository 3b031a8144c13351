"""The page about telemetry shows what there is."""

import re
from pathlib import Path

import pytest
from opentelemetry.metrics import Histogram

from openai_runs.backends import ScriptedBackend
from openai_runs.engine import Engine
from openai_runs.server.metrics import Metrics
from openai_runs.stores import MemoryStore
from openai_runs.telemetry import Telemetry

PAGE = (Path(__file__).parents[2] / "docs/how-to/observe.md").read_text("utf-8")


def test_the_tree(capsys: pytest.CaptureFixture[str]) -> None:
    """The example prints the tree that is below it."""
    (code, *_) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "observe.md", "exec"), {"__name__": "__main__"})
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert capsys.readouterr().out.endswith("\n" + shown)


def test_every_histogram(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first table of metrics has all that `Telemetry` makes."""
    instruments = [value for value in vars(Telemetry()).values() if isinstance(value, Histogram)]
    assert len(instruments) == 8
    assert [i._name for i in instruments if f"`{i._name}`" not in PAGE] == []  # type: ignore[attr-defined]


def test_every_metric() -> None:
    """The second one has all that Prometheus reads, the process' own aside."""
    metrics = Metrics()
    metrics.show_load(Engine(store=MemoryStore(), backend=ScriptedBackend()), lambda: 0)
    families = [(family.name, family.type) for family in metrics.registry.collect()]
    names = [name + "_total" * (type == "counter") for name, type in families if name.startswith("openai_runs_")]
    assert len(names) == 13
    assert [name for name in names if f"`{name}`" not in PAGE] == []
