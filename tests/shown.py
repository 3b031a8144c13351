"""What of an error somebody may come to see, for tests of what must not be in it."""

import traceback


def shown(error: BaseException) -> str:
    """All texts of an error and of its chain: message, `repr`, attributes, notes, traceback."""
    chain, texts = [error], list[str]()
    for link in chain:
        texts += [str(link), repr(link), repr(vars(link)), str(getattr(link, "__notes__", ""))]
        chain += [near for near in (link.__cause__, link.__context__) if near is not None and near not in chain]
    return "\n".join([*texts, *traceback.format_exception(error)])
