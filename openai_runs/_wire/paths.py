"""The API's paths, for client and server; and the IDs in a path, from an object or from keywords."""

from typing import Any, Final, cast

from openai_runs import _habits

ASSISTANTS: Final = "/assistants"
ASSISTANT: Final = "/assistants/{assistant_id}"
THREADS: Final = "/threads"
THREAD: Final = "/threads/{thread_id}"
THREAD_RUNS: Final = "/threads/runs"
MESSAGES: Final = "/threads/{thread_id}/messages"
MESSAGE: Final = "/threads/{thread_id}/messages/{message_id}"
RUNS: Final = "/threads/{thread_id}/runs"
RUN: Final = "/threads/{thread_id}/runs/{run_id}"
FILES: Final = "/files"
FILE: Final = "/files/{file_id}"
FILE_CONTENT: Final = "/files/{file_id}/content"
VECTOR_STORES: Final = "/vector_stores"
VECTOR_STORE: Final = "/vector_stores/{vector_store_id}"
VECTOR_STORE_FILES: Final = "/vector_stores/{vector_store_id}/files"
VECTOR_STORE_FILE: Final = "/vector_stores/{vector_store_id}/files/{file_id}"
VECTOR_STORE_FILE_CONTENT: Final = "/vector_stores/{vector_store_id}/files/{file_id}/content"
VECTOR_STORE_BATCHES: Final = "/vector_stores/{vector_store_id}/file_batches"
VECTOR_STORE_BATCH: Final = "/vector_stores/{vector_store_id}/file_batches/{batch_id}"
VECTOR_STORE_BATCH_FILES: Final = "/vector_stores/{vector_store_id}/file_batches/{batch_id}/files"
STEPS: Final = "/threads/{thread_id}/runs/{run_id}/steps"
STEP: Final = "/threads/{thread_id}/runs/{run_id}/steps/{step_id}"
# Of our own server, beyond the API. `THREADS` can be listed there, too.
ALL_RUNS: Final = "/runs"
RUN_CHANGES: Final = "/runs/changes"
RUN_BY_ID: Final = "/runs/{run_id}"
#: A response header, ``true`` in every response of a server that has `RUN_CHANGES`, and lets polls wait.
RUN_CHANGES_SUPPORTED: Final = "Run-Changes-Supported"
#: The headers by which a poll waits for a change, of RFC 7240, and what the second one then says.
PREFER: Final = "Prefer"
PREFERENCE_APPLIED: Final = "Preference-Applied"
WAIT: Final = "wait"


def ids_of(kind: type[Any], value: object, **ids: str | None) -> dict[str, str]:
    """The IDs in an object's path, from the object or from the caller's keywords.

    Args:
        kind: The object's model.
        value: The object, or ``None`` if the caller gives IDs.
        **ids: The IDs by their names in the path, the object's own ID last.

    Raises:
        TypeError: Neither is given, or both are; the message says what to write.
    """
    if value is None and None not in ids.values():
        return cast("dict[str, str]", ids)
    given = {name: id for name, id in ids.items() if id is not None}
    if isinstance(value, kind) and not given:
        *parents, own = ids
        return {**{name: getattr(value, name) for name in parents}, own: value.id}
    got = [repr(value)] * (value is not None) + [f"{name}={id!r}" for name, id in given.items()]
    keywords = ", ".join(f"{name}=…" for name in ids)
    hint = ""
    if isinstance(value, str):
        *parents, own = ids
        if not given:
            hint = _habits.BY_ID.get(kind.__name__, "")
        elif [*given] == parents:  # as openai-python has it
            hint = f"; write {own}={value!r}"
    raise TypeError(
        f"give a {kind.__name__}, or {keywords} as keywords: got {', '.join(got) or 'neither'}; nothing was sent{hint}"
    )
