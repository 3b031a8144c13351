"""What the server's variables and its file of settings are to the other commands."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.models import ArgumentInfo

from openai_runs.cli.app import COMMANDS, Command, Group
from openai_runs.cli.config_option import misspelt_variables, variable_of
from openai_runs.cli.serve import serve
from openai_runs.cli.settings_file import settings_of
from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run, run_in_thread
from tests.stores.objects import thread

#: What has the name of an option of the server, and is something else.
OTHERS = {
    ("chat", "model"),
    ("chat", "model_url"),
    ("chat", "store"),
    ("demo", "model"),
    ("keys new", "limit"),  # of one owner, as the next one; those of the server are of all
    ("keys new", "retention_days"),
    ("runs list", "limit"),
    ("threads list", "limit"),
}


def commands(group: Mapping[str, Command | Group] = COMMANDS) -> Iterator[tuple[str, Callable[..., Any], bool]]:
    """All commands: their names, functions, and whether all of their options are variables."""
    for name, each in group.items():
        if isinstance(each, Command):
            yield name, each.load(), each.has_variables
        else:
            yield from ((f"{name} {below}", *rest) for below, *rest in commands(each.commands))


def test_an_option_has_its_variable_in_all_commands():
    """Who has set one for the server, need not say it again to another command that has this option."""
    of_server, seen = {setting.parameter for setting in settings_of(serve).values()}, set()
    for name, command, has_variables in commands():
        hints = get_type_hints(command, include_extras=True)
        for parameter in {*inspect.signature(command).parameters} & of_server:
            info = get_args(hints[parameter])[1]
            if isinstance(info, ArgumentInfo) and parameter != "keys_file":
                continue  # files to import, stores of batches
            if (name, parameter) in OTHERS:
                assert info.envvar is None, (name, parameter)
            elif not (has_variables and info.envvar is None):
                assert info.envvar == variable_of(parameter), (name, parameter)
                assert f"[envvar:{info.envvar}" in "".join(run(*name.split(), "--help").split())
                assert "config" in hints, name
            seen.add((name, parameter))
    assert seen > OTHERS
    assert {name for name, parameter in seen if parameter == "store"} == {
        *(
            "serve",
            "chat",
            "import",
            "export",
            "backup",
            "check",
            "vacuum",
            "runs end",
            "threads list",
            "threads delete",
        )
    }


@pytest.fixture
async def stores(tmp_path: Path) -> Path:
    """Two of them: each has a thread of its own name."""
    for name in ("one", "two"):
        async with SQLiteStore(tmp_path / f"{name}.db") as store:
            await store.commit([thread(name, "al")])
    return tmp_path


def ids(output: str) -> list[str]:
    return [json.loads(line)["id"] for line in output.splitlines()]


@pytest.mark.anyio
async def test_which_store_it_is(stores: Path, monkeypatch: pytest.MonkeyPatch):
    """That of the option, then that of the variable, then that of the server's file; settings of no option are left."""
    (stores / "serve.toml").write_text(f"store = '{stores / 'one.db'}'\nport = 1\nlimit = ['active-runs=3']")
    config = "--config", stores / "serve.toml"
    assert ids(await run_in_thread("threads", "list", "--json", *config)) == ["one"]
    assert ids(await run_in_thread("threads", "list", "--json", "--store", stores / "two.db", *config)) == ["two"]
    assert '"one"' in await run_in_thread("export", *config, "--owner", "al")
    monkeypatch.setenv("OPENAI_RUNS_CONFIG", str(stores / "serve.toml"))
    assert "one.db" in await run_in_thread("check")
    monkeypatch.setenv("OPENAI_RUNS_STORE", str(stores / "two.db"))
    assert "two.db" in await run_in_thread("check")
    assert '"two"' in await run_in_thread("export", "--owner", "al")
    assert "deleted two" in await run_in_thread("threads", "delete", "two")


def test_a_setting_that_is_none(tmp_path: Path):
    """The file is the server's as a whole: a mistake in it is no smaller one here."""
    (tmp_path / "serve.toml").write_text("stor = 'runs.db'")
    output = " ".join(run("check", "--config", tmp_path / "serve.toml", exit_code=2).split())
    assert "there is no setting 'stor'; did you mean 'store'?" in output


@pytest.mark.anyio
async def test_a_store_or_an_endpoint(stores: Path, monkeypatch: pytest.MonkeyPatch):
    """What stands on the command line is meant; where that does not tell, nothing is guessed, let alone deleted."""
    async with LocalServer() as server, server.session() as session:
        made = (await session.threads.create()).id
        monkeypatch.setenv("OPENAI_RUNS_STORE", str(stores / "one.db"))
        monkeypatch.setenv("OPENAI_RUNS_AUDIT_LOG", str(stores / "audit.jsonl"))
        assert ids(await run_in_thread("threads", "list", "--json", "--base-url", server.url)) == [made]
        assert "deleted" in await run_in_thread("threads", "delete", made, "--base-url", server.url)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for command in (["list"], ["delete", "one"], ["delete", "one", "--store", "a", "--base-url", "b"]):
            output = await run_in_thread("threads", *command, exit_code=2)
            assert "--store and --base-url are both set" in " ".join(output.split())
        assert ids(await run_in_thread("threads", "list", "--json", "--store", stores / "two.db")) == ["two"]
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert "deleted one" in await run_in_thread("threads", "delete", "one")
    assert '"id":"one"' in (stores / "audit.jsonl").read_text().replace(" ", "")


def test_the_keys_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a file on the command line, they are those that the server has."""
    assert "name a file of keys" in run("keys", "list", exit_code=2)
    monkeypatch.setenv("OPENAI_RUNS_KEYS", "sk-a anna")
    assert "anna" in run("keys", "list")
    for name in ("bert", "carl", "dora"):
        (tmp_path / name).write_text(f"sk-1 {name}")
    (tmp_path / "serve.toml").write_text(f"keys-file = '{tmp_path / 'bert'}'")
    assert "bert" in run("keys", "list", "--config", tmp_path / "serve.toml")
    monkeypatch.setenv("OPENAI_RUNS_KEYS_FILE", str(tmp_path / "carl"))
    assert run("keys", "hash").endswith(" carl")
    assert "dora" in run("keys", "list", tmp_path / "dora")


def test_a_misspelt_variable(monkeypatch: pytest.MonkeyPatch):
    """It would be ignored, and leave a server open: what it is like is asked for. What is like nothing is another's."""
    for name in ("KEYFILE", "PROT", "RETENTION", "STORE", "NAME_OF_SOMETHING"):
        monkeypatch.setenv(f"OPENAI_RUNS_{name}", "x")
    found = misspelt_variables(["keys_file", "port", "retention_days", "store"])
    assert {variable.removeprefix("OPENAI_RUNS_"): meant.removeprefix("OPENAI_RUNS_") for variable, meant in found} == {
        "KEYFILE": "KEYS_FILE",
        "PROT": "PORT",
        "RETENTION": "RETENTION_DAYS",
    }
