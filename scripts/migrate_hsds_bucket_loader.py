"""`ingest migrate hsds-bucket-loader`: its config.yml in our words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click
import yaml

from core.errors import UsageError
from core.texts import read_text

_NOTES = {
    "tgt_bucket": "tgt_bucket: name the iRODS resource with --resource",
    "inventory_domain": "inventory_domain: the inventory is a database, inventory.url; `ingest inventory init` makes it",
    "hs_username": "hs_username: the iRODS user is irods.user, or that of the iRODS environment",
    "hs_password": "hs_password: a password is never in config.yml; it is in a secret, irods.password_file or IRODS_PASSWORD",
    "hsds_global": "hsds_global: irods.host and irods.port say where iRODS is",
    "hsds_local": "hsds_local: there is no server beside a pod",
}
_KNOWN = {
    *_NOTES, "tgt_folder", "src_bucket", "src_prefix", "src_suffix", "link_files", "public_read", "aws_s3_gateway",
    "aws_region", "watchdog_sleep_time", "log_level",
}  # fmt: skip
_UNSET = "SupplyCorrectValue"
_UNDECIDED = "/tempZone/home/public/bucket"
_LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR"}


def translated(given: Mapping[str, object]) -> str:
    """Our command for the keys of a config.yml, with our config.yml and remarks as comments. Raises UsageError."""
    if unknown := sorted(set(map(str, given)) - _KNOWN):
        raise UsageError(
            f"hsds-bucket-loader has no key {unknown[0]!r}", "give its config.yml, with override.yml merged in"
        )
    bucket = _word(given, "src_bucket")
    if not bucket:
        raise UsageError("src_bucket is not set", "there is nothing to bring")
    lines = [shlex.join(_start(given, bucket))]
    lines += [f"# {note}" for note in _notes(given)]
    lines += ["# in config.yml:", *(f"#   {line}" for line in yaml.safe_dump(_settings(given)).splitlines())]
    return "\n".join(lines)


def _start(given: Mapping[str, object], bucket: str) -> list[str]:
    prefix = (_word(given, "src_prefix") or "").strip("/")
    folder = (_word(given, "tgt_folder") or "").rstrip("/") or _UNDECIDED
    source = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
    command = ["ingest", "job", "start", source, folder]
    links = _flag(given, "link_files", default=True)
    command += ["--operation", "register_sync" if links else "put"]
    if suffix := _word(given, "src_suffix"):
        command += ["--include", f"*{_plain(suffix)}"]
    return [*command, "--rescan", f"{_seconds(given):g}"]


def _notes(given: Mapping[str, object]) -> list[str]:
    notes = [note for key, note in _NOTES.items() if _word(given, key)]
    if not _word(given, "tgt_folder"):
        notes.insert(0, f"tgt_folder is not set: write your collection in the place of {_UNDECIDED}")
    else:
        notes.insert(0, "tgt_folder: write the iRODS collection that takes its place, /ZONE/…")
    if _flag(given, "link_files", default=True):
        notes.append("link_files: add --resource NAME, an iRODS resource of the type s3 for this bucket")
    if _flag(given, "public_read", default=True):
        notes.append("public_read: once, `ichmod -r read public COLLECTION` and `ichmod inherit COLLECTION`")
    return notes


def _settings(given: Mapping[str, object]) -> dict[str, dict[str, object]]:
    s3: dict[str, object] = {"region": _word(given, "aws_region") or "us-west-2"}
    gateway = _word(given, "aws_s3_gateway")
    host = urlsplit(gateway or "").hostname or ""
    if gateway and not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        s3["endpoint_url"] = gateway
    level = (_word(given, "log_level") or "ERROR").upper()
    return {"s3": s3} | ({"log": {"level": level}} if level in _LEVELS else {})


def _word(given: Mapping[str, object], key: str) -> str | None:
    value = given.get(key)
    return None if value is None or value in ("", _UNSET) else str(value)


def _flag(given: Mapping[str, object], key: str, *, default: bool) -> bool:
    value = given.get(key, default)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise UsageError(f"{key} is {value!r}", "it is true or false")
    return value


def _seconds(given: Mapping[str, object]) -> float:
    try:
        return max(1.0, float(_word(given, "watchdog_sleep_time") or 10))
    except ValueError:
        raise UsageError(f"watchdog_sleep_time is {given['watchdog_sleep_time']!r}", "it is in seconds") from None


def _plain(text: str) -> str:
    """Text that a pattern takes as it is."""
    return "".join(f"\\{character}" if character in "\\*?[]!# " else character for character in text)


@click.command("hsds-bucket-loader")
@click.argument("file", type=click.Path(path_type=Path))
def hsds_bucket_loader(file: Path) -> None:
    """Print our command for FILE, the config.yml of hsds-bucket-loader."""
    try:
        given = yaml.safe_load(read_text(file, "name its config.yml"))
    except yaml.YAMLError as error:
        raise UsageError(f"cannot read {file}: {' '.join(str(error).split())}", "name its config.yml") from None
    if not isinstance(given, Mapping):
        raise UsageError(f"{file} holds no keys", "name its config.yml")
    click.echo(translated(given))
