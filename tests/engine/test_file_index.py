"""The face of the index: its values."""

from openai_runs.engine.file_index import Chunking, UnusableFileError


def test_defaults_are_the_apis():
    """800 tokens, of which 400 overlap."""
    assert (Chunking().size, Chunking().overlap) == (800, 400)


def test_an_unusable_file():
    """The error says what the API shows."""
    error = UnusableFileError("invalid_file", "It is empty.")
    assert (error.code, error.message, str(error)) == ("invalid_file", "It is empty.", "It is empty.")
