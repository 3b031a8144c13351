"""Forms that pages of the console send, and refusal of all others."""

from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from openai_runs.engine import ApiError
from openai_runs.server.console.rendering import SESSIONS, session_token
from openai_runs.server.form import refuse_other_sites

_CONTENT_TYPE: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 1_000


async def read_form(request: web.Request) -> dict[str, str]:
    """Read a form that one of the session's own pages has sent.

    Raises:
        ApiError: 400, 403 or 415: it is malformed, or not surely from one of these pages.
        web.HTTPRequestEntityTooLarge: The body is larger than the server accepts.
    """
    refuse_other_sites(request)
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin" or "Origin" not in request.headers:
        raise ApiError(403, "This form was not sent by one of this server's own pages.")
    if request.content_type != _CONTENT_TYPE:
        raise ApiError(415, f"A form is to be {_CONTENT_TYPE}.")
    text = (await request.read()).decode("ascii", errors="replace")
    try:
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="replace"))
    except ValueError:
        raise ApiError(400, f"The form has more than {_MOST_FIELDS} fields.") from None
    if not request.app[SESSIONS].is_form_token(session_token(request), fields.get("form_token", "")):
        raise ApiError(403, "This form is of an earlier session. Reload the page, and send it again.")
    return fields
