"""Exit codes of the command line, and the report of an error."""

from __future__ import annotations

import sys
import traceback

import click

from pipelines.terminal import print_message
from vidzip import VidzipError
from vidzip.errors import SystemFault

BAD_INPUT, FAILURE, INTERRUPTED = 2, 1, 130


def report_error(error: Exception, *, is_debugging: bool) -> int:
    """Print an error in one line and what to do in another; return the exit code."""
    if is_debugging:
        traceback.print_exception(error)
    if isinstance(error, VidzipError) or _is_eval_error(error):
        message, hint = getattr(error, "message", str(error)), getattr(error, "hint", "")
        print_message("error", message)
        if hint:
            print_message("hint", hint)
        is_system_fault = isinstance(error, SystemFault) or getattr(error, "is_system_fault", False)
        return FAILURE if is_system_fault else BAD_INPUT
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return BAD_INPUT
    if isinstance(error, click.ClickException):
        print_message("error", error.format_message())
        context = getattr(error, "ctx", None)
        print_message("hint", f"see '{context.command_path if context else 'vidzip'} --help'")
        return BAD_INPUT
    if isinstance(error, OSError):
        print_message("error", f"system error: {error}")
        print_message("hint", "check the folder, its permissions and the free space; --debug prints the traceback")
        return FAILURE
    print_message("error", f"{type(error).__name__}: {error}")
    print_message("hint", "this is a bug in vidzip; --debug prints the traceback")
    return FAILURE


def _is_eval_error(error: Exception) -> bool:
    """Whether ``eval`` raised an error. It is not imported here: another package may shadow it."""
    errors = sys.modules.get("eval.errors")
    return errors is not None and isinstance(error, errors.EvalError)
