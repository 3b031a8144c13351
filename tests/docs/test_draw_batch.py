"""The picture of a batch is drawn by the code that its page shows."""

from pathlib import Path

from docs.draw_batch import PAGE, blocks

ROOT = Path(__file__).parents[2]


def test_the_blocks_of_the_page() -> None:
    """What is run begins with the page's first block and ends with the one that saves the picture."""
    first, *_, last = blocks((ROOT / "docs" / PAGE).read_text("utf-8"))
    assert "run_batch" in first
    assert last.rstrip().endswith('figure.savefig("batch.svg")')


def test_blocks_of_other_languages() -> None:
    """Only Python is run, and nothing after the picture."""
    page = '```console\n$ rm\n```\n```python\na = 1\n```\n```python\nsavefig("x")\n```\n```python\nb = 2\n```\n'
    assert blocks(page) == ["a = 1\n", 'savefig("x")\n']
