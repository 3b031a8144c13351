"""The settings file of `openai-runs serve`."""

import signal
from pathlib import Path

import pytest
import typer
from aiohttp import ClientSession

from openai_runs.cli import serve as module
from openai_runs.cli.serve import serve
from openai_runs.cli.settings_file import read_settings, settings_of
from openai_runs.server import Limits
from openai_runs.telemetry import Telemetry
from tests.cli.commands import run
from tests.serving import serving

ALL = """
store = "runs.db"
files-folder = "there"
backend = "chat"
model-url = "http://127.0.0.1:9/v1"
model-key-env = "MODEL_KEY"
model = ["*=m", "gpt-4o=n"]
background = false
completion-windows = false
max-tokens-field = "max_tokens"
timeout = 30
max-connections = 7
header = ["x-team=red"]
query = ["api-version=1"]
body = '{"service_tier": "flex"}'
pass-through = true
files = "unread"
embedding-model = "e"
host = "127.0.0.1"
port = 0
keys-file = "keys"
limit = ["active-runs=5"]
expires-after = 60.5
max-active-runs = 3
owner-share = 2
max-file-mb = 4
max-owner-mb = 0
console = false
cors-origin = ["https://app.example"]
trusted-proxy = ["127.0.0.1"]
proxy-header = "forwarded"
telemetry = true
metrics-port = 0
metrics-host = "127.0.0.2"
retention-days = 90
audit-log = "audit.jsonl"
drain = 1.5
replica = false
access-log = false
log-level = "debug"
log-format = "json"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "serve.toml"
    file.write_text(text, "utf-8")
    return file


def test_every_option_can_be_in_it(tmp_path: Path):
    """Each has its name and its type, and nothing is left out."""
    settings = settings_of(serve)
    values = read_settings(written(tmp_path, ALL), settings)
    assert {*values} == {setting.parameter for setting in settings.values()}
    assert (values["port"], values["model"], values["console"]) == (0, ["*=m", "gpt-4o=n"], False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prot = 1", "serve.toml, line 1: there is no setting 'prot'; did you mean 'port'?"),
        ("# a\n\nkeys_file = 'k'", "line 3: there is no setting 'keys_file'; did you mean 'keys-file'?"),
        ("no-console = true", "line 1: there is no setting 'no-console'"),
        ("config = 'x'", "line 1: there is no setting 'config'"),
        ("port = 1\n[serve]\nport = 2", "line 2: settings stand at the top level, not in a table such as [serve]"),
        ('"\\u0070rot" = 1', "serve.toml: there is no setting 'prot'"),
        ("port = '8080'", "line 1: 'port' must be an integer"),
        ("port = true", "'port' must be an integer"),
        ("port = 1.5", "'port' must be an integer"),
        ("port = -1", "'port' must be at least 0"),
        ("port = 65536", "'port' must be at most 65535"),
        ("drain = nan", "'drain' must be at least 0"),
        ("timeout = 'sk-1'", "'timeout' must be a number"),
        ("console = 1", "'console' must be true or false"),
        ("store = 1", "'store' must be a string"),
        ("body = {a = 1}", "'body' must be a string"),
        ("header = 'sk-1=a'", "'header' must be an array of strings"),
        ("header = ['a=b', 1]", "'header' must be an array of strings"),
        ("backend = 'gpt'", '\'backend\' must be one of "scripted", "responses", "chat", "local"'),
        ("port = 1\nhost = sk-1", "cannot be read: Invalid value (at line 2"),
        ("port = 1\nport = 2", "cannot be read: Cannot overwrite a value"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, text: str, problem: str):
    """It is refused by name and line, and no value is shown."""
    with pytest.raises(typer.BadParameter) as caught:
        read_settings(written(tmp_path, text), settings_of(serve))
    assert problem in str(caught.value)
    assert "sk-1" not in str(caught.value)


def test_a_file_that_is_missing(tmp_path: Path):
    """The error names it."""
    output = run("serve", "--config", tmp_path / "none.toml", exit_code=2)
    assert "none.toml cannot be read: [Errno 2]" in " ".join(output.split())
    (tmp_path / "serve.toml").write_bytes(b"\xff")
    assert "can't decode byte 0xff" in " ".join(run("serve", "--config", tmp_path / "serve.toml", exit_code=2).split())


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict:
    """With which values the command would serve."""
    found: dict = {}

    async def _serve(*arguments: object) -> None:
        names = "store", "backend", "files", "passed", "host", "port", "keys", "keys_file", "options", "drain"
        found.update(zip(names, arguments, strict=True))

    monkeypatch.setattr(module, "_serve", _serve)
    monkeypatch.setattr(module, "set_up_logging", lambda *options: found.update(log=options))
    return found


def test_all_values_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: dict):
    """The command gets them as it would get options."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_KEY", "sk-model")
    (tmp_path / "keys").write_text("sk-anna anna tokens-per-day=9")
    text = ALL.replace('embedding-model = "e"\n', "")  # which would need another value of `files`
    run("serve", "--config", written(tmp_path, text))
    assert (served["store"].path, served["host"]) == (Path("runs.db"), "127.0.0.1")
    assert (served["port"], served["drain"]) == (0, 1.5)
    assert (served["log"], served["keys"]) == (("debug", "json"), {"sk-anna": "anna"})
    assert isinstance(served["options"].pop("telemetry"), Telemetry)
    assert served["options"].pop("operator_file") == Path("runs.db-operator")
    assert repr(served["options"].pop("audit")) == "<AuditLog 'audit.jsonl'>"
    assert served["options"] == {
        "max_file_bytes": 4 * 2**20,
        "max_owner_bytes": 0,
        "limits": Limits(active_runs=5),
        "owner_limits": {"anna": Limits(active_runs=5, tokens_per_day=9)},
        "max_active_runs": 3,
        "owner_share": 2,
        "expires_after": 60.5,
        "console": False,
        "cors_origins": ["https://app.example"],
        "trusted_proxies": ["127.0.0.1"],
        "proxy_header": "forwarded",
        "metrics_port": 0,
        "metrics_host": "127.0.0.2",
        "log_access": False,
        "retention_days": 90,
        "owner_retention": {},
    }
    assert served["passed"] is not None


def test_what_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: dict):
    """An option, then a variable, then the file, then the default, wherever `--config` stands."""
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, "port = 1\nconsole = false\ndrain = 2\nexpires-after = 60\ncors-origin = ['http://a']")
    monkeypatch.setenv("OPENAI_RUNS_DRAIN", "3")
    monkeypatch.setenv("OPENAI_RUNS_PORT", "3")
    for arguments in (["--port", "4", "--config", file], ["--config", file, "--port", "4"]):
        run("serve", *arguments)
        assert (served["port"], served["drain"], served["host"]) == (4, 3.0, "127.0.0.1")
        assert (served["options"]["console"], served["options"]["expires_after"]) == (False, 60.0)
        assert served["options"]["cors_origins"] == ["http://a"]
    monkeypatch.setenv("OPENAI_RUNS_CONFIG", str(file))
    run("serve", "--console", "--cors-origin", "http://b")
    assert (served["port"], served["options"]["console"]) == (3, True)
    assert served["options"]["cors_origins"] == ["http://b"]


def test_help_does_not_show_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A header in it may have a key."""
    file = written(tmp_path, "header = ['authorization=sk-1']")
    monkeypatch.setenv("OPENAI_RUNS_CONFIG", str(file))
    monkeypatch.setenv("OPENAI_RUNS_QUERY", "key=sk-2")
    for arguments in (["--help"], ["--config", file, "--help"]):
        assert "sk-" not in run("serve", *arguments)


@pytest.mark.anyio
async def test_a_server_with_settings(tmp_path: Path):
    """A process reads them, too."""
    file = written(tmp_path, "console = false\nlog-level = 'warning'\ndrain = 0.001")
    with serving(tmp_path / "runs.db", "--config", str(file)) as (url, process):
        async with ClientSession() as http, http.get(url.removesuffix("v1")) as response:
            assert response.status == 404
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert "INFO" not in log
