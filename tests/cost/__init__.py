"""What things cost in instructions, which no busy machine blurs, and in requests and commits: ``nox -s cost``."""
