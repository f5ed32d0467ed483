"""`ingest migrate automated-ingest`: the command lines of another program, and its event handlers, in our words."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePath
from typing import NoReturn, get_args

import click
import yaml

from core.errors import UsageError
from core.settings import FileType
from scripts.migrate_files import command_lines

_TYPES = get_args(FileType)
_VALUES = (
    "file_queue", "path_queue", "restart_queue", "job_name", "event_handler", "files_per_task", "s3_endpoint_domain",
    "s3_region_name", "s3_keypair", "s3_proxy_url", "s3_multipart_chunksize_in_mib", "irods_idle_disconnect_seconds",
    "log_filename", "log_when", "log_interval", "log_level", "profile_filename", "profile_when", "profile_interval",
    "profile_level", "redis_host", "redis_port", "redis_db", "exclude_file_type",
)  # fmt: skip
_FLAGS = ("ignore_cache", "initial_ingest", "synchronous", "progress", "profile", "s3_insecure_connection")
_NOTES = {
    "ignore_cache": "for --ignore_cache run `ingest job rescan` on a job that exists",
    "initial_ingest": "--initial_ingest is not needed",
    "files_per_task": "--files_per_task is not needed: each file has an outcome of its own",
    "file_queue": "queues are not needed: all loaders take from all jobs",
    "path_queue": "queues are not needed: all loaders take from all jobs",
    "restart_queue": "queues are not needed: all loaders take from all jobs",
    "irods_idle_disconnect_seconds": "connections are renewed by irods.session_seconds",
    "log_filename": "logs go to standard error",
    "profile": "for --profile look at /metrics",
    "redis_host": "there is no Redis: the inventory is at inventory.url",
    "s3_multipart_chunksize_in_mib": "--s3_multipart_chunksize_in_mib is not needed",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"this is no command line of automated ingest: {message}", "give its words after `start`")


def translated(words: Sequence[str]) -> str:
    """Our command for the words after the program's name, with config.yml and remarks as comments. Raises UsageError."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("command")
    parser.add_argument("source", nargs="?")
    parser.add_argument("target", nargs="?")
    parser.add_argument("-i", "--interval", type=int)
    for name in _VALUES:
        parser.add_argument(f"--{name}")
    for name in _FLAGS:
        parser.add_argument(f"--{name}", action="store_true")
    for name in ("exclude_file_name", "exclude_directory_name"):
        parser.add_argument(f"--{name}", nargs="+", default=[])
    given = parser.parse_args(list(words))
    if given.command in ("stop", "watch", "list"):
        return shlex.join(["ingest", "job", given.command, *([given.source] if given.source else [])])
    if given.command != "start" or not given.source or not given.target:
        raise UsageError("this is no command line of automated ingest", "give start SOURCE TARGET, list, stop or watch")
    notes = [note for name, note in _NOTES.items() if getattr(given, name)]
    if any(pattern != "none" for pattern in [*given.exclude_file_name, *given.exclude_directory_name]):
        notes.append("patterns matched whole paths; ours are searched for in the path below the source: look at them")
    settings = _settings(given)
    lines = [shlex.join(_start(given))]
    lines += [f"# {line}" for line in dict.fromkeys(notes)]
    if settings:
        lines += ["# in config.yml:", *(f"#   {line}" for line in yaml.safe_dump(settings).splitlines())]
    return "\n".join(lines)


def _start(given: argparse.Namespace) -> list[str]:
    source = given.source
    if given.s3_keypair and "://" not in source:
        source = "s3://" + source.strip("/")
    command = ["ingest", "job", "start", source, given.target]
    if given.job_name:
        command += ["--name", given.job_name]
    # without a handler automated ingest registers; a handler says for itself
    command += ["--event-handler", PurePath(given.event_handler).name] if given.event_handler else _REGISTERS
    if given.interval is not None:
        command += ["--rescan", str(given.interval)]
    if given.synchronous:
        command.append("--wait")
    for kind in (given.exclude_file_type or "none").split(","):
        if (word := kind.strip()) in _TYPES:
            command += ["--exclude-type", word]
        elif word != "none":
            raise UsageError(f"--exclude_file_type {word} is no type", f"it takes {', '.join(_TYPES)}")
    for pattern in [*given.exclude_file_name, *given.exclude_directory_name]:
        if pattern != "none":
            command += ["--exclude-regex", _below(given.source, pattern)]
    return command


def _below(source: str, pattern: str) -> str:
    """A pattern that began at the source's own path, as one that begins below it; any other one as it is."""
    below = pattern.removeprefix("^").removeprefix(source.rstrip("/") + "/")
    return pattern if "|" in pattern or below == pattern.removeprefix("^") else f"^{below}"


_REGISTERS = ["--operation", "register_sync"]


def _settings(given: argparse.Namespace) -> dict[str, dict[str, object]]:
    settings: dict[str, dict[str, object]] = {}
    if given.event_handler:
        settings["loader"] = {"handlers_folder": str(PurePath(given.event_handler).parent)}
    if given.log_level:
        settings["log"] = {"level": given.log_level.upper()}
    s3: dict[str, object] = {}
    if given.s3_endpoint_domain and given.s3_endpoint_domain != "s3.amazonaws.com":
        s3["endpoint_url"] = f"{'http' if given.s3_insecure_connection else 'https'}://{given.s3_endpoint_domain}"
    for key, value in (
        ("region", given.s3_region_name),
        ("key_pair_file", given.s3_keypair),
        ("proxy_url", given.s3_proxy_url),
    ):
        if value:
            s3[key] = value
    return settings | ({"s3": s3} if s3 else {})


def of_handler(file: Path) -> str:
    """What an event handler always answers, and how to check it, as comments. Raises UsageError when it cannot be loaded."""
    from core.handlers import automated_ingest as package
    from core.handlers import files
    from core.handlers.answers import static_answers

    found = files.read(file)
    with package.provided(files.NoNotes()):
        handler = files.load(found)
        answers = static_answers(found, handler)
    told = [f"event handler {file.name}: runs unchanged; overrides {', '.join(handler.overrides) or 'nothing'}"]
    if answers:
        told.append("always answers " + ", ".join(f"{name} {answer}" for name, answer in answers.items()))
    told.append(f"`ingest handler check {file}` says it again")
    return "\n".join(f"# {line}" for line in told)


def of_file(file: Path) -> str:
    """Our commands for all that is in a file, each with its remarks, and its handlers where they are at hand. Raises UsageError."""
    if file.suffix == ".py":
        return of_handler(file)
    parts: list[str] = []
    for words in command_lines(file):
        if words[:1] == ["--"]:
            words = words[1:]
        parts.append(translated(words))
        if unknown := sorted({word for word in words if "$" in word}):
            parts[-1] += f"\n# put values in the place of {' '.join(unknown)}"
        handlers = [value for option, value in pairwise(words) if option == "--event_handler"]
        parts += [of_handler(Path(path)) for path in handlers if Path(path).is_file()]
    return "\n".join(dict.fromkeys(parts))


@click.command("automated-ingest", context_settings={"ignore_unknown_options": True})
@click.option(
    "--file", "files", multiple=True, type=click.Path(path_type=Path),
    help="A script, crontab, compose file, Kubernetes manifest or event handler; may be repeated.",
)  # fmt: skip
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def automated_ingest(words: tuple[str, ...], files: tuple[Path, ...]) -> None:
    """Print our commands for those of irods_capability_automated_ingest: WORDS are those after its name.

    With --file they are looked for in files. Of an event handler, named or used by a command that is found, it is told what it
    overrides and always answers.
    """
    if not words and not files:
        raise UsageError("nothing to migrate", "give the words of a command line, or --file")
    for file in files:
        click.echo(of_file(file))
    if words:
        click.echo(translated(words))
