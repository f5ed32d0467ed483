"""Compute rules: which files, collections or objects make which Kubernetes Job.

A rule comes from config.yml or from a data object in iRODS, and both are checked by the one model here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import PurePosixPath
from string import Template
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from core import globs
from core.errors import UsageError
from core.sections import Count, Seconds, Section, Word

INPUTS, OUTPUTS = "/inputs", "/outputs"
"""Where a container finds its input and leaves its output."""
NAMES = (
    "INPUT",
    "INPUTS",
    "OUTPUTS",
    "NAME",
    "STEM",
    "COLLECTION",
    "LOGICAL_PATH",
    "RULE",
    "TASK",
    "RESOURCE",
    "OWNER",
)
"""What templates may name, as ${NAME}. Containers have them as environment variables too, behind COMPUTE_."""
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
_QUANTITY = r"^[0-9]+(\.[0-9]+)?([munkMGTPE]|Ki|Mi|Gi|Ti|Pi|Ei)?$"
MAX_RULES_BYTES = 1024 * 1024


class WantedAVU(Section):
    """The metadata an object must carry."""

    attribute: Word
    """Its attribute."""
    value: Word | None = None
    """Its value. null: any."""


class Volume(Section):
    """A volume that the cluster's nodes and the iRODS server both see: nothing is copied."""

    claim: Word
    """The PersistentVolumeClaim of the volume."""
    path: str = Field(pattern=r"^/.+[^/]$")
    """Where the volume lies for the iRODS server: physical paths below it are seen through the claim."""
    outputs: str = Field(default="compute", pattern=r"^[^/.][^/]*(/[^/.][^/]*)*$")
    """The folder of the volume in which outputs are made, each in one of its own."""


class ResourceAmounts(Section):
    """What a container asks for and may use at most: `cpu`, `memory`, `nvidia.com/gpu`…"""

    requests: dict[str, Annotated[str, Field(pattern=_QUANTITY)]] = Field(default_factory=dict)
    """What is kept free for it."""
    limits: dict[str, Annotated[str, Field(pattern=_QUANTITY)]] = Field(default_factory=dict)
    """What it may use at most."""


class Rule(Section):
    """What is to be run on what."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$")
    """What the rule is called, at most 30 small letters, digits and dashes. A new name is a new rule: it runs again."""
    trigger: Literal["file", "collection", "avu"] = "file"
    """file: each file that was verified. collection: each directory of which all files were verified. avu: each object that
    carries `avu`."""
    match: Word = "**"
    """A glob on the path below the job's collection, or on the logical path when it begins with a slash."""
    job: Word | None = None
    """Only files of this ingest job. null: of all."""
    avu: WantedAVU | None = None
    """For `trigger: avu`: the metadata that an object must carry."""
    owner: str | None = Field(default=None, pattern=r"^[^#]+(#[^#]+)?$")
    """For whom it is done, `user` or `user#zone`: who must be allowed to read the input and own the destination, and whose
    the output is. null: the user of the configuration."""
    image: Word
    """The image to run, best with its digest."""
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When the image is pulled."""
    command: tuple[str, ...] = ()
    """The command, word by word, with ${NAMES}. Empty: the image's own."""
    args: tuple[str, ...] = ()
    """The arguments, word by word, with ${NAMES}."""
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default_factory=dict)
    """The environment, with ${NAMES} in the values."""
    output: Word = "${COLLECTION}/${STEM}.${RULE}"
    """The collection for the output, with ${NAMES}."""
    resource_role: Word | None = None
    """Use a resource that carries the AVU COMPUTE_RESOURCE_ROLE with this value: the input is replicated to it, and the Job
    runs on nodes that its AVUs `compute::node_selector` name. null: leave the input where it is."""
    trim: bool = False
    """Remove the replica that was made for the Job when it has succeeded."""
    volume: Volume | None = None
    """A volume shared with the iRODS server. null: inputs and outputs are copied by containers before and after."""
    resources: ResourceAmounts = ResourceAmounts()
    """What the container asks for and may use."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes to run on, besides those of the resource."""
    run_as: int = Field(default=1000, ge=1)
    """The user and group id of the containers, never root."""
    retries: int = Field(default=3, ge=0)
    """Further attempts after a failed one; then the task is dead."""
    retry_seconds: Seconds = 30
    """Wait after the first failed attempt; doubled after each further one, up to worker.retry_max_seconds."""
    deadline_seconds: Count = 3600
    """How long one attempt may take, waiting for a node and images included."""
    ttl_seconds: Count = 3600
    """How long Kubernetes keeps an ended Job and its pod."""

    @field_validator("match")
    @classmethod
    def _is_glob(cls, value: str) -> str:
        globs.pattern_of(value)
        return value

    @field_validator("command", "args")
    @classmethod
    def _words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            check_template(word)
        return value

    @field_validator("env")
    @classmethod
    def _values(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            check_template(text)
            if name.startswith(("COMPUTE_", "INGEST_")):
                raise ValueError(f"{name} is set by this program")
        return value

    @field_validator("output")
    @classmethod
    def _collection(cls, value: str) -> str:
        check_template(value)
        if not value.startswith(("/", "${COLLECTION}/", "${LOGICAL_PATH}")) or value.rstrip("/") in (
            "",
            "${COLLECTION}",
            "${LOGICAL_PATH}",
        ):
            raise ValueError("a collection of its own is needed: begin with /, ${COLLECTION}/ or ${LOGICAL_PATH}")
        return value

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.avu is not None) != (self.trigger == "avu"):
            raise ValueError("`avu` and `trigger: avu` go together")
        words = (*self.command, *self.args)
        if self.command and PurePosixPath(self.command[0]).name in _SHELLS:
            for before, word in pairwise(words):
                if re.fullmatch(r"-[a-z]*c", before) and Template(word).get_identifiers():
                    raise ValueError(
                        f"a template in a shell's program would let a file's name run as code: use $$COMPUTE_{NAMES[0]} there"
                    )
        return self

    @property
    def pattern(self) -> str:
        """The regular expression for `match`."""
        return globs.pattern_of(self.match)


def check_template(text: str) -> None:
    """Raise ValueError when a template is malformed or names what there is not."""
    template = Template(text)
    if not template.is_valid():
        raise ValueError(f"{text!r} has a lone dollar: write $$ for a dollar and ${{NAME}} for a name")
    if unknown := sorted(set(template.get_identifiers()) - set(NAMES)):
        raise ValueError(f"{text!r} names {', '.join(unknown)}; known: {', '.join(NAMES)}")


def fill(text: str, values: Mapping[str, str]) -> str:
    """A template with its names replaced; what they stand for is not looked into."""
    return Template(text).substitute(values)


_RULES: TypeAdapter[tuple[Rule, ...]] = TypeAdapter(tuple[Rule, ...])


def parse_rules(text: str, where: str) -> tuple[Rule, ...]:
    """Rules in YAML: a list, or a mapping whose `rules` is one. Raises UsageError, one line that says what is wrong."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise UsageError(f"{where}{line}: not YAML: {problem}", "check indentation, colons and quotes") from None
    if isinstance(found, dict) and set(found) == {"rules"}:
        found = found["rules"]
    if not isinstance(found, list):
        raise UsageError(f"{where}: there is no list of rules", "see docs/compute.md")
    try:
        rules = _RULES.validate_python(found)
    except ValidationError as error:
        raise UsageError(f"{where}: {rule_problem(error)}", "see docs/compute.md") from None
    check_names(rules, where)
    return rules


def rule_problem(error: ValidationError) -> str:
    """What pydantic found first, in one line: the number of the rule, its key, and what is wrong."""
    problem = error.errors()[0]
    place = [part for part in problem["loc"] if part != "rules"]
    number = f"rule {int(place[0]) + 1}" if place and isinstance(place[0], int) else "a rule"
    key = ".".join(str(part) for part in place[1:])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{number}{f', {key}' if key else ''}: {message[0].lower()}{message[1:]}"


def check_names(rules: Iterable[Rule], where: str) -> None:
    """Raise UsageError when two rules have one name."""
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            raise UsageError(f"{where}: two rules are called {rule.name!r}", "give each a name of its own")
        seen.add(rule.name)
