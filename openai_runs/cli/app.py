"""The program `openai-runs`: its commands, in the order in which `--help` lists them.

A command is imported when it is asked for: a program that only makes a key need not load what executes runs.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from attrs import field, frozen
from typer.core import TyperGroup

from openai_runs import __version__
from openai_runs.cli.completion import answer_shell
from openai_runs.cli.config_option import PREFIX
from openai_runs.cli.terminal import console


@frozen
class Command:
    """A function in a module beside this one, which a command calls."""

    module: str
    function: str
    has_variables: bool = False  #: whether each option may be set by the environment, as that of a service is

    def load(self) -> Callable[..., Any]:
        """Import it."""
        found: Callable[..., Any] = getattr(import_module(f"openai_runs.cli.{self.module}"), self.function)
        return found


@frozen
class Group:
    """Commands that are called by two words."""

    help: str
    commands: Mapping[str, Command]


COMMANDS: Final[Mapping[str, Command | Group]] = {
    "demo": Command("demo", "demo"),
    "chat": Command("chat", "chat"),
    "follow": Command("follow", "follow"),
    "serve": Command("serve", "serve", has_variables=True),
    "import": Command("import_objects", "import_"),
    "export": Command("export_objects", "export"),
    "copy": Command("copy_store", "copy"),
    "backup": Command("backup", "backup"),
    "check": Command("check", "check"),
    "vacuum": Command("vacuum", "vacuum"),
    "batch": Group(
        "Run many jobs.",
        {
            "run": Command("batch_run", "run_jobs", has_variables=True),
            "submit": Command("batch_submit", "submit", has_variables=True),
            "status": Command("batch_status", "status"),
            "results": Command("batch_results", "results"),
            "cancel": Command("batch_cancel", "cancel"),
            "work": Command("batch_work", "work_on_jobs", has_variables=True),
        },
    ),
    "keys": Group(
        "Make and list keys for a server.",
        {"new": Command("keys", "new"), "hash": Command("keys", "hash_file"), "list": Command("keys", "list_keys")},
    ),
    "runs": Group(
        "List, show, watch and end runs.",
        {
            "list": Command("runs_list", "list_runs"),
            "show": Command("runs_show", "show_run"),
            "watch": Command("runs_list", "watch_runs"),
            "end": Command("runs_end", "end"),
        },
    ),
    "threads": Group(
        "List, show and delete threads.",
        {
            "list": Command("threads", "list_threads"),
            "show": Command("threads", "show_thread"),
            "delete": Command("threads_delete", "delete_threads"),
        },
    ),
    "completion": Command("completion", "completion"),
}


def _typer(commands: Mapping[str, Command | Group], **options: Any) -> typer.Typer:
    return typer.Typer(
        cls=_group_of(commands),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # rich's tables cut the names of options off in a terminal of 80 columns
        pretty_exceptions_enable=False,  # some releases of typer print local variables, which may be keys
        **options,
    )


def _group_of(commands: Mapping[str, Command | Group]) -> type[TyperGroup]:
    class LazyGroup(TyperGroup):
        def __init__(self, **options: Any) -> None:
            super().__init__(**(options | {"commands": {}}))
            self.commands = _Loaded(commands)  # type: ignore[assignment]  # none is added

    return LazyGroup


@frozen
class _Loaded(Mapping[str, Any]):
    """The same commands as Typer has them, each made when it is looked at."""

    _commands: Mapping[str, Command | Group]
    _made: dict[str, Any] = field(factory=dict, init=False)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _made_of(name, self._commands[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


def _made_of(name: str, command: Command | Group) -> Any:
    if isinstance(command, Group):
        made = _typer(command.commands, name=name, help=command.help)
        made.callback()(_nothing)
        return typer.main.get_command(made)
    made = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    settings = {"auto_envvar_prefix": PREFIX} if command.has_variables else {}
    made.command(name, context_settings=settings)(command.load())
    return typer.main.get_command(made)


def _nothing() -> None:
    """Without a callback, Typer takes a group that has no commands of its own for an error."""


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"openai-runs {__version__}")
        raise typer.Exit


app: Final = _typer(COMMANDS)


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Execute and follow runs of the Assistants API."""


def main() -> None:
    """Run the command line."""
    answer_shell(app)
    app()
