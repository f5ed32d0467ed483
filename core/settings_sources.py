"""Where the value of a setting may come from, read as (key, value, place) without judging the values yet.

A key is a path such as `irods.port`; a place is what an error message names: `config.yml:12`, `INGEST_IRODS__PORT`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from core.errors import UsageError
from core.sections import Section
from core.settings import Settings
from core.texts import read_text

Layer = Literal["default", "irods_environment", "file", "environment", "option"]
"""From the weakest to the strongest."""

PREFIX = "INGEST_"

CONFIG_VARIABLE = "INGEST_CONFIG"
"""Names config.yml; the one INGEST_ variable that is no setting."""

WELL_KNOWN = {
    "INVENTORY_URL": "inventory.url",
    "INVENTORY_PASSWORD": "inventory.password",
    "IRODS_ENVIRONMENT_FILE": "irods.environment_file",
    "IRODS_HOST": "irods.host",
    "IRODS_PORT": "irods.port",
    "IRODS_USER_NAME": "irods.user",
    "IRODS_ZONE_NAME": "irods.zone",
    "IRODS_PASSWORD": "irods.password",
    "WEB_TOKEN": "web.token",
    "NOTIFY_WEBHOOK_URL": "notify.webhook_url",
    "NOTIFY_SMTP_PASSWORD": "notify.smtp_password",
}
"""Variables that other programs and people use already; the INGEST_ variable of the same key goes before them."""

_IRODS_ENVIRONMENT = {
    "irods_host": "irods.host",
    "irods_port": "irods.port",
    "irods_user_name": "irods.user",
    "irods_zone_name": "irods.zone",
}

# Kubernetes sets such variables for every service of a namespace; one named `irods` gives IRODS_PORT=tcp://10.0.0.1:1247
_SERVICE_NAME = re.compile(r".*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_VALUE = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody gave for `key`, as it was given."""

    key: str
    value: object = field(repr=False)  # it may be a secret
    layer: Layer
    place: str


@cache
def setting_fields() -> Mapping[str, FieldInfo]:
    """Return every key that can be set and its field, in the order of config.yml."""
    return {
        f"{section}.{name}": field
        for section, model in section_models().items()
        for name, field in model.model_fields.items()
    }


@cache
def section_models() -> Mapping[str, type[Section]]:
    """Return the sections of config.yml and their models."""
    return {name: type(field.default) for name, field in Settings.model_fields.items()}


def variable_name(key: str) -> str:
    """Return the environment variable of `key`: irods.port is INGEST_IRODS__PORT."""
    return PREFIX + key.replace(".", "__").upper()


def from_file(path: Path) -> Iterator[Given]:
    """Read config.yml. Raises UsageError for anything but known keys, each given once, with plain values."""
    root = _compose(path)
    if root is None:
        return
    known = setting_fields()
    for section, (section_place, section_node) in _mapping(root, path, "").items():
        if section not in section_models():
            raise _unknown(section, section_place, [*section_models(), *known])
        if isinstance(section_node, yaml.ScalarNode) and _plain(section_node, section_place, section) is None:
            continue  # a section whose keys are all commented out
        for name, (place, node) in _mapping(section_node, path, section).items():
            key = f"{section}.{name}"
            if key not in known:
                raise _unknown(key, place, known)
            value = _whole(node, place, key) if takes_sections(known[key]) else _plain(node, place, key)
            yield Given(key, value, "file", place)


def _compose(path: Path) -> yaml.Node | None:
    text = read_text(path, "check --config and INGEST_CONFIG")
    try:
        return _composed(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        pass  # the slow one says better what is wrong
    try:
        return _composed(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: not YAML: {error.problem}", "check indentation, colons and quotes") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {error}", "remove the character") from None


def _composed(text: str, loader: type[yaml.SafeLoader] | type[yaml.CSafeLoader]) -> yaml.Node | None:
    node: yaml.Node | None = yaml.compose(text, Loader=loader)
    return node


def _mapping(node: yaml.Node, path: Path, name: str) -> dict[str, tuple[str, yaml.Node]]:
    """Return the keys of a mapping with their places (`file:line`) and values; a key given twice is refused."""
    if not isinstance(node, yaml.MappingNode):
        place = f"{path}:{node.start_mark.line + 1}"
        what = f"section {name}" if name else "the file"
        raise UsageError(f"{place}: {what} must hold `key: value` lines", "see config.yml in the repository")
    found: dict[str, tuple[str, yaml.Node]] = {}
    for key_node, value_node in node.value:
        place = f"{path}:{key_node.start_mark.line + 1}"
        key = str(key_node.value)
        if key in found:
            first = found[key][0].rsplit(":", 1)[1]
            full = f"{name}.{key}" if name else key
            raise UsageError(f"{place}: {full} is given a second time", f"the first one is in line {first}")
        found[key] = (place, value_node)
    return found


def _whole(node: yaml.Node, place: str, key: str) -> object:
    """A value with all that is in it, for the keys that take lists of sections."""
    try:
        return yaml.SafeLoader("").construct_document(node)
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{place}: {key}: {error}", "put the values in quotes") from None


def _plain(node: yaml.Node, place: str, key: str) -> object:
    if isinstance(node, yaml.SequenceNode) and takes_list(setting_fields().get(key)):
        return [_plain(item, place, key) for item in node.value]
    if not isinstance(node, yaml.ScalarNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a section"
        raise UsageError(f"{place}: {key} is {kind}, but must be one value", "see config.yml in the repository")
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{place}: {key}: {error}", "put the value in quotes") from None
    # YAML's dates and binaries are texts to us
    return value if isinstance(value, str | int | float | bool | None) else str(node.value)


def from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    """Read environment variables, the weaker ones of a key first. Raises UsageError for an INGEST_ name not known."""
    # a value from `echo … | base64` ends in a newline that nobody meant
    settable = {name: value.rstrip("\r\n") for name, value in environ.items() if not _is_service_link(name, value)}
    for name, key in WELL_KNOWN.items():
        if settable.get(name):
            yield Given(key, settable[name], "environment", name)
    variables = {variable_name(key): key for key in setting_fields()}
    for name, value in settable.items():
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        if name not in variables:
            raise _unknown(name, "environment", [*variables, CONFIG_VARIABLE])
        key = variables[name]
        if value.lower() in ("", "null") and _takes_null(setting_fields()[key]):
            yield Given(key, None, "environment", name)
        elif value:
            given = _listed(value, name) if takes_sections(setting_fields()[key]) else value
            yield Given(key, given, "environment", name)


def takes_list(setting: FieldInfo | None) -> bool:
    """Whether a setting is a list; None is a section, which is none."""
    return setting is not None and get_origin(setting.annotation) is tuple


def takes_sections(setting: FieldInfo) -> bool:
    """Whether a setting is a list of sections, such as rules."""
    item = next(iter(get_args(setting.annotation)), None)
    return takes_list(setting) and isinstance(item, type) and issubclass(item, Section)


def _takes_null(setting: FieldInfo) -> bool:
    return type(None) in get_args(setting.annotation)


def _listed(value: str, name: str) -> object:
    try:
        return json.loads(value)
    except ValueError as error:
        raise UsageError(f"{name}: not JSON: {error}", "this list is written as JSON in the environment") from None


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_NAME.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_VALUE.match(value)))


def from_irods_environment(path: Path, place: str) -> Iterator[Given]:
    """Read host, port, user and zone of an irods_environment.json that `place` names; its other keys are not ours.

    Raises UsageError when it cannot be read or is not a JSON object.
    """
    try:
        values = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{place}: cannot read {path}: {error.strerror}", "name an irods_environment.json") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}", "write it anew, for instance with `iinit`") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: not a JSON object", "write it anew, for instance with `iinit`")
    for name, key in _IRODS_ENVIRONMENT.items():
        if name in values:
            # some clients write the port as a text, some as a number
            yield Given(key, str(values[name]), "irods_environment", f"{path}: {name}")


def from_options(overrides: Mapping[str, object]) -> Iterator[Given]:
    """Read what the command line gave, by key. Raises UsageError for an unknown key."""
    for key, value in overrides.items():
        if key not in setting_fields():
            raise _unknown(key, "command line", setting_fields())
        yield Given(key, value, "option", "command line")


def _unknown(key: str, place: str, known: Mapping[str, object] | list[str]) -> UsageError:
    near = get_close_matches(key, known, n=1, cutoff=0.75 if key.startswith(PREFIX) else 0.5)
    hint = f"did you mean {near[0]}?" if near else "`ingest config check` prints all keys"
    return UsageError(f"{place}: there is no setting {key}", hint)
