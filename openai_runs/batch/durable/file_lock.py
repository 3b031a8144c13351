"""`only_one`: at most one process at a time; the operating system lets go of the lock when the process ends."""

import os
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def only_one(path: str) -> Generator[None]:
    """Hold a lock that no other process has.

    Args:
        path: Of a file for the lock alone; it is created, and stays.

    Raises:
        RuntimeError: Another process has the lock.
    """
    import fcntl  # there is none on Windows, where only PostgreSQL is a store

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError(
                f"another process runs the jobs of this file, as the lock on {path} says. For several processes, keep "
                "the batches in PostgreSQL; to add jobs or to read results, open the file without a session"
            ) from error
        yield
    finally:
        os.close(descriptor)
