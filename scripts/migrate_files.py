"""The command lines of automated ingest in what people keep them in: shell scripts, crontabs, compose files, manifests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import yaml

from core.errors import UsageError
from core.texts import read_text

PROGRAM = "irods_capability_automated_ingest"
_IS_PROGRAM = re.compile(rf"(.*/)?{PROGRAM}([./]irods_sync(\.py)?)?|(.*/)?irods_sync(\.py)?")
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$")
_RUN = ("entrypoint", "command", "args")
"""What together is one command line, in the order in which a container runs it."""


def command_lines(file: Path) -> list[list[str]]:
    """The words after the program's name, of every command in a file. Raises UsageError when it cannot be read or has none."""
    text = read_text(file, "name a script, a crontab, a compose file or a manifest")
    found = list(_of_yaml(file, text) if file.suffix in (".yml", ".yaml") else _of_shell(text))
    if not found:
        raise UsageError(f"{file} runs no {PROGRAM}", "name the file that has its command line")
    return found


def _of_yaml(file: Path, text: str) -> Iterator[list[str]]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise UsageError(
            f"{file} is no YAML: {' '.join(str(error).split())}", "is it a template? render it first"
        ) from None
    for document in documents:
        yield from _below(document)


def _below(node: Any) -> Iterator[list[str]]:
    """The commands anywhere in a document; the ones of a container are put together from its parts."""
    if isinstance(node, str):
        if PROGRAM in node:
            yield from _of_shell(node)
    elif isinstance(node, list):
        if node and all(isinstance(word, str) for word in node):
            yield from _of_words(node)
        else:
            for each in node:
                yield from _below(each)
    elif isinstance(node, Mapping):
        words = [word for key in _RUN for word in _words(node.get(key))]
        yield from _of_words(words)
        for key, each in node.items():
            if key not in _RUN or isinstance(each, Mapping):
                yield from _below(each)


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return shlex.split(value, comments=True)
    return [str(word) for word in value] if isinstance(value, list) else []


def _of_words(words: list[str]) -> Iterator[list[str]]:
    for place, word in enumerate(words):
        if _IS_PROGRAM.fullmatch(word):
            yield words[place + 1 :]
            return
        if PROGRAM in word:  # sh -c '…'
            yield from _of_shell(word)


def _of_shell(text: str) -> Iterator[list[str]]:
    """The commands of a script, with what it has assigned to variables before in their place."""
    known: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if assigned := _ASSIGNED.match(line):
            value = " ".join(_split(assigned[2])[:1])
            known[assigned[1]] = Template(value).safe_substitute(known)
        if PROGRAM not in line and "irods_sync" not in line:
            continue
        words: list[str] | None = None
        for word in [*_split(line), ";"]:
            if set(word) <= set(";|&<>()") or word == "%":  # the end of a command; in a crontab % is one too
                if words:
                    yield [Template(each).safe_substitute(known) for each in words if not each.isspace()]
                words = None
            elif words is not None:
                words.append(word)
            elif _IS_PROGRAM.fullmatch(word):
                words = []


def _split(line: str) -> list[str]:
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        return list(lexer)
    except ValueError:  # a quote that is closed on another line
        return line.split()
