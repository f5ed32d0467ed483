"""`ingest job`: start ingest jobs and look after them. One module a kind of command."""

from scripts.jobs import control, handler, remove, show, start, watch
from scripts.jobs.group import group, named, opened
from scripts.jobs.start import begin

__all__ = ["begin", "control", "group", "handler", "named", "opened", "remove", "show", "start", "watch"]
