"""How PostgreSQL is reached."""

from pathlib import Path

import psycopg
import pytest

from openai_runs._postgres import first_line, is_postgres, is_refused


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("FATAL:  the database system is starting up", False),
        ("FATAL:  sorry, too many clients already", False),
        ("server closed the connection unexpectedly", False),
        ('FATAL:  Passwort-Authentifizierung für Benutzer "a" fehlgeschlagen', False),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', True),
        ("FATAL:  SASL authentication failed", True),
        ('FATAL:  permission denied for database "closed"', True),
        ("SSL error: certificate verify failed", True),
        ("FATAL:  no such database: batches", True),
    ],
)
def test_what_is_a_refusal(text: str, refused: bool):
    """What the server says of itself passes; what it says of the URL does not."""
    assert is_refused(psycopg.OperationalError(text)) is refused


def test_the_first_line():
    """libpq asks questions after what has happened."""
    assert first_line(psycopg.OperationalError("refused\n\tIs the server running?")) == "refused"


def test_what_is_a_url():
    """A store is named by a URL of PostgreSQL, or by the path of a file."""
    assert is_postgres("postgresql://me@db.example/runs")
    assert is_postgres("postgres:///runs")
    assert not is_postgres("runs.db")
    assert not is_postgres(Path("postgresql"))
