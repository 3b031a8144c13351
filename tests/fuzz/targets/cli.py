"""Arguments and variables of the command line."""

import os
import re
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from typer.testing import CliRunner

from openai_runs.cli import app
from tests.fuzz.seeds import line, stored_objects
from tests.fuzz.target import Target

#: Exit codes: done; refused; not understood.
_CODES: Final = {0, 1, 2}
_URL: Final = re.compile(r"(--[a-z-]+=)?https?://")
#: Commands that would wait for a network or for Ctrl-C: only their arguments are looked at.
_BATCH: Final = ("run", "submit", "status", "results", "cancel", "work")
_WAITING: Final = ("serve", "demo", "follow", *(f"batch_{name}" for name in _BATCH))


def _not_run(work: Coroutine[Any, Any, None], **_: int) -> None:
    work.close()


def cli(data: bytes) -> None:
    """Any arguments, one a line, and variables, as ``$NAME=VALUE``, end with exit code 0, 1 or 2.

    No traceback is shown, who fails says why, and files beside the store and the output stay as they are.
    """
    lines = [text.replace("\0", "") for text in data.decode(errors="surrogateescape").split("\n")]
    pairs = [text[1:].partition("=") for text in lines if re.match(r"\$OPENAI\w*=", text, re.ASCII)]
    arguments = [text if _URL.match(text) else text.replace("/", "_") for text in lines if not text.startswith("$")]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(chdir(folder))
        saved = Path("saved.json")
        saved.write_bytes(_SAVED)
        for name in _WAITING:
            stack.enter_context(patch(f"openai_runs.cli.{name}.run", _not_run))
        stack.enter_context(patch("openai_runs.cli.serve.gc.set_threshold"))
        stack.enter_context(patch("openai_runs.cli.serve.logging.basicConfig"))  # the same one everywhere
        stack.enter_context(patch.dict(os.environ, {name: value for name, _, value in pairs}))
        result = CliRunner().invoke(app, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code in _CODES
        assert "Traceback" not in result.output
        assert result.exit_code == 0 or result.output.strip()
        said = " ".join([*arguments, *(name for name, *_ in pairs)])
        may_write = "--output", "--append", "--store", "OPENAI_RUNS_STORE", "OPENAI_RUNS_CONFIG"
        assert saved.read_bytes() == _SAVED or any(name in said for name in may_write)


_SAVED: Final = "\n".join(map(line, stored_objects())).encode()


def _cli_seeds() -> Iterator[bytes]:
    for arguments in (
        "",
        "--version",
        "--help",
        "serve",
        "serve --store runs.db --backend chat --model-url http://localhost:1/v1 --model a=b --header X-A=b --query a=b",
        "serve --backend responses --model-url=http://localhost --background --timeout 1 --max-connections 2",
        'serve --backend chat --model-url http://x --body {"a":1} --max-tokens-field max_tokens --model-key-env HOME',
        "serve --host 0.0.0.0 --port 0 --keys-file saved.json --expires-after 5 --max-active-runs 1 --owner-share 1",
        "serve --no-access-log $OPENAI_RUNS_KEYS=sk-1 $OPENAI_RUNS_SERVE_PORT=1 $OPENAI_RUNS_SERVE_MODEL=a=b",
        "demo --base-url http://localhost:1 --model m",
        "follow thread_1 run_1 --base-url http://localhost:1 $OPENAI_BASE_URL=x",
        "import saved.json --store new.db",
        "import saved.json saved.json --store new.db --owner me",
        "import missing.json",
        "export --store saved.json --output out.json",
        "check --store saved.json",
        "check $OPENAI_RUNS_STORE=saved.json",
        "keys list $OPENAI_RUNS_CONFIG=saved.json $OPENAI_RUNS_KEYS=sk-1",
        "keys new --label a --limit active-runs=2 --retention-days never --append saved.json",
        "threads delete --unused-days 0 --owner a --store saved.json --yes",
        "runs end run_1 --store saved.json --status cancelled --reason no",
        "runs",
        "batch run saved.json --out new.jsonl --assistant a --message {text} --rpm 60 --tpm 9e6 --deadline 9",
        "batch run saved.json --out new.jsonl --durable new.db --name all --at-once 9 $OPENAI_RUNS_BUDGET_TOKENS=9",
        "batch submit saved.json new.db --assistant a --name all",
        "batch status saved.json all",
        "batch results saved.json all --out new.jsonl --wait",
        "batch cancel saved.json all",
        "batch work saved.json --create --workers 2 --at-once 4 --rpm 60 --tpm 1e6 --deadline 9 --base-url http://localhost:1",
    ):
        yield "\n".join(arguments.split()).encode()


TARGETS = (Target("cli", cli, _cli_seeds),)
