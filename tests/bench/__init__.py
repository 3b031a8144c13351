"""Measures beside their peers and floors: ``python -m tests.bench``."""
