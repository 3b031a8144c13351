"""``kill -9`` under load. A few times in the tests; as often as you like with ``python -m tests.crash --kills 200``."""
