"""What to install when a package is missing that not everybody needs."""

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def needs(extra: str) -> Generator[None]:
    """Import in here what an extra brings.

    Raises:
        ModuleNotFoundError: It is not installed; the message says what to do.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "openai_runs":  # then it is ours, and installing will not help
            raise
        raise ModuleNotFoundError(
            f"{error.name} is not installed; it comes with pip install 'openai_runs[{extra}]', "
            f"in a clone with pip install '.[{extra}]'",
            name=error.name,
        ) from error
