"""The command `pons`: one thin application composed of the modules in `engine.commands`.

Text for people, `--json` for programs. Exit code 0: fine; 1: findings, or the work failed; 2: the
command was used wrongly. An operator never sees a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import typer

from engine.errors import PonsError

COMMANDS = {
    "init": ("init",),
    "run": ("run",),
    "check": ("check",),
    "test": ("test",),
    "explain": ("explain",),
    "schema": ("schema",),
    "plan": ("plan",),
    "apply": ("apply",),
    "history": ("history",),
    "send": ("send",),
    "look": ("studies", "trace", "deliveries"),
    "destinations": ("destinations", "pause", "resume"),
    "dead": ("dead",),
    "hold": ("hold",),
    "replay": ("replay",),
    "result": ("result",),
    "orders": ("orders",),
    "audit": ("audit",),
    "retention": ("retention",),
    "backup": ("backup", "restore"),
    "client": ("client",),
    "user": ("user",),
    "site": ("site",),
    "tunnel": ("tunnel",),
}
"""The modules of `engine.commands`, in the order in which help lists them, and the commands of each."""


def application(command: str | None = None) -> typer.Typer:
    """All commands; or, to start in half the time, only the module that has a certain one."""
    app = typer.Typer(
        name="pons",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(pons)
    modules = [module for module, commands in COMMANDS.items() if command in commands] or list(COMMANDS)
    for module in modules:
        importlib.import_module(f"engine.commands.{module}").register(app)
    return app


def pons() -> None:
    """Integration engine between hospitals and an imaging-AI vendor: studies in, results out."""


def main() -> None:
    """The entry point; never returns."""
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)
    try:
        application(command)()
    except PonsError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except BrokenPipeError:  # `pons studies | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        typer.echo(f"{error.filename or 'pons'}: {(error.strerror or str(error)).lower()}", err=True)
        sys.exit(1)
    except Exception as error:
        # A defect. The message may hold patient data, the place does not.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        typer.echo(f"unexpected {type(error).__name__} at {where}; please report this", err=True)
        sys.exit(1)
