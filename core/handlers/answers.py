"""What an event handler answers whatever it is asked about: methods that do nothing but return a value of their own."""

from __future__ import annotations

import ast
from typing import Any

from core.errors import UsageError
from core.handlers.api import Context
from core.handlers.files import HandlerFile
from core.handlers.loaded import Handler, HandlerFailed
from core.settings import DELETE_MODES

ASKED = ("operation", "delete_mode", "to_resource", "timeout", "max_retries", "delay")


def static_answers(file: HandlerFile, handler: Handler) -> dict[str, Any]:
    """By method what it always returns, in our words; to be called where `automated_ingest.provided` is in force.

    Raises UsageError for what makes no sense, and for an operation and a delete mode that do not go together.
    """
    nowhere = Context(job="job", source="/source", collection="/zone/collection", log=None)
    answers: dict[str, Any] = {}
    for name in ASKED:
        if name in handler.overrides and _is_static(file, name):
            try:
                answers[name] = handler.ask(name, nowhere, *([1] if name == "delay" else []))
            except HandlerFailed as error:
                raise UsageError(error.message, f"see {name} in docs/event-handlers.md") from error
    operation, mode = answers.get("operation"), answers.get("delete_mode")
    if operation is not None and mode is not None and mode not in DELETE_MODES[operation]:
        raise UsageError(
            f"the event handler {file.path.name} wants operation {operation} with delete mode {mode}",
            f"with {operation} use {' or '.join(DELETE_MODES[operation])}",
        )
    return answers


def _is_static(file: HandlerFile, name: str) -> bool:
    """Whether all methods of that name return something that neither calls anything nor looks at an argument."""
    found = [node for node in ast.walk(ast.parse(file.text)) if isinstance(node, ast.FunctionDef) and node.name == name]
    return bool(found) and all(map(_returns_its_own, found))


def _returns_its_own(method: ast.FunctionDef) -> bool:
    body = [node for node in method.body if not isinstance(node, ast.Expr)]  # without its docstring
    if len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
        return False
    given = {argument.arg for argument in ast.walk(method.args) if isinstance(argument, ast.arg)}
    return not any(
        isinstance(node, ast.Call | ast.Await) or (isinstance(node, ast.Name) and node.id in given)
        for node in ast.walk(body[0].value)
    )
