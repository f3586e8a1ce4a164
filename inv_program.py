# SPDX-License-Identifier: MIT
"""Invoke as `./inv` runs it: with the harness's errors and exit statuses.

Invoke itself ends with 1 if it does not understand its arguments. Here 1 means that a test
failed, and wrong usage is 2.
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
# Options that override the configuration's `output`; their names are its values.
_OUTPUTS = {
    "quiet": "Say only the last line, and errors.",
    _JSON: "Say everything as JSON, an object for each event (docs/events.md).",
}

# Tasks with a default for their positional argument.
_MAY_BE_TOLD_NOTHING = ("bundle", "sweep")
# Invoke's message if the argument is missing.
_NOTHING = "did not receive required positional arguments"


class InvConfig(Config):
    """Invoke's configuration, with the tasks of this folder, whatever the current folder is."""

    @staticmethod
    def global_defaults() -> dict[str, Any]:
        """Return Invoke's own defaults, and the folder of tasks.py."""
        root = str(Path(__file__).resolve().parent)
        defaults: dict[str, Any] = Config.global_defaults()
        return merge_dicts(defaults, {"tasks": {"search_root": root}})


class InvProgram(Program):
    """The `inv` command."""

    # Set as soon as the form of the output is known.
    _reporter: Reporter | None = None

    def core_args(self) -> list[Argument]:
        """Return Invoke's options, with what --debug does here, and the options for the output."""
        arguments = super().core_args()
        for argument in arguments:
            if argument.name == "debug":
                argument.help = "Show the traceback of an error; before a task, Invoke's log too."
        return arguments + [
            Argument(names=(name,), kind=bool, default=False, help=text)
            for name, text in _OUTPUTS.items()
        ]

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002
        """Run the tasks that `argv` names, and exit with their status."""
        status = cli.guarded(
            lambda: self._run(argv), debug=self._debug, reporter=lambda: self._reporter
        )
        if exit:
            sys.exit(status)

    def _run(self, argv: list[str] | None) -> None:
        """Do Invoke's steps, in its order."""
        try:
            self.create_config()
            self.parse_core(argv)
            # Invoke turns bytecode off, which would make every start as slow as the first.
            sys.dont_write_bytecode = False
            self.parse_collection()
            self.parse_tasks()
            self.parse_cleanup()
            self.update_config()
            self._choose_output()
            self.execute()
        except ParseError as error:
            # It is not known yet whether the option is `inv`'s or a task's.
            if f"--{_JSON}" in (argv or sys.argv):
                self._tell_as(_JSON)
            raise UsageError(str(error), hint="./inv --list, or ./inv --help TASK") from error
        except UnknownFileType as error:
            # If a task has no option --config, Invoke takes it for its own.
            raise UsageError(
                f"not a file for Invoke's --config: {error}".partition(" are not supported")[0],
                hint="emulator-test, bisect and bundle take --config, with Kconfig lines",
            ) from error
        except Exit as end:
            if end.message:
                raise UsageError(end.message) from end
            cli.finish(end.code)

    def _choose_output(self) -> None:
        """Choose the output: by an option, else the environment, else the configuration's files."""
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
        # Imported here: `./inv --list` should not wait for it.
        from harness.ui.progress import reporter_of

        self._reporter = reporter_of(mode)

    def parse_tasks(self) -> None:
        """Parse as Invoke does, but let some tasks go without their positional argument."""
        try:
            super().parse_tasks()
        except ParseError as error:
            last = error.context
            if last is None or last.name not in _MAY_BE_TOLD_NOTHING or _NOTHING not in str(error):
                raise
            # The task is the last word: a word after it would have been its argument.
            self.core.unparsed.append("")
            super().parse_tasks()

    def _debug(self) -> bool:
        """Return whether the traceback of an error is wanted."""
        asked = hasattr(self, "core") and bool(self.args.debug.value)
        return asked or os.environ.get("INV_DEBUG", "0") not in ("", "0")

    def no_tasks_given(self) -> None:
        """List the tasks if none is named."""
        self.list_tasks()
        raise Exit


if __name__ == "__main__":
    cli.fit_output()
    InvProgram(name="inv", binary="./inv", config_class=InvConfig).run()
