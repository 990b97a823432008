"""The command `pons`: one thin application composed of the modules in `engine.commands`.

Text for people, `--json` for programs. Exit code 0: fine; 1: findings, or the work failed; 2: the
command was used wrongly. An operator never sees a traceback.
"""

from __future__ import annotations

import os
import sys
import traceback

import typer

from engine.commands import (
    apply,
    audit,
    backup,
    check,
    dead,
    destinations,
    explain,
    history,
    hold,
    init,
    look,
    plan,
    replay,
    result,
    retention,
    run,
    schema,
    site,
    test,
    tunnel,
)
from engine.errors import PonsError

app = typer.Typer(
    name="pons",
    help="Integration engine between hospitals and an imaging-AI vendor: studies in, results out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    init,
    run,
    check,
    test,
    explain,
    schema,
    plan,
    apply,
    history,
    look,
    destinations,
    dead,
    hold,
    replay,
    result,
    audit,
    retention,
    backup,
    site,
    tunnel,
):
    module.register(app)


def main() -> None:
    """The entry point; never returns."""
    try:
        app()
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
