"""The program `openai-runs`: its commands, in the order in which `--help` lists them."""

from typing import Annotated, Final

import typer

from openai_runs import __version__
from openai_runs.cli.backup import backup
from openai_runs.cli.batch_cancel import cancel
from openai_runs.cli.batch_results import results
from openai_runs.cli.batch_run import run_jobs
from openai_runs.cli.batch_status import status
from openai_runs.cli.batch_submit import submit
from openai_runs.cli.batch_work import work_on_jobs
from openai_runs.cli.chat import chat
from openai_runs.cli.check import check
from openai_runs.cli.completion import answer_shell, completion
from openai_runs.cli.copy_store import copy
from openai_runs.cli.demo import demo
from openai_runs.cli.export_objects import export
from openai_runs.cli.follow import follow
from openai_runs.cli.import_objects import import_
from openai_runs.cli.keys import hash_file, list_keys, new
from openai_runs.cli.runs_end import end
from openai_runs.cli.runs_list import list_runs, watch_runs
from openai_runs.cli.runs_show import show_run
from openai_runs.cli.serve import serve
from openai_runs.cli.terminal import console
from openai_runs.cli.threads import list_threads, show_thread
from openai_runs.cli.threads_delete import delete_threads
from openai_runs.cli.vacuum import vacuum

app: Final = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich's tables cut the names of options off in a terminal of 80 columns
    pretty_exceptions_enable=False,  # some releases of typer print local variables, which may be keys
)
app.command()(demo)
app.command()(chat)
app.command()(follow)
app.command(context_settings={"auto_envvar_prefix": "OPENAI_RUNS"})(serve)  # a service is configured by its environment
app.command("import")(import_)
app.command()(export)
app.command()(copy)
app.command()(backup)
app.command()(check)
app.command()(vacuum)
batch_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Run many jobs.")
batch_app.command("run", context_settings={"auto_envvar_prefix": "OPENAI_RUNS"})(run_jobs)
batch_app.command(context_settings={"auto_envvar_prefix": "OPENAI_RUNS"})(submit)
batch_app.command()(status)
batch_app.command()(results)
batch_app.command()(cancel)
batch_app.command("work", context_settings={"auto_envvar_prefix": "OPENAI_RUNS"})(work_on_jobs)
app.add_typer(batch_app, name="batch")
keys_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and list keys for a server.")
keys_app.command()(new)
keys_app.command("hash")(hash_file)
keys_app.command("list")(list_keys)
app.add_typer(keys_app, name="keys")
runs_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show, watch and end runs.")
runs_app.command("list")(list_runs)
runs_app.command("show")(show_run)
runs_app.command("watch")(watch_runs)
runs_app.command()(end)
app.add_typer(runs_app, name="runs")
threads_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show and delete threads.")
threads_app.command("list")(list_threads)
threads_app.command("show")(show_thread)
threads_app.command("delete")(delete_threads)
app.add_typer(threads_app, name="threads")
app.command()(completion)


def main() -> None:
    """Run the command line."""
    answer_shell(app)
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"openai-runs {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Execute and follow runs of the Assistants API."""
