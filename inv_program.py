# SPDX-License-Identifier: MIT
"""Invoke as `./inv` runs it: its errors and exit statuses are those of the harness.

Invoke itself ends with 1 when it does not understand its arguments; here 1
means that a test failed, and wrong usage is 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.config import Config, merge_dicts
from invoke.exceptions import Exit, ParseError, UnknownFileType
from invoke.parser.argument import Argument
from invoke.program import Program

from harness.core.errors import UsageError
from harness.jobs import cli

if TYPE_CHECKING:
    from harness.ui.progress import Reporter

_JSON = "json"
# In place of what the configuration says; the names are those of its values.
_OUTPUTS = {
    "quiet": "Say only the last line, and errors.",
    _JSON: "Say everything as JSON, an object for each event (docs/events.md).",
}

# Tasks that have a default for their positional argument.
_MAY_BE_TOLD_NOTHING = ("bundle",)
# Invoke's words where there is none.
_NOTHING = "did not receive required positional arguments"


class InvConfig(Config):
    """Invoke's configuration, with the tasks of this folder whatever the current one is."""

    @staticmethod
    def global_defaults() -> dict[str, Any]:
        """Invoke's own defaults, and where tasks.py is."""
        root = str(Path(__file__).resolve().parent)
        defaults: dict[str, Any] = Config.global_defaults()
        return merge_dicts(defaults, {"tasks": {"search_root": root}})


class InvProgram(Program):
    """The `inv` command."""

    # From when it is known how the tasks are to tell of themselves.
    _reporter: Reporter | None = None

    def core_args(self) -> list[Argument]:
        """Invoke's options, and how to tell; --debug says what it does here."""
        arguments = super().core_args()
        for argument in arguments:
            if argument.name == "debug":
                argument.help = "Show the traceback of an error; before a task, Invoke's log too."
        return arguments + [
            Argument(names=(name,), kind=bool, default=False, help=text)
            for name, text in _OUTPUTS.items()
        ]

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002
        """Runs the tasks that `argv` names, and ends with their exit status."""
        status = cli.guarded(
            lambda: self._run(argv), debug=self._debug, reporter=lambda: self._reporter
        )
        if exit:
            sys.exit(status)

    def _run(self, argv: list[str] | None) -> None:
        """Invoke's steps, in its order."""
        try:
            self.create_config()
            self.parse_core(argv)
            # Invoke turns bytecode off, which makes every start as slow as the first.
            sys.dont_write_bytecode = False
            self.parse_collection()
            self.parse_tasks()
            self.parse_cleanup()
            self.update_config()
            self._choose_output()
            self.execute()
        except ParseError as error:
            # Whether it is an option of `inv` or of a task is not known then.
            if f"--{_JSON}" in (argv or sys.argv):
                self._tell_as(_JSON)
            raise UsageError(str(error), hint="./inv --list, or ./inv --help TASK") from error
        except UnknownFileType as error:
            # Invoke's own option, which a task without one of the name leaves to it.
            raise UsageError(
                f"not a file for Invoke's --config: {error}".partition(" are not supported")[0],
                hint="emulator-test takes --config with Kconfig lines; no other task does",
            ) from error
        except Exit as end:
            if end.message:
                raise UsageError(end.message) from end
            cli.finish(end.code)

    def _choose_output(self) -> None:
        """Takes an option over the environment, and that over the configuration's files."""
        asked = [name for name in _OUTPUTS if self.args[name].value]
        if len(asked) > 1:
            self._tell_as(_JSON)
            raise UsageError("--quiet and --json exclude each other", hint="only one of them")
        for name in asked:
            self.config.goldfish_oom.output = name
        # Invoke reads the environment only for the tasks.
        config = self.config.clone()
        config.load_shell_env()
        self._tell_as(config.goldfish_oom.output)

    def _tell_as(self, mode: str) -> None:
        # Imported late: `./inv --list` should not wait for it.
        from harness.ui.progress import reporter_of

        self._reporter = reporter_of(mode)

    def parse_tasks(self) -> None:
        """As Invoke does, which has no positional argument that may be left out."""
        try:
            super().parse_tasks()
        except ParseError as error:
            last = error.context
            if last is None or last.name not in _MAY_BE_TOLD_NOTHING or _NOTHING not in str(error):
                raise
            # It is the last task: a word behind it would have been its argument.
            self.core.unparsed.append("")
            super().parse_tasks()

    def _debug(self) -> bool:
        """Whether the traceback of an error is wanted."""
        asked = hasattr(self, "core") and bool(self.args.debug.value)
        return asked or os.environ.get("INV_DEBUG", "0") not in ("", "0")

    def no_tasks_given(self) -> None:
        """Lists the tasks where none is named."""
        self.list_tasks()
        raise Exit


if __name__ == "__main__":
    cli.fit_output()
    InvProgram(name="inv", binary="./inv", config_class=InvConfig).run()
