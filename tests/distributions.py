"""What has to be in the wheel and the source distribution: ``python tests/distributions.py FOLDER OTHER_FOLDER``.

``nox -s build`` makes both, and a second wheel from the tree itself, which must be the same as the one from the source
distribution.
"""

import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = [
    "openai_runs/__init__.py",
    "openai_runs/py.typed",
    "openai_runs/server/assistants-v2.json",
    "openai_runs/server/LICENSE-openai-openapi.txt",
    "openai_runs/backends/chatml_with_tools.jinja",
    "openai_runs/server/console/static/console.css",
    "openai_runs/server/console/static/console.js",
    "openai_runs/server/console/static/icon.svg",
    "openai_runs/server/console/templates/base.html",
    "openai_runs/server/console/templates/failure.html",
    "openai_runs/server/console/templates/limits.html",
    "openai_runs/server/console/templates/login.html",
    "openai_runs/server/console/templates/macros.html",
    "openai_runs/server/console/templates/run.html",
    "openai_runs/server/console/templates/runs.html",
    "openai_runs/server/console/templates/start.html",
    "openai_runs/server/console/templates/thread.html",
]
BESIDES = [
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "noxfile.py",
    "tests/conftest.py",
    "docs/changelog.md",
    "docs/examples/ask.html",
    "docs/examples/notebook.ipynb",
]


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def main(folder: Path, from_tree: Path) -> None:
    wheel = only(folder, "openai_runs-*.whl")
    sdist = only(folder, "openai_runs-*.tar.gz")
    in_wheel = contents(wheel)
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}

    (licence,) = (name for name in in_wheel if name.endswith(".dist-info/licenses/LICENSE"))
    assert in_wheel[licence] == Path("LICENSE").read_bytes()
    for what, there, wanted in (wheel, in_wheel.keys(), PACKAGE), (sdist, in_sdist, [*PACKAGE, *BESIDES]):
        assert not set(wanted) - there, f"{what} lacks {set(wanted) - there}"
    strange = {name for name in in_wheel if not name.startswith(("openai_runs/", licence.partition("/")[0] + "/"))}
    assert not strange, f"{wheel} would install {strange}"
    assert contents(only(from_tree, wheel.name)) == in_wheel, "the source distribution builds another wheel"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
