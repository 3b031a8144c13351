"""Whatever comes from outside, byte by byte: targets that Hypothesis tries in every run, and atheris on request.

A target is a function of bytes that holds one border of the library against its promises; see `targets`. Hypothesis
damages the samples and calls it (`test_targets.py`), a few inputs each. ``python -m tests.fuzz`` has atheris do so,
which sees how far each input gets, and keeps those that get further. What it finds becomes a test of the room.
"""
