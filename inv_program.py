# SPDX-License-Identifier: MIT
"""Invoke as `./inv` runs it: its exit statuses are those of the harness.

Invoke itself ends with 1 when it does not understand its arguments; here 1
means that a test failed, and wrong usage is 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from invoke.config import Config, merge_dicts
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.parser.argument import Argument
from invoke.program import Program

from harness import cli
from harness.errors import EXIT_USAGE


class InvConfig(Config):
    """Invoke's configuration, with the tasks of this folder whatever the current one is."""

    @staticmethod
    def global_defaults() -> dict[str, Any]:
        """Invoke's own defaults, and where tasks.py is."""
        root = str(Path(__file__).resolve().parent)
        defaults: dict[str, Any] = Config.global_defaults()
        return merge_dicts(defaults, {"tasks": {"search_root": root}})


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Gives Invoke's complaints about its arguments the status for wrong usage."""
    try:
        yield
    except ParseError as error:
        raise Exit(f"{error}\ntry: ./inv --list, or ./inv --help TASK", code=EXIT_USAGE) from error


class InvProgram(Program):
    """The `inv` command."""

    def core_args(self) -> list[Argument]:
        """Invoke's options; --debug says what it does here."""
        arguments = super().core_args()
        for argument in arguments:
            if argument.name == "debug":
                argument.help = "Show the traceback of an error; before a task, Invoke's log too."
        return arguments

    def parse_core(self, argv: list[str] | None) -> None:
        """Reads the options before the first task."""
        with _usage_errors():
            super().parse_core(argv)
        # Invoke turns bytecode off, which makes each start slower than the one before it.
        sys.dont_write_bytecode = False

    def parse_tasks(self) -> None:
        """Reads the tasks and their options."""
        with _usage_errors():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        """Serves --help and --list."""
        with _usage_errors():
            super().parse_cleanup()

    def no_tasks_given(self) -> None:
        """Lists the tasks where none is named."""
        self.list_tasks()
        raise Exit

    def execute(self) -> None:
        """Runs the tasks; an error becomes a short text and an exit status."""
        debug = bool(self.args.debug.value) or os.environ.get("INV_DEBUG", "0") not in ("", "0")
        passing = (Exit, ParseError, UnexpectedExit)
        status = cli.guarded(super().execute, debug=debug, passing=passing)
        if status:
            raise Exit(code=status)


if __name__ == "__main__":
    InvProgram(name="inv", binary="./inv", config_class=InvConfig).run()
