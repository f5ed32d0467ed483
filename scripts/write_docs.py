"""Write what is derived from the code: config.yml, docs/settings.md, docs/commands.md and docs/errors.md.

`make docs` runs it; the tests fail while a file is not current.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click
import yaml
from pydantic.fields import FieldInfo

from core import hints
from core.sections import descriptions
from core.settings_file import SECRETS
from core.settings_sources import WELL_KNOWN, section_models, variable_name
from scripts.ingest import ingest

ROOT = Path(__file__).resolve().parent.parent

LEFT_OUT = {"irods.host", "irods.port", "irods.user", "irods.zone"}
"""Commented out in config.yml: there they would go before the irods_environment.json."""

_CONFIG_HEADER = """\
# Every setting with its default. An environment variable goes before this file: irods.port is INGEST_IRODS__PORT.
# Passwords are not for this file: INVENTORY_PASSWORD and IRODS_PASSWORD, or the *_file keys.
# `ingest config check` prints what is in force and where it comes from; docs/settings.md says more.
"""

_SETTINGS_HEADER = """\
# Settings

<!-- Written by `make docs` from core/settings.py. -->

The first of these that gives a value for a key is taken:

1. the command line, where a command has an option for it;
2. the environment variable of the key: `INGEST_`, the section, two underscores, the key, in capitals;
3. the well-known variable of the key, if it has one (table below);
4. `config.yml`: the file that `--config` names, else the one that `INGEST_CONFIG` names, else `./config.yml`, else
   `/config/config.yml`; the first that is found is the only one that is read;
5. for `irods.host`, `irods.port`, `irods.user` and `irods.zone`: the `irods_environment.json` that
   `irods.environment_file` names. Its other keys (TLS, authentication) have no setting and are taken from it always;
6. the default.

`ingest config check` prints what is in force and where each value comes from. Every program refuses at its start, in
one line and with exit code 2: unknown keys and unknown `INGEST_` variables, a key given twice, values of a wrong type,
values that are impossible together, secrets that cannot be read, and passwords in `config.yml`.

In the environment, an empty value or `null` means null where a key may be null; an empty value of any other key is as
if it were not set. Line ends at the end of a value are dropped. Variables that Kubernetes makes for services
(`…_SERVICE_HOST`, `…_PORT=tcp://…`) are ignored, so a service named `irods` does no harm. Relative paths start at the
working directory, `~` is the home directory. The URL of the inventory may begin with `postgres://`, `postgresql://` or
`postgresql+psycopg2://`; only in the environment may it hold a password, and `INVENTORY_PASSWORD` goes before that one.

"""

_COMMANDS_HEADER = """\
# Commands

<!-- Written by `make docs` from the commands' own help. -->

The manual, in place of a man page: what `ingest COMMAND --help` prints for every command, from the same source, so that the two
never differ. `ingest completion SHELL` prints what bash, zsh or fish need to complete commands, options and values.

Exit codes of all commands: 0 done; 1 failed, or what was looked at is not as it should be; 2 bad input; 3 the inventory's schema
is missing or of another version; 4 a service is away; 130 Ctrl-C. An error is one line with a hint; `ingest --debug` shows its
traceback.
"""

_ERRORS_HEADER = """\
# Classes of failure

<!-- Written by `make docs` from core/hints.py and core/irods/errors.py. -->

The classes that `ingest failures`, `ingest explain` and reports name, with what they mean and what to do. Any other class
is the name of an iRODS code or of a Python exception; it is tried again like the rest, and its message has the words of
the service. Once the cause is removed, `ingest retry --error CLASS` makes the files due again.

| class | means | do |
|---|---|---|
"""


def config_text() -> str:
    """Return config.yml: every key that may stand there, its meaning and its default."""
    lines = [_CONFIG_HEADER.rstrip()]
    for section, model in section_models().items():
        lines += ["", *_comment(cleandoc(model.__doc__ or ""), ""), f"{section}:"]
        said = descriptions(model)
        for name, field in model.model_fields.items():
            key = f"{section}.{name}"
            if key in SECRETS:
                lines.append(f"  # {name}: not in this file, use {SECRETS[key]}")
                continue
            lines += _comment(said[name], "  ")
            lines.append(f"  {'# ' if key in LEFT_OUT else ''}{name}: {_default(field)}")
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str) -> Iterator[str]:
    return iter(textwrap.wrap(text, 110, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "))


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, str):
        return yaml.safe_dump(value, width=10_000).removesuffix("\n...\n").strip()
    return json.dumps(value)


def settings_text() -> str:
    """Return docs/settings.md."""
    rows = ["| variable | key |", "|---|---|", *(f"| `{name}` | `{key}` |" for name, key in WELL_KNOWN.items())]
    parts = [_SETTINGS_HEADER, "\n".join(rows), "\n"]
    for section, model in section_models().items():
        parts.append(f"\n## {section}\n\n{cleandoc(model.__doc__ or '')}\n\n")
        parts.append("| key | default | environment | meaning |\n|---|---|---|---|\n")
        said = descriptions(model)
        for name, field in model.model_fields.items():
            key = f"{section}.{name}"
            default = "" if key in SECRETS else f"`{_default(field)}`"
            variable = SECRETS.get(key, variable_name(key))
            parts.append(f"| `{key}` | {default} | `{variable}` | {_cell(said[name])} |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*_", "\\*_")


def commands() -> Iterator[click.Context]:
    """Yield a context for `ingest` and for every command below it."""
    yield from _contexts("ingest", ingest, None)


def _contexts(name: str, command: click.Command, parent: click.Context | None) -> Iterator[click.Context]:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=100, help_option_names=["-h", "--help"]
    )
    yield context
    if isinstance(command, click.Group):
        for inner_name, inner in command.commands.items():
            yield from _contexts(inner_name, inner, context)


def commands_text() -> str:
    """Return docs/commands.md: what `--help` prints, for every command."""
    parts = [_COMMANDS_HEADER]
    for context in commands():
        shown = re.sub(r"[ \t]+$", "", context.get_help(), flags=re.MULTILINE)
        parts.append(f"\n## {context.command_path}\n\n```text\n{shown}\n```\n")
    return "".join(parts)


def errors_text() -> str:
    """Return docs/errors.md: every class of failure, what it means and what to do."""
    parts = [_ERRORS_HEADER]
    for name, (meaning, hint) in hints.all_classes().items():
        parts.append(f"| `{name}` | {_cell(meaning)} | {_cell(hint)} |\n")
    return "".join(parts)


def texts() -> dict[Path, str]:
    """Return every derived file and what it must hold."""
    return {
        ROOT / "config.yml": config_text(),
        ROOT / "docs" / "settings.md": settings_text(),
        ROOT / "docs" / "commands.md": commands_text(),
        ROOT / "docs" / "errors.md": errors_text(),
    }


def main() -> None:
    """Write the files that are not current."""
    for path, text in texts().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            click.echo(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
