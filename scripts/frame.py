"""What all commands have in common: help in sections, settings, and errors of one line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from core.errors import IngestError
from core.settings import Settings
from core.settings_file import Loaded, load
from scripts import interrupts


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the options before the command said; a command gets it by `@click.pass_obj`."""

    config: Path | None = None
    debug: bool = False

    def load(self, overrides: Mapping[str, object] | None = None) -> Loaded:
        """Return the settings in force and where they come from. Raises UsageError when they are refused."""
        return load(self.config, os.environ, overrides or {})

    def settings(self, overrides: Mapping[str, object] | None = None) -> Settings:
        """Return the settings in force. Raises UsageError when they are refused."""
        return self.load(overrides).settings


WIDTH = 80
"""The columns of a terminal, on which the help of `ingest` is one screen of 24 lines with room for the next prompt."""


class Sections(click.Group):
    """A group whose help lists its commands by what they are for, without a line that could be spared."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's own signature, passed on
        self.sections: dict[str, list[str]] = {}

    def add(self, command: click.Command, section: str) -> None:
        """Add a command to a section of the help, making the section when it is new."""
        assert command.name
        self.add_command(command)
        self.sections.setdefault(section, []).append(command.name)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        formatter.write(f"{self.help}\n\n")
        titles, names = (max(map(len, words)) for words in (self.sections, self.commands))
        for title, listed in self.sections.items():
            for number, name in enumerate(listed):
                head = f"{'' if number else title + ':':<{titles + 2}}{name:<{names + 2}}"
                formatter.write(f"{head}{_said(self.commands[name], WIDTH - len(head))}\n")
        formatter.write(f"{self.epilog}\n")


def _said(command: click.Command, room: int) -> str:
    """A line on a command; a group's names its commands where there is room for them."""
    said = command.get_short_help_str(limit=200)
    if not isinstance(command, click.Group):
        return said
    with_names = f"{said.removesuffix('.')}: {', '.join(command.commands)}."
    return with_names if len(with_names) <= room else said


def run(command: click.Command, name: str, arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; every error becomes one line on standard error."""
    interrupts.end_on_interrupt()
    debug = "--debug" in arguments
    if sys.stdout is None:  # it was closed (`>&-`): nobody wants to read
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # for as long as this process lives
    try:
        answer = command.main(args=list(arguments), prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except IngestError as error:
        if debug:
            raise
        return _complain(name, str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _complain(name, _usage(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return interrupts.EXIT_CODE
    except BrokenPipeError:
        _discard_the_rest()  # `| head` has read enough
        return 1
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in _FULL:
            _discard_the_rest()
            return _complain(name, f"cannot write: {error.strerror}; make room, or write elsewhere", 1)
        what = f"unexpected {type(error).__name__}: {error}"
        return _complain(name, f"{what}; run it again with --debug and report what it prints", 1)
    return answer if isinstance(answer, int) else 0


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _discard_the_rest() -> None:
    """What is still buffered for standard output must not raise again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: click.ClickException) -> str:
    """Return click's message as one line that says where to look."""
    message = error.format_message().strip().rstrip(".?")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message[:1].lower()}{message[1:]}" + (f"; see `{context.command_path} --help`" if context else "")


def _complain(name: str, message: str, exit_code: int) -> int:
    click.echo(f"{name}: {' '.join(message.split())}", err=True)
    return exit_code
