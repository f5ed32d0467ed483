"""The description of the REST interface (OpenAPI 3.1), made of the models that check and answer."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from inventory.web import bodies
from inventory.web.failing import MOST_FILES

_OF_ONE_JOB = (
    "cancelJob",
    "changeJob",
    "getJob",
    "listFailures",
    "pauseJob",
    "resumeJob",
    "retryJob",
    "stopJob",
    "tellJob",
)
_SENT = ("JobStart", "NamedJobStart", "Change", "Retry")
_PLACE = "#/components/schemas/{model}"
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "What the job is called.",
    "schema": {"type": "string", "pattern": bodies.NAME},
}


@cache
def document(*, control: bool = True, private: bool = False) -> dict[str, Any]:
    """The whole document, without the server's address: of one that can be controlled by a token, and whose readers need it too."""
    shapes = (
        bodies.JobStart,
        bodies.NamedJobStart,
        bodies.Created,
        bodies.JobFigures,
        bodies.Jobs,
        bodies.Failures,
        bodies.Change,
        bodies.Retry,
        bodies.Retried,
        bodies.Notices,
        bodies.Problem,
    )
    _, definitions = models_json_schema([(shape, "validation") for shape in shapes], ref_template=_PLACE)
    for name in _SENT:
        _without_nul(definitions["$defs"][name])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "iRODS inventory loader",
            "version": "1",
            "description": f"Ingest jobs. Reading {'needs the control token' if private else 'is open'};"
            f" changing {'needs the control token' if control else 'is refused: this server is read-only'}.",
        },
        "paths": _secured(_paths(), control=control, private=private),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _without_nul(schema: object) -> None:
    """Say of all texts within that U+0000 is not in them, where nothing more is said of them."""
    if isinstance(schema, dict):
        if schema.get("type") == "string" and not {"enum", "const", "format", "pattern"} & schema.keys():
            schema["pattern"] = bodies.ANY_TEXT
        schema = list(schema.values())
    for one in schema if isinstance(schema, list) else ():
        _without_nul(one)


def _paths() -> dict[str, Any]:
    start_problems = (400, 401, 403, 409, 413, 415, 429, 503)
    change_problems = (400, 401, 403, 404, 409, 413, 429, 503)
    return {
        "/job": {
            "get": _operation("listJobs", "All jobs and how far they are.", 200, "Jobs", (400, 401, 413, 429, 503)),
            "put": _operation("startJob", "Start a job.", 201, "Created", start_problems, "NamedJobStart"),
        },
        "/job/{name}": {
            "parameters": [_NAME],
            "get": _operation("getJob", "One job.", 200, "JobFigures", (400, 401, 404, 413, 429, 503)),
            "put": _operation("startNamedJob", "Start a job of this name.", 201, "Created", start_problems, "JobStart"),
            "patch": _operation("changeJob", "Change it while it runs.", 204, None, (*change_problems, 415), "Change"),
            "delete": _operation("stopJob", "Stop a job; it can be resumed.", 204, None, change_problems),
        },
        "/job/{name}/pause": _change("pauseJob", "Claim nothing more of it for now.", None),
        "/job/{name}/resume": _change("resumeJob", "Go on with a paused or stopped job.", None),
        "/job/{name}/cancel": _change("cancelJob", "Stop it for good; what is in iRODS stays there.", None),
        "/job/{name}/retry": _change(
            "retryJob", "Try its dead letters again, or what the body says.", "Retried", "Retry"
        ),
        "/job/{name}/notices": {
            "parameters": [_NAME],
            "post": _operation(
                "tellJob",
                "Tell of objects that were put or removed: a bucket's webhook.",
                204,
                None,
                change_problems,
                "Notices",
            ),
        },
        "/job/{name}/failures": {"parameters": [_NAME], "get": _failures()},
    }


def _secured(paths: dict[str, Any], *, control: bool, private: bool) -> dict[str, Any]:
    """The paths, with the token where it is asked for; a server that has none refuses changes whatever is sent."""
    for operations in paths.values():
        for operation in operations.values():
            if isinstance(operation, dict) and (control if "403" in operation["responses"] else private):
                operation["security"] = [{"token": []}]
    return paths


def _change(name: str, words: str, shape: str | None, body: str | None = None) -> dict[str, Any]:
    problems = (400, 401, 403, 404, 409, 413, *((415,) if body else ()), 429, 503)
    operation = _operation(name, words, 200 if shape else 204, shape, problems, body)
    if body:
        operation["requestBody"]["required"] = False
    return {"parameters": [_NAME], "post": operation}


def _failures() -> dict[str, Any]:
    problems = (400, 401, 404, 413, 429, 503)
    operation = _operation(
        "listFailures", "What fails, by class, and the first files of it.", 200, "Failures", problems
    )
    whole = {"type": "integer", "minimum": 0, "maximum": MOST_FILES, "default": 100}
    operation["parameters"] = [
        {"name": "error", "in": "query", "description": "Only this class.", "schema": {"type": "string"}},
        {"name": "limit", "in": "query", "description": "So many files at most.", "schema": whole},
    ]
    return operation


def _operation(
    name: str, words: str, status: int, shape: str | None, problems: tuple[int, ...], body: str | None = None
) -> dict[str, Any]:
    answers: dict[str, Any] = {str(status): {"description": "Done."} | (_content(shape) if shape else {})}
    answers |= {str(problem): {"description": _PROBLEMS[problem]} | _content("Problem") for problem in problems}
    operation: dict[str, Any] = {"operationId": name, "summary": words, "responses": answers}
    if status == 201:
        answers["201"]["links"] = {other: _link(other) for other in _OF_ONE_JOB}
    if body:
        # a bucket's webhook is JSON whatever it says it is
        kinds = bodies.TYPES[: 1 if body == bodies.Notices.__name__ else 2]
        content = {kind: {"schema": {"$ref": _PLACE.format(model=body)}} for kind in kinds}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _link(operation: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": {"name": "$response.body#/job"}}


def _content(shape: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": _PLACE.format(model=shape)}}}}


_PROBLEMS = {
    400: "What was sent cannot work; nothing was changed.",
    401: "The token is missing or wrong.",
    403: "This server is read-only.",
    404: "There is no such job.",
    409: "It cannot be done as things are: the name is in use, the source is missing, the collection cannot be written…",
    413: "The body is too large.",
    415: "The body is of a type that is not known.",
    429: "Too many requests; Retry-After says when to come again.",
    503: "The inventory, iRODS or the source does not answer.",
}
