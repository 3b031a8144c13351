"""`lines`: what is entered, line by line; waiting for it can be cancelled."""

import os
from pathlib import Path

import anyio
import pytest

from openai_runs.cli.lines import lines

pytestmark = pytest.mark.anyio


async def test_a_pipe():
    """Lines come when they are complete, however they were written; the last one need not end."""
    reading, writing = os.pipe()
    source = lines(reading)
    os.write(writing, "one\nt☂".encode()[:-1])
    assert await anext(source) == "one"
    with anyio.move_on_after(0.01) as waiting:
        await anext(source)
    assert waiting.cancelled_caught
    await source.aclose()
    source = lines(reading)
    os.write(writing, b"two\nthree\n\nfour")
    os.close(writing)
    assert [line async for line in source] == ["two", "three", "", "four"]
    os.close(reading)


async def test_a_file(tmp_path: Path):
    """A file is read to its end."""
    (tmp_path / "said").write_text("one\ntwo\n")
    descriptor = os.open(tmp_path / "said", os.O_RDONLY)
    assert [line async for line in lines(descriptor)] == ["one", "two"]
    os.close(descriptor)
