"""One target under atheris, in a process of its own: libFuzzer ends the process when it is done.

An exception does not end it: the first input for each place that raises one is kept, and the search goes on. Two
mutations in five are libFuzzer's, which knows the bytes that were compared; the others are those of `damage`.
"""

import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["openai_runs"]):
    from tests.fuzz.damage import damaged
    from tests.fuzz.targets import TARGETS


def place_of(error: BaseException) -> str:
    """The kind of an exception and where it comes from, the same for all inputs with one cause."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "openai_runs" in Path(frame.filename).parts] or frames
    at = ours[-1] if not isinstance(error, AssertionError) else frames[-1]  # an assertion is the target's
    return f"{type(error).__name__}-{Path(at.filename).stem}-{at.lineno}"


def main(name: str, corpus: str, finds: str, *options: str) -> None:
    """Search from a corpus, which grows; finds go to a folder, under the names of their places."""
    logging.disable(logging.CRITICAL)  # what goes wrong is looked at, not read
    check = TARGETS[name].check
    known: set[str] = set()

    def find(data: bytes) -> None:
        try:
            check(data)
        except Exception as error:  # of any kind: that is what is looked for
            if (place := place_of(error)) not in known:
                known.add(place)
                Path(finds, place).write_bytes(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        changed: bytes = atheris.Mutate(data, most) if random.random() < 0.4 else damaged(data, random)
        return changed[:most]

    arguments: Sequence[str] = [sys.argv[0], corpus, f"-artifact_prefix={finds}/", *options]
    atheris.Setup(list(arguments), find, custom_mutator=mutate)
    atheris.Fuzz()


main(*sys.argv[1:])
