"""The tests mirror the package: whoever changes ``a/b.py`` finds its test at ``tests/a/test_b.py``."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Modules of declarations, which have nothing to run by themselves; a folder stands for all in it.
DECLARATIONS = {
    "backends/model_backend.py",  # the protocol: `test_stories.py` holds each backend against it
    "cli/endpoint_option.py",
    "engine/api_events.py",
    "engine/audit.py",  # the protocol: `server/test_audit_log.py` implements it
    "engine/errors.py",
    "engine/files_endpoint.py",  # the protocol: `server/endpoint_files.py` and `tests/engine/endpoint.py` implement it
    "engine/file_index.py",  # the protocol: `server/test_local_files.py` and `tests/engine/index.py` implement it
    "events.py",
    "models/",  # `test_schema.py` and `tests/test_coverage_of_api.py` hold them against the API's document
    "stores/records.py",
    "stores/sharing.py",  # the protocol: `stores/postgres/test_shared.py` and `engine/test_replicas.py` hold it
}
#: Whose test has the name of what it is about, because it takes several files.
SEVERAL = {
    "_http/sender.py": ["_http/test_transport.py"],
    "batch/durable/starting.py": ["batch/durable/test_job_runner.py"],
    "cli/batch_output.py": ["cli/test_batch_run.py", "cli/test_batch_run_durable.py"],
    "cli/stored_threads.py": ["cli/test_threads.py", "cli/test_threads_delete.py"],
    "file_search/by_meaning.py": ["file_search/test_sqlite_index.py", "file_search/test_postgres_index.py"],
    "file_search/postgres_tables.py": ["file_search/test_postgres_index.py"],
    "following/event_stream.py": ["following/test_streaming.py", "following/test_stream_lifetimes.py"],
    "following/leaving.py": ["following/test_follower.py", "following/test_stream_lifetimes.py"],
    "following/run_requests.py": ["services/test_never_twice.py", "following/test_follower.py"],
    "server/operator_client.py": ["server/test_operator_site.py"],
    "stores/commit_groups.py": ["stores/test_worked_for.py"],
    "stores/postgres/emptying.py": ["stores/test_emptying.py"],
    "stores/postgres/lease.py": ["stores/postgres/test_shared.py"],
    "stores/postgres/schema.py": ["stores/postgres/test_store.py", "stores/postgres/test_session.py"],
    "stores/sqlite/emptying.py": ["stores/test_emptying.py"],
    "stores/table_rows.py": ["stores/test_store.py"],
    "stores/table_store.py": ["stores/test_store.py", "stores/sqlite/test_store.py"],
}


def modules():
    package = ROOT / "openai_runs"
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if path.name != "__init__.py" and not any(name.startswith(declared) for declared in DECLARATIONS):
            yield name


@pytest.mark.parametrize("module", list(modules()))
def test_a_module_with_logic_has_a_test_file(module: str):
    """A leading underscore is left out of the test's name."""
    path = Path(module)
    own = (path.parent / f"test_{path.stem.strip('_')}.py").as_posix()
    for test in SEVERAL.get(module, [own]):
        assert (ROOT / "tests" / test).is_file()
