"""What every page and file of the console has: headers, escaped text."""

import re

import pytest

from openai_runs.server import LocalServer
from openai_runs.server.console import rendering
from openai_runs.server.console.views import Texts
from tests.server.console.browser import browsing

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/", "/console/static/console.js", "/console/runs/nowhere", "/console/static/x"])
async def test_headers(server: LocalServer, path: str):
    """A page loads and runs nothing from elsewhere or from within itself, and stands in no other page."""
    async with browsing(server) as browser:
        await browser.open(path)
        policy = browser.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= {*policy}
        assert "unsafe" not in " ".join(policy)
        assert browser.headers["X-Content-Type-Options"] == "nosniff"
        assert browser.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("name", "type"), [("console.css", "text/css"), ("console.js", "text/javascript"), ("icon.svg", "image/svg+xml")]
)
async def test_files(server: LocalServer, name: str, type: str):
    async with browsing(server) as browser:
        await browser.open(f"/console/static/{name}")
        assert (browser.status, browser.headers["Content-Type"]) == (200, f"{type}; charset=utf-8")


async def test_no_other_files(server: LocalServer):
    """A name is never a path."""
    async with browsing(server) as browser:
        for name in ("..%2Frendering.py", "__init__.py", "%2Fetc%2Fpasswd"):
            await browser.open(f"/console/static/{name}")
            assert browser.status == 404


def test_templates_escape():
    """Whatever is put into a page is text; what is missing is an error."""
    template = rendering._templates().from_string("{{ text }} {{ text|plain }}")
    assert template.render(text="<b>", texts=Texts()) == "&lt;b&gt; &lt;b&gt;"
    with pytest.raises(Exception, match="undefined"):
        template.render(texts=Texts())


def test_no_script_or_style_in_a_template():
    """The policy would refuse it."""
    for path in (rendering._FOLDER / "templates").iterdir():
        text = path.read_text("utf-8")
        assert " style=" not in text
        assert "<style" not in text
        assert not re.search(r"\son\w+=", text)
        assert "|safe" not in text
