"""Reads multipart forms: small fields into memory, and one file piece by piece to wherever it goes."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiohttp import BodyPartReader, web
from attrs import define, field

from openai_runs.engine import ApiError
from openai_runs.server import validation_errors
from openai_runs.server.cors import CORS, is_of_console

_logger = logging.getLogger("openai_runs.server")
T = TypeVar("T")

_CONTENT_TYPE: Final = "multipart/form-data"
#: Bytes that a form has at most beside its file.
FORM_BYTES: Final = 64 * 1024
_MOST_SHOWN: Final = 100  #: characters of a header in the log
_PIECE: Final = 64 * 1024  # bytes that are read at a time
_MAX_FIELD: Final = 1024  # bytes of a field; the longest value that the API has is a word
_MAX_FILENAME: Final = 1000  # characters
_BRACKETS: Final = re.compile(r"\[(\w+)\]")
_PLAIN_ENCODINGS: Final = ("", "7bit", "8bit", "binary")  # some clients name one of these, which means nothing


@define
class Form:
    """A form that was read."""

    fields: dict[str, Any] = field(factory=dict, init=False)  #: texts; ``a[b]`` is ``b`` in a dict ``a``
    filename: str | None = field(default=None, init=False)  #: of the file, if there was one


async def read_form(request: web.Request, file: str, take: Callable[[bytes], Awaitable[None]]) -> Form:
    """Read the form of a request.

    Args:
        request: The request.
        file: The name of the field that is a file; all others are texts.
        take: Called with each piece of the file.

    Raises:
        ApiError: 400, 403 or 415; it is no form, a malformed one, or from a web page of somebody else. Or what ``take``
            raises.
    """
    refuse_other_sites(request)
    if request.content_type != _CONTENT_TYPE:
        given = request.headers.get("Content-Type", "")[:100]
        text = f"Unsupported content type: '{given}'. This API method only accepts '{_CONTENT_TYPE}' requests."
        raise ApiError(415, text, code="unsupported_content_type")
    form = Form()
    reader = await _reading(request.multipart())
    while (part := await _reading(reader.next())) is not None:
        if not isinstance(part, BodyPartReader) or not part.name:
            raise _malformed("a part of it is no field")
        if part.headers.get("Content-Transfer-Encoding", "").lower() not in _PLAIN_ENCODINGS:
            raise _malformed("a part of it has a Content-Transfer-Encoding")
        if part.name == file:
            await _read_file(form, part, take)
        else:
            _put(form.fields, part.name, await _read_field(part))
    return form


def refuse_other_sites(request: web.Request) -> None:
    """Refuse what a browser sends for a page of another site, unless its origin may use the API.

    Browsers send forms anywhere without asking, and a server without keys would take them from any page.

    Raises:
        ApiError: 403.
    """
    origin = request.headers.get("Origin")
    # Behind a proxy that is not trusted, the scheme of a request is not its browser's.
    if origin is None or origin in {f"https://{request.host}", f"{request.scheme}://{request.host}"}:
        return
    cors = request.app.get(CORS)
    if cors is None or not cors.allows(origin) or is_of_console(request):
        _logger.warning(
            "a web page of %s was refused, since it asked %s: a reverse proxy has to pass on the browser's Host header",
            origin[:_MOST_SHOWN],
            request.host[:_MOST_SHOWN],
        )
        raise ApiError(403, "Requests from web pages of other sites are not accepted.")


async def _reading(step: Awaitable[T]) -> T:
    try:
        return await step
    except Exception as error:  # aiohttp raises any class of error for a malformed form, and for a lost connection
        raise _malformed(str(error) or type(error).__name__) from None


def _malformed(problem: str) -> ApiError:
    return ApiError(400, f"We could not read the form in the body of your request: {problem[:200]}.")


async def _read_file(form: Form, part: BodyPartReader, take: Callable[[bytes], Awaitable[None]]) -> None:
    if part.filename is None:
        text = f"Invalid '{part.name}': expected a file, with a filename."
        raise ApiError(400, text, param=part.name, code="invalid_value")
    if form.filename is not None:
        raise _twice(part.name or "")
    # Bytes that are not UTF-8 came as lone surrogates, which no JSON can have.
    form.filename = part.filename.encode(errors="replace").decode()[:_MAX_FILENAME]
    while piece := await _reading(part.read_chunk(_PIECE)):
        await take(piece)


async def _read_field(part: BodyPartReader) -> str:
    text = b""
    while piece := await _reading(part.read_chunk(_MAX_FIELD)):
        text += piece
        if len(text) > _MAX_FIELD:
            raise validation_errors.too_long_text(part.name or "", _MAX_FIELD)
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _malformed(f"the field '{part.name}' is not UTF-8") from None


def _put(fields: dict[str, Any], name: str, text: str) -> None:
    """Put a field into its place: ``expires_after[seconds]`` is ``seconds`` in ``expires_after``."""
    outer = name.partition("[")[0]
    *path, last = [outer, *_BRACKETS.findall(name[len(outer) :])]
    for key in path:
        fields = fields.setdefault(key, {})
        if not isinstance(fields, dict):
            raise _twice(name)
    if last in fields:
        raise _twice(name)
    fields[last] = text


def _twice(name: str) -> ApiError:
    return ApiError(400, f"Invalid '{name[:64]}': it is given twice.", param=name[:64], code="invalid_value")
