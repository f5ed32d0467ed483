"""What the stand-in keeps: objects, their resource versions, and the history that watches are served from."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes import answers
from sandbox.kubernetes.answers import Json, Resource

Key = tuple[str, str, str]
"""Plural, namespace, name."""


def now() -> str:
    """The time as the API writes it: whole seconds, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one object."""

    version: int
    resource: Resource
    namespace: str
    type: str
    object: Json


class Store:
    """Objects of one cluster; for many threads. What it gives are copies."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._objects: dict[Key, Json] = {}
        self._resources: dict[str, Resource] = {resource.plural: resource for resource in answers.SERVED}
        self._events: list[Event] = []
        self._version = 1
        self._oldest = 1

    @property
    def version(self) -> int:
        """The resource version of the last change."""
        with self.changed:
            return self._version

    def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        """Add an object. Raises `Refused` when the name is taken or the namespace is not there."""
        with self.changed:
            if resource.namespaced and ("namespaces", "", namespace) not in self._objects:
                raise answers.not_found(answers.NAMESPACES, namespace)
            item = copy.deepcopy(body)
            given = item.setdefault("metadata", {})
            if not given.get("name"):
                given["name"] = given["generateName"] + uuid.uuid4().hex[:5]
            key = (resource.plural, namespace, given["name"])
            if key in self._objects:
                raise answers.already_exists(resource, given["name"])
            place = {"namespace": namespace} if resource.namespaced else {}
            own: Json = {"uid": given.get("uid") or str(uuid.uuid4()), "creationTimestamp": now()}
            if resource.group:
                own["generation"] = 1  # pods and what is only kept have none
            item["metadata"] = {**given, **place, **own}
            self._put(key, resource, "ADDED", item)
            return copy.deepcopy(item)

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """One object. Raises `Refused`."""
        with self.changed:
            found = self._objects.get((resource.plural, namespace, name))
            if found is None:
                raise answers.not_found(resource, name)
            return copy.deepcopy(found)

    def list(self, resource: Resource, namespace: str = "", selector: str = "") -> list[Json]:
        """The objects of a namespace, or of all, whose labels meet the selector, by namespace and name."""
        meets = labels_match(selector)
        with self.changed:
            return [
                copy.deepcopy(item)
                for (plural, place, _), item in sorted(self._objects.items())
                if plural == resource.plural and namespace in ("", place) and meets(item["metadata"].get("labels", {}))
            ]

    def change(self, resource: Resource, namespace: str, name: str, how: Callable[[Json], Any]) -> Json:
        """Change an object in place. Raises `Refused` when it is gone, and whatever `how` raises."""
        with self.changed:
            found = self.get(resource, namespace, name)
            how(found)
            self._put((resource.plural, namespace, name), resource, "MODIFIED", found)
            return copy.deepcopy(found)

    def delete(self, resource: Resource, namespace: str, name: str) -> Json:
        """Remove an object and return what it was. Raises `Refused`."""
        with self.changed:
            found = self.get(resource, namespace, name)
            del self._objects[resource.plural, namespace, name]
            self._note(resource, namespace, "DELETED", found)
            return found

    def forget(self) -> None:
        """Drop all history, as a real server does after some minutes: watches from before are told 410."""
        with self.changed:
            self._version += 1
            self._oldest = self._version
            self._events.clear()
            self.changed.notify_all()

    def watch(
        self, resource: Resource, namespace: str, selector: str, since: int, seconds: float
    ) -> Iterator[Event | Json]:
        """Changes after a version, as they come, for so many seconds; a `Status` when the history is gone."""
        meets = labels_match(selector)
        deadline = time.monotonic() + seconds
        while True:
            with self.changed:
                if since < self._oldest:
                    yield answers.expired(since, self._oldest)
                    return
                fresh = [event for event in self._events if event.version > since]
                left = deadline - time.monotonic()
                if not fresh and left > 0:
                    self.changed.wait(min(left, 0.5))
            for event in fresh:
                since = event.version
                here = event.resource == resource and namespace in ("", event.namespace)
                if here and meets(event.object["metadata"].get("labels", {})):
                    yield event
            if not fresh and time.monotonic() >= deadline:
                return

    def _put(self, key: Key, resource: Resource, what: str, item: Json) -> None:
        self._objects[key] = item
        self._note(resource, key[1], what, item)

    def _note(self, resource: Resource, namespace: str, what: str, item: Json) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        shown = {"kind": resource.kind, "apiVersion": resource.api_version, **copy.deepcopy(item)}
        self._events.append(Event(self._version, resource, namespace, what, shown))
        self.changed.notify_all()


def labels_match(selector: str) -> Callable[[Json], bool]:
    """The test that a label selector is: `a=b`, `a!=b`, `a in (b,c)`, `a` and `!a`, joined by commas."""
    tests = [_test(part.strip()) for part in _split(selector) if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _split(selector: str) -> list[str]:
    parts, depth = [""], 0
    for letter in selector:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _test(part: str) -> Callable[[Json], bool]:
    for word, among in ((" notin ", False), (" in ", True)):
        if word in part:
            key, _, values = part.partition(word)
            wanted = {value.strip() for value in values.strip(" ()").split(",")}
            return lambda labels: (labels.get(key.strip()) in wanted) == among
    if "!=" in part:
        key, _, value = part.partition("!=")
        return lambda labels: labels.get(key.strip()) != value.strip()
    if "=" in part:
        key, _, value = part.replace("==", "=").partition("=")
        return lambda labels: labels.get(key.strip()) == value.strip()
    if part.startswith("!"):
        return lambda labels: part[1:] not in labels
    return lambda labels: part in labels
