"""Event handlers: a person's own say in what becomes of a job's files. docs/event-handlers.md is for who writes one.

A handler's code runs in the helper processes of the loaders (`loader.handlers`) and never in a pod's own process, but for its
character map, which verifiers ask as well.
"""

from core.handlers.api import Annotations, Context, EventHandler

__all__ = ["Annotations", "Context", "EventHandler"]
