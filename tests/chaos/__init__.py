"""The client over a network that fails, beside servers that are killed, and cancelled wherever it waits.

Short in the tests; as long as you like with ``python -m tests.chaos --lifecycles 10000 --kills 5 --every-point``.
"""
