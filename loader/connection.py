"""What the loader's threads have open: a gateway each, and the sources of the jobs they share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from core.irods import ExtraStreams, Gateway, Gateways
from core.outcome import Done, Outcome
from core.paths import logical_path
from core.settings import IrodsSettings, S3Settings
from core.sources.base import Source
from core.sources.selection import selected
from core.sources.throttled import Meter, Throttled
from core.sources.urls import open_source
from inventory.claims import ClaimedFile
from inventory.jobs import Job
from loader.load import Notes
from loader.notes import kept_name


class Connections:
    """Gateways by thread and user, and sources by job, opened when first needed."""

    def __init__(self, settings: IrodsSettings, s3: S3Settings, rate_of: Callable[[int], float | None]) -> None:
        """`rate_of` says how many bytes a second of a job may be read by this process; None: all it can."""
        self.settings = settings
        self._rate_of = rate_of
        self.names: Callable[[str], str] = str
        """How relative paths are named in iRODS: as at the source, unless an event handler maps them."""
        self.notes: Callable[[Job, ClaimedFile], Notes] = kept_name
        """The metadata and access that belong to a file."""
        self._gateways = Gateways(settings)
        self._s3 = s3
        self.places: Callable[[Source], Source] = lambda source: source
        """Where the files of a source are for iRODS: where the source says, unless an event handler knows better."""
        self._sources: dict[tuple[int, str, str | None, str | None], Source] = {}
        self._made: set[str] = set()  # collections known to exist; shared, for adding to a set is atomic

    @property
    def extra(self) -> ExtraStreams:
        """Lends connections to large files."""
        return self._gateways.extra

    def gateway(self, job: Job) -> Gateway:
        """This thread's gateway, for the user that the job is for."""
        return self._gateways.of(job.settings.client)

    def path(self, job: Job, relative: str) -> str:
        """The logical path of a file or directory of a job. Raises Permanent for what iRODS cannot hold."""
        return logical_path(job.target_collection, self.names(relative))

    def source(self, job: Job) -> Source:
        """The job's source."""
        settings = job.settings
        wanted = (
            job.id,
            settings.symlinks,
            settings.sentinel,
            settings.link_folder,
        )  # what may change while the job runs
        if wanted not in self._sources:
            meter = Meter(partial(self._rate_of, job.id))
            source = Throttled(selected(open_source(job.source_url, self._s3), settings), meter)
            self._sources[wanted] = self.places(source)
        return self._sources[wanted]

    def make_collection(self, job: Job, directory: str, *, anew: bool = False) -> Outcome:
        """Make the collection of a directory unless it is known to exist; `anew` mistrusts what is known."""
        path = self.path(job, directory)
        if anew:
            self._made = {known for known in self._made if not f"{path}/".startswith(f"{known}/")}
        if path not in self._made and job.settings.operation not in ("no_op", "verify"):
            self.gateway(job).make_collections(path, self._made)
        return Done()

    def forget_collection(self, path: str) -> None:
        """Note that a collection may be gone."""
        self._made.discard(path)

    def close(self) -> None:
        """Close what this thread has open; it connects again when it is used again."""
        self._gateways.close()
