"""Request bodies, YAML or JSON, and the shapes of answers. What a job may be told is checked where the command line's is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from core import timetable
from core.errors import UsageError
from core.sections import descriptions
from core.settings import JobSettings
from core.settings_file import check_value

TYPES = ("application/json", "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
ALIASES = {"root": "source", "target": "collection", "interval": "rescan_seconds"}
"""What automated ingest's REST called them."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""What a job may be called."""
_TEXT = r"^[^\x00]+$"
ANY_TEXT = r"^[^\x00]*$"
"""No text in Postgres has U+0000."""
_LONGEST_ERROR = 300


class Shape(BaseModel):
    """A JSON object of this interface; no other keys."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


_SAID = descriptions(JobSettings)


def _optional(name: str) -> Any:
    field = JobSettings.model_fields[name]
    words = f"{_SAID[name]} Default: that of config.yml."
    return (field.annotation, FieldInfo.merge_field_infos(field, default=field.default, description=words))


class Place(Shape):
    """What is brought where."""

    source: str = Field(pattern=_TEXT)
    """A directory or URL, as the pods see it. Also `root`."""
    collection: str = Field(pattern=_TEXT)
    """The collection it goes to. Also `target`."""


JobStart: type[Place] = create_model(
    "JobStart",
    __base__=Place,
    __doc__="A job to be started.",
    **{name: _optional(name) for name in JobSettings.model_fields},
)


class _Said(BaseModel):
    """A part of somebody else's message: other keys are theirs."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class NoticedBucket(_Said):
    """A bucket."""

    name: str


class NoticedObject(_Said):
    """An object."""

    key: str
    """URL-encoded as in a form."""


class NoticedS3(_Said):
    """What has changed."""

    bucket: NoticedBucket
    object: NoticedObject


class NoticedRecord(_Said):
    """An event."""

    eventName: str  # the name is S3's
    """ObjectCreated:… or ObjectRemoved:…, with s3: before it or without; others are passed over."""
    s3: NoticedS3


class Notices(_Said):
    """Events of a bucket as AWS, MinIO and Ceph send them."""

    Records: list[NoticedRecord]


class NamedJobStart(JobStart):  # type: ignore[misc, valid-type]  # a model made of settings
    """A job to be started, and what it is called."""

    name: str | None = Field(default=None, pattern=NAME)
    """The source's last part when left out."""


class Created(Shape):
    """A job that was started."""

    job: str
    """Its name."""


class JobFigures(Shape):
    """A job and how far it is."""

    job: str
    state: str
    source: str
    collection: str
    operation: str
    priority: int
    max_in_flight: int | None
    started_at: str
    finished_at: str | None
    files: dict[str, int]
    """By state."""
    total_files: int
    total_bytes: int
    failed_files: int
    """Dead letters."""
    failed_directories: int
    """Those that could not be scanned or made into a collection."""
    retries: int
    """Failed attempts that were or will be tried again."""
    elapsed_seconds: float
    files_per_second: float
    """Of its slower stage: over the last minute, or over its whole life once it has ended."""
    seconds_left: float | None
    """null: nobody can say."""


class Jobs(Shape):
    """All jobs."""

    jobs: list[JobFigures]


class FailureClass(Shape):
    """One class of failure at one stage."""

    error: str
    stage: str
    meaning: str
    hint: str
    dead: int
    """Files that wait for a person."""
    retrying: int
    """Files that are tried again by themselves."""
    skipped: int
    directories: int
    bytes: int
    first_at: str
    last_at: str
    next_retry_at: str | None


class FailedFile(Shape):
    """The last failed attempt of one file, or of one directory."""

    path: str
    """Relative to the source, escaped."""
    state: str
    stage: str
    error: str
    message: str
    attempt: int
    failed_at: str
    retry_at: str | None
    bytes: int
    pod: str | None


class Failures(Shape):
    """What fails in a job: by class, and the first files of it."""

    classes: list[FailureClass]
    files: list[FailedFile]
    """At most `limit` of them."""


class Change(Shape):
    """What can be changed while a job runs; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    priority: int = Field(default=0, ge=-1000, le=1000)
    """Jobs of a higher priority go first; 0 is usual."""
    max_in_flight: int | None = Field(default=None, ge=0, le=2_147_483_647)
    """So many files are worked on at the same time, at most; 0 or null: no limit."""
    bandwidth: str | None = Field(default=None, pattern=timetable.PATTERN)
    """Bytes a second, as 50M, or a timetable, as 08:00,50M 19:00,off; null: no limit."""


class Retry(Shape):
    """What is to be tried again; all dead letters when nothing is said."""

    states: list[Literal["dead", "retrying", "skipped"]] = ["dead"]
    errors: list[str] = []
    """Only these classes."""
    prefix: str | None = None
    """Only paths below this one: relative to the source, escaped."""


class Retried(Shape):
    """What is tried again."""

    files: int
    directories: int


class Problem(Shape):
    """Why a request was refused."""

    error: str
    hint: str


class _Plain(yaml.SafeLoader):
    """YAML that says what JSON can: a date is a text. Without aliases, by which a small body becomes a tree without an end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        return super().compose_node(parent, index)


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(body: bytes, content_type: str) -> dict[str, Any]:
    """The mapping in a body; {} for an empty one. Raises UsageError, TypeError for a content type we do not know."""
    kind = content_type.partition(";")[0].strip().lower() or "application/yaml"
    if kind not in TYPES:
        raise TypeError(kind)
    try:
        text = body.decode("utf-8")
        found = json.loads(text) if kind == "application/json" and text.strip() else yaml.load(text, _Plain)
    except UnicodeDecodeError:
        raise UsageError("the body is not UTF-8", "send YAML or JSON in UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = " ".join(str(error).split())[:_LONGEST_ERROR]
        raise UsageError(f"the body is neither YAML nor JSON: {where}", "see /openapi.json") from None
    if found is None and not text.strip():
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UsageError("the body is not an object", "send `key: value` lines or a JSON object")
    if (problem := _problem(found)) is not None:
        raise UsageError(f"the body has {problem}", "send what JSON can say, without U+0000")
    return found


def _problem(found: object) -> str | None:
    """What is within that cannot be kept: texts that Postgres or UTF-8 have not, and values that only YAML has."""
    left = [found]
    while left:
        one = left.pop()
        if isinstance(one, str):
            if "\0" in one or (not one.isascii() and re.search("[\ud800-\udfff]", one)):
                return "a text with U+0000 or half a character"
        elif isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            left += one
        elif one is not None and not isinstance(one, int | float):
            return f"a {type(one).__name__}"
    return None


def job_start(found: Mapping[str, Any], name: str | None = None) -> tuple[str | None, str, str, dict[str, object]]:
    """Name, source, collection and overrides, keyed `job.…`, from a body. Raises UsageError."""
    given: dict[str, Any] = {}
    for key, value in found.items():
        ours = ALIASES.get(key, key)
        if ours in given:
            raise UsageError(f"{key} and {ours} say the same", "send one of them")
        given[ours] = _whole(value)
    known = {"source", "collection", *JobSettings.model_fields} | ({"name"} if name is None else set())
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, 1)
            raise UsageError(f"unknown key {key!r}", f"did you mean {near[0]}?" if near else "see /openapi.json")
    called = name if name is not None else _text(given, "name", wanted=False)
    source, collection = _text(given, "source"), _text(given, "collection")
    assert source is not None and collection is not None
    overrides = {f"job.{key}": value for key, value in given.items() if key in JobSettings.model_fields}
    for key, value in overrides.items():
        check_value(key, value, "body")
    return called, source, collection, overrides


def _whole(value: object) -> Any:
    """The value, which to JSON is a whole number also as 4.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(given: Mapping[str, Any], key: str, *, wanted: bool = True) -> str | None:
    value = given.get(key)
    if value is None and not wanted:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"{key} is {'missing' if value is None else 'not a text'}", f"send {key}: …")
    return value


def change(found: Mapping[str, Any]) -> dict[str, object]:
    """Settings to change, keyed by name, from a body. Raises UsageError."""
    if not found or (unknown := next((key for key in found if key not in Change.model_fields), None)):
        what = f"unknown key {unknown!r}" if found else "nothing to change"
        raise UsageError(what, f"send one of {', '.join(Change.model_fields)}")
    changes = {key: _whole(value) for key, value in found.items()}
    if changes.get("max_in_flight") == 0 and not isinstance(changes["max_in_flight"], bool):
        changes["max_in_flight"] = None
    for key, value in changes.items():
        check_value(f"job.{key}", value, "body")
    return changes


def retry(found: Mapping[str, Any]) -> Retry:
    """What to retry, from a body. Raises UsageError."""
    try:
        return Retry.model_validate_json(json.dumps(found, default=str), strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the body"
        raise UsageError(f"{where}: {problem['msg'].lower()}", "see /openapi.json") from None
