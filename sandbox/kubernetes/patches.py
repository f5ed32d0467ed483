"""What PUT and PATCH make of an object: a whole new one, a merge patch, or a JSON patch."""

from __future__ import annotations

import copy
from typing import Any

from sandbox.kubernetes import answers
from sandbox.kubernetes.answers import Json


def patched(found: Json, body: Any, kind: str) -> Json:
    """The object after a change; `kind` is the content type of a PATCH and empty for a PUT.

    A strategic merge patch is taken for a merge patch: lists are replaced. Raises `Refused` (400).
    """
    if not kind:
        return {**found, **body, "metadata": {**found["metadata"], **body.get("metadata", {})}}
    if kind.startswith("application/json-patch+json"):
        if not isinstance(body, list):
            raise answers.bad_request(
                "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
            )
        return _json_patched(found, body)
    merged: Json = _merged(found, body)
    return merged


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    after = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = _merged(after.get(key), value)
    return after


def _json_patched(found: Json, operations: list[Json]) -> Json:
    after = copy.deepcopy(found)
    for operation in operations:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].strip("/").split("/")
        ]
        place: Any = after
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        if operation["op"] in ("add", "replace"):
            place[last] = operation["value"]
        elif operation["op"] == "remove":
            del place[last]
        else:
            raise answers.bad_request(f"unexpected kind: {operation['op']}")
    return after
