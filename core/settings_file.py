"""From config.yml, the environment and the command line to checked settings, or to one line that says what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import SecretStr, ValidationError

from core.errors import UsageError
from core.rules import check_names, rule_problem
from core.settings import DELETE_MODES, Settings, read_secret
from core.settings_sources import (
    CONFIG_VARIABLE,
    Given,
    from_environment,
    from_file,
    from_irods_environment,
    from_options,
    section_models,
)

USUAL_PLACES = (Path("config.yml"), Path("/config/config.yml"))
"""Where config.yml is looked for when nobody names one: the working directory, then where Kubernetes mounts it."""

SECRETS = {
    "inventory.password": "INVENTORY_PASSWORD",
    "irods.password": "IRODS_PASSWORD",
    "notify.webhook_url": "NOTIFY_WEBHOOK_URL",
    "notify.smtp_password": "NOTIFY_SMTP_PASSWORD",
    "web.token": "WEB_TOKEN",
}
"""Keys that are never printed and never stand in config.yml, and the variables for them."""

DRIVER = "postgresql+psycopg2"

_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each key that is not at its default who gave its value."""

    settings: Settings
    origins: Mapping[str, Given]
    file: Path | None
    """The config.yml that was read."""


def load_settings(
    path: Path | None = None, environ: Mapping[str, str] = os.environ, overrides: Mapping[str, object] = _NOTHING
) -> Settings:
    """Return the settings in force. `overrides` is keyed by path, such as `irods.port`, and goes before everything.

    config.yml is `path`, else the one that INGEST_CONFIG names, else ./config.yml, else /config/config.yml, else none.
    Raises UsageError, one line that names the place, the key, what is wrong and what to do.
    """
    return load(path, environ, overrides).settings


def load(
    path: Path | None = None, environ: Mapping[str, str] = os.environ, overrides: Mapping[str, object] = _NOTHING
) -> Loaded:
    """Do as `load_settings` and say where each value comes from."""
    file = _config_file(path, environ)
    origins: dict[str, Given] = {}
    values: dict[str, object] = {}

    def take(givens: Iterator[Given]) -> None:
        for given in givens:
            checked = _checked(given)
            values.update(checked)
            origins.update(dict.fromkeys(checked, given))

    take(from_file(file) if file else iter(()))
    take(from_environment(environ))
    take(from_options(overrides))
    environment_file = values.get("irods.environment_file")
    if isinstance(environment_file, Path):
        named = origins["irods.environment_file"]
        weaker = from_irods_environment(environment_file, f"{named.place}: {named.key}")
        take(given for given in weaker if given.key not in origins)
    settings = _build(values)
    _refuse_impossible(settings, origins)
    return Loaded(settings, origins, file)


def check_value(key: str, value: object, place: str) -> None:
    """Whether a value read from JSON or YAML fits a key, as strictly as in config.yml. Raises UsageError."""
    _checked(Given(key, value, "file", place))


def _config_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    return path or next((place for place in USUAL_PLACES if place.exists()), None)


def _checked(given: Given) -> dict[str, object]:
    """Return the value for the key, of the key's type; a URL with a password gives two keys."""
    if given.layer == "file" and given.key in SECRETS and given.value is not None:
        raise UsageError(
            f"{given.place}: {given.key} must not be in config.yml", f"use {SECRETS[given.key]} or {given.key}_file"
        )
    section, name = given.key.split(".")
    model, alone = section_models()[section], {name: given.value}
    try:
        if given.layer == "file":
            # by way of JSON, where true is no number and 1 no text, but a text is a path
            checked = model.model_validate_json(json.dumps(alone, default=str), strict=True)
        else:
            checked = model.model_validate(alone)
    except ValidationError as error:
        raise _wrong(given, error) from None
    value: object = getattr(checked, name)
    return _split_url(given, str(value)) if given.key == "inventory.url" else {given.key: value}


_SHAPES = {
    "irods.zone": "a name without a slash",
    "job.as_user": "name or name#zone",
    "job.link_folder": "an absolute path",
    "job.extract_metadata": "module:function",
}
"""What a text that has a pattern must be."""


def _wrong(given: Given, error: ValidationError) -> UsageError:
    if given.key == "compute.rules":
        return UsageError(f"{given.place}: {given.key}: {rule_problem(error)}", "see docs/compute.md")
    problem = error.errors()[0]
    if problem["type"] == "string_pattern_mismatch":
        shape = _SHAPES.get(given.key, f"like {problem['ctx']['pattern']}")
        return UsageError(
            f"{given.place}: {given.key} is {json.dumps(given.value)}, but must be {shape}", "see docs/settings.md"
        )
    shown = "" if given.key in SECRETS else f" is {json.dumps(given.value, default=str)}, but"
    hint = (
        "put it in quotes" if problem["type"] == "string_type" and given.value is not None else "see docs/settings.md"
    )
    return UsageError(f"{given.place}: {given.key}{shown} {_words(problem['type'], problem['msg'])}", hint)


def _words(kind: str, message: str) -> str:
    """Say in plain words what pydantic found."""
    if kind.startswith("int_"):
        return "must be a whole number"
    if kind.startswith("float_"):
        return "must be a number"
    if kind == "string_too_short":
        return "must not be empty"
    message = message.removeprefix("Value error, ")  # a check of ours
    message = message[0].lower() + message[1:]
    return message.replace("input should be", "must be").replace("a valid string", "a text")


def _split_url(given: Given, url: str) -> dict[str, object]:
    """Normalise the scheme and take the password out. Raises UsageError for what is not a Postgres URL."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", DRIVER):
        raise UsageError(f"{given.place}: {given.key} does not begin with {DRIVER}://", _URL_HINT)
    parts = _url_parts(url)
    if parts is None:
        # nothing of the URL is shown: what looks like a port may be half of a password
        raise UsageError(f"{given.place}: {given.key} cannot be understood", f"{_URL_HINT}; {_QUOTE_HINT}")
    if not parts.path.strip("/"):
        raise UsageError(f"{given.place}: {given.key} names no database", _URL_HINT)
    if "password" in dict(parse_qsl(parts.query)):
        raise UsageError(f"{given.place}: {given.key} holds a password after the question mark", _PASSWORD_HINT)
    if given.layer == "file" and parts.password is not None:
        raise UsageError(f"{given.place}: {given.key} holds a password", _PASSWORD_HINT)
    user_and_password, at, host = parts.netloc.rpartition("@")
    user = user_and_password.split(":", 1)[0]
    bare = f"{DRIVER}://{user}{at}{host}{rest[len(parts.netloc) :]}"
    if parts.password is None:
        return {given.key: bare}
    return {given.key: bare, "inventory.password": SecretStr(unquote(parts.password))}


def _url_parts(url: str) -> SplitResult | None:
    """Return the parts of a URL, or None when it has an impossible port or an unquoted character in its password."""
    try:
        parts = urlsplit(url)
        valid = parts.port is None or parts.port > 0
    except ValueError:
        return None
    return parts if valid and parts.netloc.count("@") <= 1 and not set(url) & set("\t\r\n ") else None


_URL_HINT = f"write {DRIVER}://user@host:5432/database"
_QUOTE_HINT = "in a password, : / ? # [ ] @ and % are written as %3A %2F %3F %23 %5B %5D %40 and %25"
_PASSWORD_HINT = "use INVENTORY_PASSWORD, inventory.password_file, or user:password@ in INVENTORY_URL"


def _build(values: Mapping[str, object]) -> Settings:
    """Put the values into their sections; keys that nobody gave stay unset there."""
    sections: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return Settings.model_validate(sections)


def _refuse_impossible(settings: Settings, origins: Mapping[str, Given]) -> None:
    """Raise UsageError for values that are each allowed but not together, and for secrets that cannot be read."""
    worker = settings.worker
    if worker.lease_seconds < 3 * worker.heartbeat_seconds:
        raise UsageError(
            f"{_places(origins, 'worker.lease_seconds', 'worker.heartbeat_seconds')}: worker.lease_seconds is "
            f"{worker.lease_seconds:g} and worker.heartbeat_seconds {worker.heartbeat_seconds:g}",
            "a lease must last three heartbeats or more, or one late heartbeat ends a healthy pod",
        )
    if worker.flush_seconds >= worker.lease_seconds:
        raise UsageError(
            f"{_places(origins, 'worker.flush_seconds', 'worker.lease_seconds')}: worker.flush_seconds is "
            f"{worker.flush_seconds:g} and worker.lease_seconds {worker.lease_seconds:g}",
            "results must be written more often than a lease ends",
        )
    if worker.retry_seconds > worker.retry_max_seconds:
        raise UsageError(
            f"{_places(origins, 'worker.retry_seconds', 'worker.retry_max_seconds')}: worker.retry_seconds is "
            f"{worker.retry_seconds:g} and worker.retry_max_seconds {worker.retry_max_seconds:g}",
            "the first wait cannot be longer than the longest",
        )
    job = settings.job
    if job.delete_mode not in DELETE_MODES[job.operation]:
        raise UsageError(
            f"{_places(origins, 'job.operation', 'job.delete_mode')}: job.operation {job.operation} does not go with "
            f"job.delete_mode {job.delete_mode}",
            f"with {job.operation} use {' or '.join(DELETE_MODES[job.operation])}",
        )
    if job.operation == "register_as_replica_sync" and job.resource is None:
        raise UsageError(
            f"{_places(origins, 'job.operation', 'job.resource')}: job.operation register_as_replica_sync needs job.resource",
            "name the resource that holds the new replicas",
        )
    check_names(settings.compute.rules, _places(origins, "compute.rules"))
    for section, secret in (("inventory", settings.inventory), ("irods", settings.irods)):
        _check_secret(section, secret.password, secret.password_file, origins)


def _check_secret(section: str, password: SecretStr | None, file: Path | None, origins: Mapping[str, Given]) -> None:
    """Prove that the secret can be read now, rather than when the first connection is made."""
    if file is None:
        return
    by_value, by_file = (origins.get(f"{section}.password"), origins[f"{section}.password_file"])
    if password is None:
        try:
            read_secret(file)
        except UsageError as error:
            raise UsageError(f"{by_file.place}: {by_file.key}: {error.message}", error.hint) from None
    elif by_value and by_value.layer == by_file.layer:
        raise UsageError(
            f"{by_value.place} and {by_file.place} both give a password for {section}", "remove one of them"
        )


def _places(origins: Mapping[str, Given], *keys: str) -> str:
    return " and ".join(dict.fromkeys(origins[key].place for key in keys if key in origins)) or "defaults"
