"""If only the client is installed, the errors of other parts say what to install."""

import subprocess
import sys

import pytest

#: As if nobody had installed these packages.
WITHOUT = "import sys; sys.modules |= dict.fromkeys({packages!r})\n"
SENTENCE = (
    "{} is not installed; it comes with pip install 'openai_runs[server]', in a clone with pip install '.[server]'"
)


def bare(code: str, *, packages: tuple[str, ...] = ("aiosqlite", "jsonschema_rs", "rich", "typer")):
    program = WITHOUT.format(packages=packages) + code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_what_needs_no_extra():
    """The client, and the engine with a store in memory."""
    packages = ("aiosqlite", "dbos", "jsonschema_rs", "rich", "sqlalchemy", "typer")
    run = bare("import openai_runs, openai_runs.engine, openai_runs.relay", packages=packages)
    assert (run.returncode, run.stderr) == (0, "")


def test_what_needs_one():
    """The last line of the traceback says what to do."""
    run = bare("""
from importlib import import_module
for name in ("openai_runs.server", "openai_runs.server.local", "openai_runs.stores.sqlite"):
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        print(error)
import openai_runs.server
""")
    missing = [SENTENCE.format(package) for package in ("jsonschema_rs", "jsonschema_rs", "aiosqlite")]
    assert run.stdout.splitlines() == missing
    assert run.stderr.splitlines()[-1] == f"openai_runs.errors.MissingExtraError: {missing[0]}"


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [
        ("openai_runs", "server", "jsonschema_rs"),
        ("openai_runs", "telemetry", "opentelemetry"),
        ("openai_runs.file_search", "LocalFileSearch", "numpy"),
    ],
)
def test_a_name_that_needs_one_is_not_there(module: str, name: str, package: str):
    """`hasattr` says so, an attribute and an import say what to install, and with the extra it is there."""
    code = f"""
import {module} as module
print(hasattr(module, {name!r}))
try:
    module.{name}
except AttributeError as error:
    print(error)
from {module} import {name}
print("imported")
"""
    run = bare(code, packages=(package,))
    there, said = run.stdout.splitlines()
    assert there == "False"
    assert said.startswith(f"{package} is not installed; it comes with pip install 'openai_runs[")
    assert run.stderr.splitlines()[-1] == f"openai_runs.errors.MissingExtraError: {said}"
    assert bare(code, packages=()).stdout.splitlines() == ["True", "imported"]


def test_whether_files_can_be_searched():
    """Asked before anything is searched: a server starts without the extra, and leaves the search to the endpoint."""
    code = "from openai_runs._extras import can_search\nprint(can_search())"
    assert (bare(code, packages=("numpy",)).stdout, bare(code, packages=()).stdout) == ("False\n", "True\n")


def test_durable_batches():
    """They need an extra of their own, which the rest of `openai_runs.batch` does not."""
    run = bare("import openai_runs.batch\nimport openai_runs.batch.durable", packages=("dbos", "sqlalchemy"))
    last = run.stderr.splitlines()[-1]
    assert last.startswith("openai_runs.errors.MissingExtraError: sqlalchemy is not installed")
    assert "openai_runs[durable]" in last


def test_a_store_in_postgres():
    """It needs one, too, and so does the server that is told to use it."""
    code = "sys.argv[1:] = ['serve', '--store', 'postgresql://db']; from openai_runs.__main__ import main; main()"
    run = bare(code, packages=("psycopg_pool",))
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("psycopg_pool is not installed; it comes with pip install 'openai_runs[postgres]'")


@pytest.mark.parametrize("missing", ["typer", "jsonschema_rs"])
def test_the_command_line(missing):
    """A sentence and no traceback, also for who has got typer from elsewhere: many programs bring it."""
    code = "sys.argv[1:] = ['demo']; from openai_runs.__main__ import main; main()"
    run = bare(code, packages=(missing,))
    assert (run.returncode, run.stdout, run.stderr) == (1, "", SENTENCE.format(missing) + "\n")


@pytest.mark.parametrize("command", ["status", "work"])
def test_commands_for_durable_batches(command: str):
    """They say so in a sentence; the other commands do not need the extra."""
    code = f"sys.argv[1:] = ['batch', {command!r}, 'postgresql://db']; from openai_runs.__main__ import main; main()"
    run = bare(code, packages=("dbos", "sqlalchemy"))
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "sqlalchemy is not installed; it comes with pip install 'openai_runs[durable]'" in run.stderr


def test_telemetry_of_the_command():
    """The same for the extra that only the option needs."""
    code = "sys.argv[1:] = ['serve', '--telemetry']; from openai_runs.__main__ import main; main()"
    run = bare(code, packages=("opentelemetry",))
    assert (run.returncode, run.stdout) == (1, "")
    assert "Traceback" not in run.stderr
    assert "opentelemetry is not installed; it comes with pip install 'openai_runs[otel]'" in run.stderr


def test_a_bug_of_ours():
    """A missing module of the library itself is not blamed on an extra."""
    run = bare("from openai_runs._extras import needs\nwith needs('server'): import openai_runs.nothing")
    assert run.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'openai_runs.nothing'"
