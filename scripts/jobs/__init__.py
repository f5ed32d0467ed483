"""`ingest job`: start ingest jobs and look after them. One module a kind of command."""

from scripts.jobs import add, control, handler, remove, show, start, watch
from scripts.jobs.group import group, named, opened
from scripts.jobs.start import begin

__all__ = ["add", "begin", "control", "group", "handler", "named", "opened", "remove", "show", "start", "watch"]
