"""The handlers' folder of a pod: which jobs it can do, and how they name things."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from core.errors import UsageError
from core.handlers import files

log = structlog.get_logger()
Mark = tuple[int, int, int] | None


class HandlersFolder:
    """The handlers that lie on a mounted folder, looked at again when their file changes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._digests: dict[str, tuple[Mark, str]] = {}
        self._told: set[tuple[str, str]] = set()
        self._names: dict[str, Callable[[str], str]] = {}

    def has(self, job: str, name: str, sha256: str) -> bool:
        """Whether a job's handler lies here, and is the very one of the job. Told in the log when it is not."""
        found = self._digest(name)
        if found == sha256:
            self._told.discard((job, name))
            return True
        if (job, name) not in self._told:
            self._told.add((job, name))
            reason = "is another one here" if found else "is not here"
            hint = "the pod does none of this job's work until loader.handlers_folder has the file the job was started with"
            log.warning("handler_refused", job=job, handler=name, reason=reason, wanted=sha256, found=found, hint=hint)
        return False

    def names(self, name: str, sha256: str) -> Callable[[str], str]:
        """How a job's handler maps relative paths; `str` where it maps none. Raises UsageError when it cannot be loaded."""
        if sha256 not in self._names:
            file = files.named(name, self._folder)
            if file.sha256 != sha256:
                raise UsageError(
                    f"the event handler {name} is another one here", "mount the one the job was started with"
                )
            mapped = files.inspect(file).character_map()
            self._names[sha256] = str if mapped is None else mapped.path
        return self._names[sha256]

    def _digest(self, name: str) -> str:
        """The digest of a file; '' when there is none."""
        if self._folder is None:
            return ""
        try:
            status = os.stat(self._folder / name)
            mark = (status.st_mtime_ns, status.st_size, status.st_ino)
            if self._digests.get(name, (None, ""))[0] != mark:
                self._digests[name] = (mark, files.named(name, self._folder).sha256)
            return self._digests[name][1]
        except (OSError, UsageError):
            return ""
