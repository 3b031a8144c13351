"""What is in docs/deploy agrees with the command that it starts."""

import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from docs.write_options import variable_of
from openai_runs.cli.serve import serve
from openai_runs.cli.settings_file import settings_of
from openai_runs.engine.engine import MAX_FILE_BYTES
from openai_runs.server.form import FORM_BYTES
from openai_runs.server.sse_response import HEARTBEAT
from tests.serving import free_port

pytestmark = pytest.mark.unmeasured

DOCS = Path(__file__).parents[2] / "docs"
DEPLOY = DOCS / "deploy"
SETTINGS = settings_of(serve)


def command(instruction: str) -> list[str]:
    """The command of an instruction of the Dockerfile, which is a JSON array."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    (found,) = re.findall(rf"^{instruction}.*?(\[.*\])$", text, re.MULTILINE)
    return json.loads(found)


def here(words: list[str], folder: Path, port: int) -> list[str]:
    """The same command on this machine, with the volume in a folder."""
    first = {"openai-runs": [sys.executable, "-m", "openai_runs"], "python": [sys.executable]}[words[0]]
    return [*first, *(word.replace("/data", str(folder)).replace("8080", str(port)) for word in words[1:])]


@contextmanager
def contained(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """What the image runs."""
    # Compose sets variables that nobody has given a value to an empty text.
    empty = dict.fromkeys(("OPENAI_RUNS_MODEL_URL", "OPENAI_RUNS_MODEL", "OPENAI_RUNS_MODEL_KEY_ENV", "MODEL_KEY"), "")
    empty["OPENAI_RUNS_TRUSTED_PROXY"] = ""
    environment = {**os.environ, **empty, "OPENAI_RUNS_KEYS": "sk-anna anna"}
    with subprocess.Popen(
        here(command("CMD"), folder, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert "serving" in process.stdout.readline()
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)


def test_the_image(tmp_path: Path):
    """Its command serves from the volume; its health check passes then, and fails when nobody answers."""
    port = free_port()
    check = here(command("HEALTHCHECK"), tmp_path, port)
    with contained(tmp_path, port) as process:
        assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    assert process.returncode == 0
    assert (tmp_path / "runs.db").exists()
    assert subprocess.run(check, capture_output=True, check=False).returncode == 1


def test_the_image_is_nobody_and_keeps_its_store():
    """It does not run as root, and what it writes is in the volume."""
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").splitlines()
    (user,) = [line for line in lines if line.startswith("USER")]
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", user)
    assert "VOLUME /data" in lines
    assert f"EXPOSE {command('CMD')[-1]}" in lines
    assert {word.lstrip("-") for word in command("CMD") if word.startswith("--")} <= {*SETTINGS}


def test_what_the_image_is_built_from():
    """All that a wheel needs is copied, and nothing else, so that a change elsewhere builds nothing anew."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert copied == {"pyproject.toml", "README.md", "LICENSE", "openai_runs"}
    assert all((DOCS.parent / name).exists() for name in copied)


def test_the_compose_file():
    """Its variables are options, its keys come from the secret, and only the volume is written."""
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    server = file["services"]["server"]
    variables = {variable_of(setting.parameter) for setting in SETTINGS.values()}
    assert {*server["environment"]} - {"MODEL_KEY"} <= variables
    assert server["environment"]["OPENAI_RUNS_MODEL_KEY_ENV"] == "${MODEL_KEY:+MODEL_KEY}"
    (secret,) = server["secrets"]
    assert server["environment"]["OPENAI_RUNS_KEYS_FILE"] == f"/run/secrets/{secret}"
    assert secret in file["secrets"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert [volume.split(":") for volume in server["volumes"]] == [[name, "/data"] for name in file["volumes"]]
    assert server["read_only"]
    assert server["ports"] == ["127.0.0.1:8080:8080"]  # no TLS here: only a proxy of this machine gets at it


def test_the_unit():
    """Its command has options that there are, and a reload sends the signal that the server waits for."""
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "openai-runs.service", "utf-8")
    service = unit["Service"]
    program, name, *words = service["ExecStart"].split()
    assert (program.rpartition("/")[2], name) == ("openai-runs", "serve")
    assert {word.removeprefix("--") for word in words if word.startswith("--")} <= {*SETTINGS, "config"}
    assert service["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    assert f"/{service['StateDirectory']}/" in words[-1]
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"


def test_the_proxies():
    """They pass each event of a stream on at once, wait longer than for a comment, and take the largest upload."""
    nginx = dict(re.findall(r"^\s*(\w+) ([^;{\n]+);", (DEPLOY / "nginx.conf").read_text("utf-8"), re.MULTILINE))
    assert nginx["proxy_buffering"] == "off"
    assert nginx["proxy_http_version"] == "1.1"
    assert int(nginx["proxy_read_timeout"].removesuffix("h")) * 3600 > HEARTBEAT
    assert int(nginx["client_max_body_size"].removesuffix("m")) * 2**20 >= MAX_FILE_BYTES + FORM_BYTES
    # What --trusted-proxy believes, which is not there unless the proxy sets it.
    for header in "X-Forwarded-For $proxy_add_x_forwarded_for", "X-Forwarded-Proto $scheme", "Host $http_host":
        assert f"proxy_set_header {header};" in (DEPLOY / "nginx.conf").read_text("utf-8")
    caddy = dict(re.findall(r"^\s*(\w+) (\S+)", (DEPLOY / "Caddyfile").read_text("utf-8"), re.MULTILINE))
    assert caddy["flush_interval"] == "-1"
    assert int(caddy["max_size"].removesuffix("MB")) * 10**6 >= MAX_FILE_BYTES + FORM_BYTES
    assert f"http://{caddy['reverse_proxy']}" == nginx["proxy_pass"] == "http://127.0.0.1:8080"


@pytest.mark.parametrize("file", sorted(path.name for path in DEPLOY.iterdir()))
def test_the_page_shows_each_file(file: str):
    """Whoever reads the page sees what is there."""
    pages = [(DOCS / "how-to" / name).read_text("utf-8") for name in ("run-as-a-service.md", "several-servers.md")]
    assert any(f"{{literalinclude}} ../deploy/{file}\n" in page for page in pages)


def options_of(words: list[str]) -> set[str]:
    assert words[:2] == ["openai-runs", "serve"]
    return {word.removeprefix("--") for word in words if word.startswith("--")}


def test_the_compose_file_of_several_servers():
    """Its command and variables are options, its secrets are there, and it stops no server before it has drained."""
    file = yaml.safe_load((DEPLOY / "compose.replicas.yaml").read_text("utf-8"))
    server = file["services"]["server"]
    assert options_of(server["command"]) <= {*SETTINGS}
    assert "--replica" in server["command"]
    variables = {variable_of(setting.parameter) for setting in SETTINGS.values()}
    assert {*server["environment"]} - {"MODEL_KEY", "PGPASSFILE"} <= variables
    used = {entry if isinstance(entry, str) else entry["source"] for entry in server["secrets"]}
    assert used <= {*file["secrets"]}
    drain = float(server["command"][server["command"].index("--drain") + 1])
    assert float(server["stop_grace_period"].removesuffix("s")) > drain + 5
    caddy = (DEPLOY / "Caddyfile.replicas").read_text("utf-8")
    assert "dynamic a server 8080" in caddy
    assert "flush_interval -1" in caddy
    assert server["deploy"]["replicas"] > 1


def test_the_manifest_of_kubernetes():
    """Likewise; liveness does not ask for the database, and a deploy starts a server before it stops one."""
    deployment, service, budget = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    pod = deployment["spec"]["template"]["spec"]
    [server] = pod["containers"]
    assert options_of(server["command"]) <= {*SETTINGS}
    assert "--replica" in server["command"]
    variables = {variable_of(setting.parameter) for setting in SETTINGS.values()}
    assert {variable["name"] for variable in server["env"]} <= variables
    drain = float(server["command"][server["command"].index("--drain") + 1])
    assert pod["terminationGracePeriodSeconds"] > drain + 10
    probes = [server[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]
    assert probes == ["/healthz", "/healthz", "/readyz"]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == labels
    ports = {port["name"] for port in server["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
