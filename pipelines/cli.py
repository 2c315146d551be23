"""The command line: ``vidzip COMMAND`` runs ``command`` of the module :mod:`pipelines.commands` has for it.

Nothing here, and no command before it needs a model, loads torch or transformers.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from importlib import import_module

import click

import pipelines.commands
import vidzip
from pipelines.errors import FAILURE, INTERRUPTED, report_error
from pipelines.import_path import check_eval_package, exclude_current_folder
from pipelines.terminal import configure_output, print_message


def main(arguments: list[str] | None = None) -> int:
    """Run ``vidzip`` and return its exit code."""
    return run(cli, "vidzip", arguments)


def run(command: click.Command, name: str, arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code.

    0 is success, 2 bad input, 130 an interruption, 1 everything else: a bug in vidzip or a system failure.

    Args:
        command: the command.
        name: the program name in usage and error messages.
        arguments: command line arguments; those of this process when left out.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    is_debugging = "--debug" in arguments
    configure_output()
    try:
        check_eval_package()
        exclude_current_folder()
        code = command.main(args=arguments, prog_name=name, standalone_mode=False, obj=is_debugging)
        if sys.stdout is not None:  # it is None if the caller closed it
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, click.Abort):
        print_message("error", "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader is gone: not worth a message
        return FAILURE
    except Exception as error:
        return report_error(error, is_debugging=is_debugging)


class _Commands(click.Group):
    """The modules of :mod:`pipelines.commands`, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in order."""
        return sorted(one.name.replace("_", "-") for one in pkgutil.iter_modules(pipelines.commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"{pipelines.commands.__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(vidzip.__version__, "-V", "--version", prog_name="vidzip")
def cli() -> None:
    """Let a video LLM see many more frames for the price of few."""
