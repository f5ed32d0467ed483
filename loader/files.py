"""Files into iRODS together with the collections they go to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from core.errors import FileError
from core.outcome import Outcome, Retry, Skipped, outcome_of
from inventory.claims import ClaimedFile
from inventory.jobs import Job
from loader.connection import Connections
from loader.load import Load

NO_COLLECTION = "CAT_UNKNOWN_COLLECTION"


class FileWork:
    """Loads files over the connections of the calling thread."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def load(self, job: Job, file: ClaimedFile) -> Outcome:
        """Load one file of any size. Raises FileError."""
        if job.settings.operation == "no_op":
            return Skipped("operation no_op does nothing with files")
        if not file.collection_made:
            self._connections.make_collection(job, file.directory)
        try:
            return self._loading(job).one(file)
        except FileError as error:
            if error.error != NO_COLLECTION:
                raise
            # somebody has removed it since; the inventory only knows that it was made once
            self._connections.make_collection(job, file.directory, anew=True)
            return self._loading(job).one(file)

    def load_many(self, job: Job, files: Sequence[ClaimedFile]) -> list[Outcome]:
        """Load small files of one job by bulk calls; one outcome a file, in order."""
        unmade = self._make_all(job, {file.directory for file in files if not file.collection_made})
        able = [file for file in files if file.directory not in unmade]
        outcomes = iter(self._loading(job).many(able))
        return [
            unmade[file.directory] if file.directory in unmade else self._again(job, file, next(outcomes))
            for file in files
        ]

    def _again(self, job: Job, file: ClaimedFile, outcome: Outcome) -> Outcome:
        """Load a file by itself whose collection was found to be missing."""
        if not (isinstance(outcome, Retry) and outcome.error == NO_COLLECTION):
            return outcome
        try:
            return self.load(job, file)
        except FileError as error:
            return outcome_of(error)

    def _make_all(self, job: Job, directories: Iterable[str]) -> dict[str, Outcome]:
        """Make collections; those that could not be made, with the outcome of their files."""
        unmade: dict[str, Outcome] = {}
        for directory in sorted(directories):
            try:
                self._connections.make_collection(job, directory)
            except FileError as error:
                unmade[directory] = outcome_of(error)
        return unmade

    def _loading(self, job: Job) -> Load:
        connections = self._connections
        return Load(
            job,
            connections.source(job),
            connections.gateway(job),
            connections.settings,
            connections.names,
            partial(connections.notes, job),
        )
