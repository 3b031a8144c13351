"""Imports of optional packages, with an error that says which extra installs them."""

import inspect
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from openai_runs.errors import MissingExtraError


@contextmanager
def needs(extra: str) -> Generator[None]:
    """Import the packages of an extra inside this context.

    Raises:
        MissingExtraError: A package is not installed; the message says how to install it.
    """
    try:
        yield
    except MissingExtraError:  # of another extra, which says so already
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "openai_runs":  # a bug of ours, which no extra mends
            raise
        raise MissingExtraError(
            f"{error.name} is not installed; it comes with {installing(extra)}",
            name=error.name,
        ) from error


def no_such_name(error: ImportError, name: str) -> ImportError | AttributeError:
    """What the ``__getattr__`` of a module raises for a name that is elsewhere, or needs an extra. Call it from there.

    Args:
        error: It says where the name is, or what to install.
        name: The name.

    Returns:
        ``error``, if ``from module import name`` asks: an `AttributeError` would get another text there. Otherwise an
        `AttributeError` with the same text, so that `hasattr` says that the name is not there.
    """
    here = inspect.currentframe()
    asker = here and here.f_back and here.f_back.f_back
    if asker is not None and asker.f_code.co_name == "_handle_fromlist":  # of importlib, which looks before it imports
        return error
    return AttributeError(str(error), name=name)


def installing(extra: str) -> str:
    """The commands that install an extra, from the index and in a clone."""
    return f"pip install 'openai_runs[{extra}]', in a clone with pip install '.[{extra}]'"


def can_search() -> bool:
    """Whether the extra ``files`` is installed, as far as a search needs it."""
    return find_spec("numpy") is not None and find_spec("pypdfium2") is not None  # numpy may be there for others


#: For whoever wants files searched where the extra is missing.
NO_SEARCH: Final = f"The extra 'files' is not installed here; it comes with {installing('files')}"
