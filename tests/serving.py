"""``openai-runs serve`` as a process of its own, as its users have it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(store: Path, *arguments: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server process; its URL, as it says it itself."""
    command = [sys.executable, "-m", "openai_runs", "serve", "--store", str(store), "--port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"COLUMNS": "200", **environment}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+/v1", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        try:
            yield found[0], process
        finally:
            process.terminate()
