"""The tables of durable batches: their version stands in the database, once."""

import pytest
import sqlalchemy as sa

from openai_runs.batch.durable.database import open_database
from openai_runs.batch.durable.tables import SCHEMA, VERSION, create_tables, find_version


def test_the_version(tmp_path: object):
    """It is noted with the tables, and stays when they are created again; before, there is none."""
    database = open_database(f"{tmp_path}/a.db")
    with database.engine.begin() as connection:
        assert find_version(connection) is None
        create_tables(connection)
        create_tables(connection)
        assert find_version(connection) == VERSION
        assert connection.execute(sa.select(sa.func.count()).select_from(SCHEMA)).scalar() == 1
        connection.execute(SCHEMA.update().values(version=VERSION + 1))
        with pytest.raises(ValueError, match="Install the openai_runs that made them"):
            find_version(connection)
    database.close()
