"""Pages of HTML from templates, which escape whatever is put into them, and the headers of all that a browser gets."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from markupsafe import Markup

from openai_runs.models.texts import parts
from openai_runs.server.console.sessions import Sessions
from openai_runs.server.console.views import Texts, lasted

if TYPE_CHECKING:
    from jinja2 import Environment

SESSIONS: Final = web.AppKey("console_sessions", Sessions)
#: Whether the server has keys, and so a browser has to log in.
HAS_KEYS: Final = web.AppKey("console_has_keys", bool)
COOKIE: Final = "openai_runs_session"

#: Nothing is loaded from elsewhere, no script or style stands in a page, and no other page can frame one of these.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer, browsers would send `Origin: null` with our own forms, too.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_FOLDER: Final = Path(__file__).parent
_STATIC: Final[Mapping[str, str]] = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context

    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(when=_when, took=lasted, plain=pass_context(_plain), parts=parts)
    return environment


def _plain(context: Mapping[str, Any], text: str) -> str:
    """A text that somebody has written, within the limits of the page."""
    texts: Texts = context["texts"]
    return texts.shown(text)


def _when(time: datetime) -> Markup:
    """A time in UTC; the script makes the browser's own of it."""
    utc = time.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(utc.isoformat(), f"{utc:%Y-%m-%d %H:%M:%S} UTC")


def session_token(request: web.Request) -> str:
    """The token in a browser's cookie; empty if it has none, or if the server needs none."""
    return request.cookies.get(COOKIE, "") if request.app[HAS_KEYS] else ""


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Respond with a page.

    Args:
        request: The request.
        template: The file of the template.
        status: The response's status.
        **values: What the template shows.
    """
    sessions, token = request.app[SESSIONS], session_token(request)
    is_logged_in = sessions.owner(token) is not None
    values |= {
        "form_token": sessions.form_token(token),
        "is_logged_in": is_logged_in,
        "is_open": is_logged_in or not request.app[HAS_KEYS],
        "path": request.path,
        "texts": Texts(),
    }
    text = _templates().get_template(template).render(values)
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


def failure(request: web.Request, status: int, message: str) -> web.Response:
    """Respond with a page that says what went wrong."""
    return page(request, "failure.html", status=status, message=message)


def see_other(path: str) -> web.Response:
    """Send the browser on to another page, after a form."""
    return web.Response(status=303, headers={"Location": path})


async def static(request: web.Request) -> web.StreamResponse:
    """The script, the style and the icon of the pages."""
    name = request.match_info["name"]
    if name not in _STATIC:
        return failure(request, 404, "There is no such file.")
    headers = {"Content-Type": f"{_STATIC[name]}; charset=utf-8", "Cache-Control": "no-cache"}
    return web.FileResponse(_FOLDER / "static" / name, headers=headers)
