"""What is to be done: the rules in force, and the objects that carry what a rule on metadata asks for."""

from __future__ import annotations

import time

import structlog

from core import globs
from core.errors import FileError, UsageError
from core.irods import ComputeGateway
from core.rules import MAX_RULES_BYTES, Rule, check_names, parse_rules
from core.settings import Settings
from inventory import compute
from inventory.engine import Database

log = structlog.get_logger()
Placed = tuple[Rule, str]
"""A rule and where it stands."""


def read_rules(settings: Settings, gateway: ComputeGateway) -> list[Placed]:
    """All rules, of config.yml and of the data object. Raises UsageError, one line, and FileErrors."""
    found = [(rule, "config.yml") for rule in settings.compute.rules]
    path = settings.compute.rules_object
    if path is not None:
        found += [(rule, path) for rule in parse_rules(_text(gateway, path), path)]
    check_names([rule for rule, _ in found], f"config.yml and {path}" if path else "config.yml")
    return found


def _text(gateway: ComputeGateway, path: str) -> str:
    pieces = bytearray()
    if not gateway.replicas(path):
        raise UsageError(f"{path}: there is no such data object", "put it there, or correct compute.rules_object")
    for piece in gateway.read(path):
        pieces += piece
        if len(pieces) > MAX_RULES_BYTES:
            raise UsageError(f"{path}: larger than {MAX_RULES_BYTES} bytes", "these are no rules")
    try:
        return pieces.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8", "save it as UTF-8") from None


class Intake:
    """Keeps the inventory's rules at what is configured, and asks for the tasks of objects by their metadata."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._gateway = ComputeGateway(settings.irods)
        self._rules: list[Placed] | None = None
        self._due_at = float("-inf")
        self._complaint = ""

    def close(self) -> None:
        """Close the connection to iRODS."""
        self._gateway.close()

    def step(self) -> None:
        """Every `compute.rules_seconds`, and at once at the start. What is wrong is said once, and the last good rules hold."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + self._settings.compute.rules_seconds
        try:
            self._rules = read_rules(self._settings, self._gateway)
            self._ask_for_objects()
            self._complaint = ""
        except (UsageError, FileError) as problem:
            if str(problem) != self._complaint:
                self._complaint = str(problem)
                log.error("rules_refused", reason=str(problem), kept=self._rules is not None)
            if self._rules is None and not isinstance(problem, UsageError):
                return  # iRODS is away: nobody knows what the object says, and what is in force stays
        changed = compute.set_rules(self._database, self._rules if self._rules is not None else self._configured())
        if changed:
            log.info("rules", changed=changed)

    def _configured(self) -> list[Placed]:
        """The rules of config.yml, and of the object those that are in force from an earlier start."""
        mine = [(rule, "config.yml") for rule in self._settings.compute.rules]
        names = {rule.name for rule, _ in mine}
        kept = compute.rules_from(self._database, self._settings.compute.rules_object or "")
        return mine + [(rule, source) for rule, source in kept if rule.name not in names]

    def _ask_for_objects(self) -> None:
        for rule, _ in self._rules or ():
            if rule.avu is None:
                continue
            found = self._gateway.objects_with(rule.avu.attribute, rule.avu.value)
            fitting = [(path, at) for path, at in found if globs.matches(rule.pattern, path)]
            new = compute.request(self._database, rule, fitting)
            if new:
                log.info("requested", rule=rule.name, tasks=new)
