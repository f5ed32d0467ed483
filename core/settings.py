"""What can be configured: one model a section of config.yml, one docstring a key.

`core.settings_file.load_settings` reads them. Order of precedence: command line, environment variable, config.yml,
irods_environment.json (for irods), default. The environment name of a key is its path in capitals with the prefix
INGEST_ and two underscores between sections: irods.port is INGEST_IRODS__PORT.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from core import timetable
from core.errors import UsageError
from core.rules import Rule
from core.sections import Count, Seconds, Section, Word


def _timetable(text: str) -> str:
    timetable.parse(text)
    return text


Bandwidth = Annotated[str, AfterValidator(_timetable), WithJsonSchema({"type": "string", "pattern": timetable.PATTERN})]
Operation = Literal["register_sync", "register_as_replica_sync", "put", "put_sync", "put_append", "verify", "no_op"]
DeleteMode = Literal["do_not_delete", "unregister", "trash", "no_trash"]
LogPeriod = Literal["S", "M", "H", "D", "midnight"]
VerifyLevel = Literal["rehash", "stat", "catalog"]
FileType = Literal["regular", "directory", "link", "socket", "pipe", "character", "block"]


def _lines(given: object) -> object:
    """A text as a list: a line an item. So patterns can come from the environment."""
    if isinstance(given, str):
        return tuple(line for line in given.splitlines() if line)
    return tuple(given) if isinstance(given, list) else given


Patterns = Annotated[tuple[Word, ...], BeforeValidator(_lines)]
FileTypes = Annotated[tuple[FileType, ...], BeforeValidator(_lines)]
DELETE_MODES: Mapping[str, tuple[str, ...]] = {
    "no_op": ("do_not_delete",),
    "verify": ("do_not_delete",),
    "put": ("do_not_delete",),
    "register_sync": ("do_not_delete", "unregister"),
    "register_as_replica_sync": ("do_not_delete", "unregister"),
    "put_sync": ("do_not_delete", "trash", "no_trash"),
    "put_append": ("do_not_delete", "trash", "no_trash"),
}
"""Which delete modes go with which operation: what was registered is never erased, what was put never just forgotten."""


class InventorySettings(Section):
    """The Postgres database that holds the inventory."""

    url: str = "postgresql+psycopg2://ingest@localhost:5432/ingest"
    """Where the inventory is. No password in here: that goes into INVENTORY_PASSWORD, password_file, or a whole URL in
    INVENTORY_URL."""
    password: SecretStr | None = None
    """Only from the environment (INVENTORY_PASSWORD); refused in config.yml."""
    password_file: Path | None = None
    """A file whose first line is the password."""
    connect_timeout_seconds: Seconds = 10
    """How long one attempt to connect may take."""
    archive: Path | None = None
    """A folder in which `ingest job delete` keeps all rows of a job as compressed CSV before it removes them, below job-NUMBER.
    null: they are not kept."""

    def connection_url(self) -> str:
        """Return the URL to connect with, password included: never print it.

        Raises UsageError when the password file cannot be read.
        """
        password = self.password.get_secret_value() if self.password else None
        if password is None and self.password_file:
            password = read_secret(self.password_file)
        if password is None:
            return self.url
        scheme, _, rest = self.url.partition("://")
        place = urlsplit(self.url).netloc
        user, _, host = place.rpartition("@")
        return f"{scheme}://{user}:{quote(password, safe='')}@{host}{rest[len(place) :]}"


class IrodsSettings(Section):
    """The iRODS zone that files are brought into."""

    environment_file: Path | None = None
    """An irods_environment.json: its host, port, user and zone are used unless given here, its TLS and authentication
    keys always. Also IRODS_ENVIRONMENT_FILE."""
    host: Word = "localhost"
    """The server to connect to; for registration the catalogue provider is best."""
    port: int = Field(default=1247, ge=1, le=65535)
    """Its port."""
    user: Word = "rods"
    """The user to log in as."""
    zone: str = Field(default="tempZone", pattern=r"^[^/]+$")
    """The user's zone, without a slash."""
    client_user: Word | None = None
    """The user to act for: what is loaded belongs to this one. `user` must then be a rodsadmin."""
    client_zone: Word | None = None
    """The zone of client_user. null: `zone`."""
    password: SecretStr | None = None
    """Only from the environment (IRODS_PASSWORD); refused in config.yml."""
    password_file: Path | None = None
    """A file whose first line is the password. Without any, the .irodsA file beside the environment file is used."""
    connections: Count = 4
    """Connections, and so threads, of one loader or verifier process."""
    max_connections: Count = 64
    """Connections of all loaders and verifiers together. When the server is overloaded it falls by half, then grows again."""
    timeout_seconds: Seconds = 300
    """How long one answer of the server may take before the connection is given up."""
    session_seconds: Seconds = 600
    """Age at which a connection is replaced, because an agent's memory grows along its life."""
    session_calls: Count = 20_000
    """Requests after which a connection is replaced."""
    streams: Count = 1
    """Connections that carry one file larger than single_buffer_bytes, where as many are free; worth a trial where a network
    is slow or far."""
    extra_streams: int = Field(default=4, ge=0)
    """Connections beyond `connections` that all large files of one loader together may have when `streams` is above 1. They
    count in `max_connections`."""
    staging_seconds: Seconds = 86_400
    """Age from which a tar that a dead pod left in a staging collection (.ingest_staging in a user's home) is removed. Far
    more than any bundle or pack takes."""
    single_buffer_bytes: Count = 24 * 1024 * 1024
    """Files up to this size are put in one call that carries their checksum, and are held in memory, one for each of
    `connections`. Not more than 32 MiB."""
    bulk_registration: bool = True
    """Register by bulk calls (619), which check neither the physical path nor acSetChkFilePathPerm. false: one by one
    (20008)."""
    bundles: bool = True
    """Put and verify small files by bundles (518, 665, 666), which do not fire the put and checksum PEPs. false: one by
    one."""
    vault_writes: bool = True
    """Write small files that are new straight into the vault (518), at the place of their names, and register them there with
    their checksums (688); for rodsadmins. false: unpack them of tars (665), at two thirds of the speed."""
    bundle_checksums: bool = True
    """Record the checksums of files put in bundles in the catalogue (688), where other clients and the verify level catalog want
    them. false: a third faster. Verification at rehash compares the bytes with the inventory's checksums in both cases."""


class BundleSettings(Section):
    """Small files, which travel together: put as a tar that the server unpacks, verified by a tar that it packs."""

    max_file_bytes: int = Field(default=1024 * 1024, ge=0)
    """Files up to this size go into bundles; 0 puts every file by itself."""
    max_files: int = Field(default=500, ge=1, le=1000)
    """Files in one bundle."""
    max_bytes: Count = 16 * 1024 * 1024
    """Bytes in one bundle, which is held in memory, one for each of irods.connections."""


class S3Settings(Section):
    """The S3 service that s3:// sources are in. Without a key pair the usual places of AWS are asked: the environment, the
    shared files, the pod's service account, the instance's role."""

    endpoint_url: Word | None = None
    """Where the service is, such as https://minio.example.org:9000. null: AWS."""
    region: Word | None = None
    """The bucket's region. null: the usual places of AWS say it, else us-east-1."""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Where the bucket's name goes: into the path, or in front of the host (virtual). auto: into the path where endpoint_url is
    set, in front of the host at AWS unless the name does not fit there."""
    key_pair_file: Path | None = None
    """A file of two lines, access key and secret key; a third one, if any, is a session token."""
    anonymous: bool = False
    """Ask without any credentials, for public buckets."""
    proxy_url: Word | None = None
    """The HTTP proxy to go through. null: what HTTPS_PROXY and HTTP_PROXY say."""
    ca_file: Path | None = None
    """The certificates that the service's own is checked with. null: the usual ones."""
    verify_tls: bool = True
    """false: take any certificate."""
    connect_timeout_seconds: Seconds = 10
    """How long one attempt to connect may take."""
    read_timeout_seconds: Seconds = 60
    """How long the service may be silent in an answer."""
    attempts: Count = 4
    """How often one request is tried at once before it counts as failed."""
    connections: Count = 32
    """Connections that one pod keeps open at most."""
    list_page: int = Field(default=1000, ge=1, le=1000)
    """Keys in one page of a listing."""


class JobSettings(Section):
    """Defaults of a job; `ingest job start` can say otherwise for one job."""

    operation: Operation = "put_sync"
    """put_sync: copy new and changed files. put: copy new files, leave existing objects alone. put_append: as put_sync, but
    send only what was added to a file whose beginning is unchanged. register_sync: leave the bytes where they are and
    register them. register_as_replica_sync: the same, as one more replica of objects that exist. verify: write nothing, and
    verify what is in iRODS already, whoever brought it there. no_op: nothing."""
    delete_mode: DeleteMode = "do_not_delete"
    """What becomes of the object of a file that is gone from the source: do_not_delete, unregister (register_*), trash or
    no_trash (put_sync, put_append)."""
    max_deletes: int = Field(default=10_000, ge=0)
    """If more files than that have vanished when a pass is over, none is deleted before `ingest job confirm-deletes`. 0: none
    ever without it."""
    max_delete_percent: float = Field(default=20, ge=0, le=100)
    """The same for per cent of the job's files; of few files ten may go in any case."""
    delete_after_seconds: float = Field(default=0, ge=0, allow_inf_nan=False)
    """How long a file must have been gone before it is deleted."""
    sentinel: Word | None = None
    """A path relative to the source that must exist before anything vanishes or is deleted: a file on the mounted volume."""
    verify_level: VerifyLevel = "rehash"
    """rehash: the server reads the bytes again. stat: only size and presence of the file behind the replica. catalog: only
    what the catalogue says."""
    reverify_days: Seconds | None = None
    """Verify again what was verified so many days ago, as long as the job is not stopped: storage forgets. null: never."""
    reverify_level: VerifyLevel | None = None
    """How thoroughly it is verified again. null: as verify_level says."""
    resource: Word | None = None
    """The resource to put to (a root) or to register on (a leaf or standalone one). null: the server's default."""
    as_user: Annotated[str, Field(pattern=r"^[^#/]+(#[^#/]+)?$")] | None = None
    """The iRODS user to load and verify for, as name or name#zone: what is loaded belongs to this one. irods.user must be a
    rodsadmin. null: irods.client_user, or else irods.user."""
    keep_source_names: bool = True
    """Give an object whose name had to be escaped the AVU that automated ingest gives such objects: its source path in base64
    at the attribute irods::automated_ingest::UnicodeEncodeError."""
    rescan_seconds: Seconds | None = None
    """Look at each directory again so long after its last scan. null: one single pass."""
    notices_queue: Word | None = None
    """The URL of an SQS queue that the bucket writes its notifications to: what they name is looked at within seconds. The listings
    every rescan_seconds find what no notice told."""
    manifest: Word | None = None
    """The list that names the job's files, read by `ingest job start` and `ingest job add`: the source is then never listed."""
    include: Patterns = ()
    """Take only files whose path below the source matches one of these patterns, written as in .gitignore, or one of
    include_regex."""
    exclude: Patterns = ()
    """Leave out files, and directories with all below them, whose path matches one of these patterns, written as in .gitignore."""
    include_regex: Patterns = ()
    """As include: regular expressions, searched for in the path below the source."""
    exclude_regex: Patterns = ()
    """As exclude: regular expressions, searched for in the path below the source."""
    exclude_types: FileTypes = ()
    """Leave out these: regular, directory, link, socket, pipe, character, block."""
    min_bytes: int | None = Field(default=None, ge=0)
    """Leave out smaller files."""
    max_bytes: int | None = Field(default=None, ge=0)
    """Leave out larger files."""
    min_age_seconds: Seconds | None = None
    """Leave out files modified less than so long ago."""
    max_age_seconds: Seconds | None = None
    """Leave out files modified longer ago than that."""
    symlinks: Literal["record", "follow", "skip"] = "record"
    """record: a link gets a row (skipped) and is not followed. follow: what it leads to is taken in its place, unless that lies
    outside of the source or leads in a circle. skip: leave links out."""
    link_folder: Annotated[str, Field(pattern=r"^/[^\x00]*$")] | None = None
    """A directory outside of the source that loaders may write to, and that the iRODS server has at the same path. A file of a
    mounted source whose path iRODS cannot hold (bytes that are no UTF-8, control characters, over 1023 bytes) is registered by a
    symbolic link in it. null: such a file is not registered (bad_physical_path)."""
    hidden_files: bool = True
    """false: leave out files and directories whose name begins with a dot."""
    settle_seconds: float = Field(default=0, ge=0, allow_inf_nan=False)
    """A file modified less than so long ago is not offered yet."""
    shards: Count = 4
    """Partitions of the job's rows at least; more for more workers."""
    expected_files: Count | None = None
    """How many files the job will have, roughly: it begins with a shard for each ten million. null: it grows as it goes."""
    trust_directory_mtime: bool = False
    """Do not list a directory whose own time and listing were the same at the last two scans. Only where the filesystem is
    honest about that time, and files are never changed in place: a change of a file's content does not change it."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Jobs of a higher priority go first: of others only what workers have room for is begun. Jobs of the same one take turns."""
    max_in_flight: Count | None = Field(default=None, le=2_147_483_647)
    """So many files of the job are loaded, verified or deleted at the same time, by all pods together. null: no limit."""
    bandwidth: Bandwidth | None = None
    """How many bytes a second all loaders together read of the source: `50M`, or a timetable in the pods' time zone (TZ) such as
    `08:00,50M 19:00,off Sat-08:00,off`. null: without a limit."""
    max_attempts: Count = 8
    """Failed attempts of one stage after which a file is a dead letter."""
    max_reloads: int = Field(default=2, ge=0)
    """How often a file is loaded again after its checksum disagreed."""
    event_handler: Word | None = None
    """The file of an event handler, on loader.handlers_folder. Its digest is kept with the job, and a pod that has another
    file of that name does none of the job's work."""
    extract_metadata: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    """module:function that gives the metadata and access of each file, on loader.handlers_folder or installed."""

    @property
    def client(self) -> tuple[str, str] | None:
        """Name and zone of `as_user`; the zone is '' where it is that of irods.user."""
        if self.as_user is None:
            return None
        name, _, zone = self.as_user.partition("#")
        return name, zone


class WatcherSettings(Section):
    """The watcher pods, which scan the source."""

    directories: Count = 2000
    """Directories claimed at a time, at most: of large ones fewer are claimed, so that other watchers have some too."""
    rows: Count = 20_000
    """Entries handed to the inventory in one COPY."""
    max_backlog: Count = 10_000_000
    """Above so many files of a job waiting to be loaded its scan pauses."""


class LoaderSettings(Section):
    """The loader pods, which put and register."""

    batch: Count = 500
    """Files claimed at a time."""
    handlers_folder: Path | None = None
    """Where event handlers and functions for job.extract_metadata lie; the same files in all loaders and verifiers."""
    handler_timeout_seconds: Seconds = 3600
    """How long an attempt of a file, or of several in one bulk call, may take in jobs with an event handler or
    job.extract_metadata, where the handler's timeout says nothing else. The process that is at it is then ended."""


class VerifierSettings(Section):
    """The verifier pods, which compare checksums."""

    batch: Count = 2000
    """Files claimed at a time."""


class ComputeSettings(Section):
    """The compute pods, which make Kubernetes Jobs of what was loaded (docs/compute.md)."""

    rules: tuple[Rule, ...] = ()
    """What is to be run on what: a list of rules, as docs/compute.md says."""
    rules_object: Word | None = None
    """The logical path of a data object with more rules, in YAML. It is read again and again; while it is wrong, its last
    good rules hold."""
    rules_seconds: Seconds = 30
    """How often rules_object is read and rules on AVUs are looked up in the catalogue."""
    namespace: Word | None = None
    """The namespace for Jobs. null: that of the pod, or of the kubeconfig's context."""
    kubeconfig: Path | None = None
    """How to reach the cluster. null: as the pod's ServiceAccount; outside of a cluster KUBECONFIG or ~/.kube/config."""
    image: Word | None = None
    """This program's own image, which brings inputs in and outputs out. null: the one that the compute pod itself runs."""
    service_account: Word = "compute-job"
    """The ServiceAccount of the Jobs, which needs no rights at all."""
    secret: Word = "irods"
    """The Secret for the containers that talk to iRODS: `password`, and `irods_environment.json` where TLS needs one."""
    scratch: Word = "10Gi"
    """The largest size of a Job's inputs and outputs together, where they are staged."""
    max_running: Count = 20
    """Jobs at work at the same time, of all rules together."""
    threads: Count = 4
    """Jobs looked after at the same time by one compute pod."""
    reconcile_seconds: Seconds = 15
    """How often a Job is looked at when the cluster says nothing of it."""


class WorkerSettings(Section):
    """What all pods have in common."""

    heartbeat_seconds: Seconds = 5
    """How often a pod says that it lives."""
    lease_seconds: Seconds = 60
    """Silence after which a pod is taken for dead and its files go to others."""
    housekeeping_seconds: Seconds = 5
    """How often leases, retries, counts and finished jobs are looked after."""
    poll_seconds: Seconds = 1
    """How long a pod with nothing to do waits before it asks again."""
    flush_files: Count = 500
    """Results are written to the inventory when so many have gathered, or after flush_seconds."""
    flush_seconds: Seconds = 1
    """How long a result waits at most before it is written to the inventory."""
    drain_seconds: Seconds = 30
    """How long begun files may take after SIGTERM; shorter than terminationGracePeriodSeconds."""
    retry_seconds: Seconds = 30
    """Wait after a file's first failed attempt; doubled after each further one, up to retry_max_seconds."""
    retry_max_seconds: Seconds = 21_600
    """The longest wait between two attempts."""
    max_reaps: int = Field(default=5, ge=3)
    """How many pods may die over one file or directory before it is a dead letter. From the third on only the one
    that the dead pod had begun is blamed."""
    activity_hours: Seconds = 48
    """How long it is kept what each pod did when, for the charts and the time line: one row a pod, job, stage and ten
    seconds."""


class MetricsSettings(Section):
    """What pods tell Prometheus and the probes of Kubernetes."""

    port: int | None = Field(default=None, ge=0, le=65535)
    """Where /metrics, /livez and /readyz are answered. null: nowhere. Each pod of one machine needs its own."""
    patience_seconds: Seconds = 120
    """Silence of the loop after which a pod is not live, and of a service after which it is not ready."""


class WebSettings(Section):
    """The status page and the REST interface, `ingest serve`."""

    address: Word = "127.0.0.1"
    """Where it listens: 0.0.0.0 for everybody who reaches this machine. There is no TLS: put a proxy before it that has."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Its port; 0 takes a free one."""
    token: SecretStr | None = None
    """Only from the environment (WEB_TOKEN); refused in config.yml."""
    token_file: Path | None = None
    """A file whose first line is the token that control needs. Without any the page and REST are read-only."""
    private: bool = False
    """true: reading needs the token too."""
    max_body_bytes: Count = 65_536
    """Larger requests are refused."""
    requests_per_minute: Count = 600
    """What one client may ask in a minute."""

    def control_token(self) -> str | None:
        """Return the token that control needs, None when nobody has control. Raises UsageError."""
        if self.token is not None:
            return self.token.get_secret_value() or None
        return read_secret(self.token_file) if self.token_file else None


class NotifySettings(Section):
    """Who is told when a pass of a job is over. What is to be told is kept in the inventory until it was taken."""

    webhook_url: SecretStr | None = None
    """An http(s) URL to which a JSON object is posted. Only from the environment (NOTIFY_WEBHOOK_URL); refused in
    config.yml, for such URLs hold secrets."""
    webhook_url_file: Path | None = None
    """A file whose first line is that URL."""
    smtp_host: Word | None = None
    """The mail server that takes mails. null: no mails."""
    smtp_port: int = Field(default=25, ge=1, le=65535)
    """Its port."""
    smtp_starttls: bool = False
    """Speak TLS with it, and check its certificate."""
    smtp_user: Word | None = None
    """The user to log in as. null: no login."""
    smtp_password: SecretStr | None = None
    """Only from the environment (NOTIFY_SMTP_PASSWORD); refused in config.yml."""
    smtp_password_file: Path | None = None
    """A file whose first line is the password."""
    mail_from: Word = "ingest@localhost"
    """The sender of mails."""
    mail_to: str = ""
    """Who gets mails: addresses with commas between them."""
    passes: Literal["all", "changed", "failed"] = "changed"
    """Of which passes is told. changed: those after which the counts are others than before, or that failed or are a job's
    first. failed: those in which a file was given up."""
    timeout_seconds: Seconds = 10
    """How long one delivery may take; one that fails is tried again after 30 s, 1 min … 1 h."""
    keep_days: Seconds = 7
    """What could not be delivered for so long is given up; `ingest report` still has it."""

    def webhook(self) -> str | None:
        """The URL to post to. Raises UsageError when its file cannot be read or it is no http(s) URL."""
        url = self.webhook_url.get_secret_value() if self.webhook_url else None
        if url is None and self.webhook_url_file:
            url = read_secret(self.webhook_url_file)
        if url is not None and urlsplit(url).scheme not in ("http", "https"):
            raise UsageError("notify.webhook_url is no http(s) URL", "give https://host/path")
        return url

    def recipients(self) -> list[str]:
        """The addresses of mail_to; none where there is no mail server."""
        return [one.strip() for one in self.mail_to.split(",") if one.strip()] if self.smtp_host else []

    def password(self) -> str:
        """The mail server's password. Raises UsageError when its file cannot be read."""
        if self.smtp_password:
            return self.smtp_password.get_secret_value()
        return read_secret(self.smtp_password_file) if self.smtp_password_file else ""


class LogSettings(Section):
    """The pods' logs: one JSON object a line on standard error, or in a file."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is written."""
    format: Literal["json", "text"] = "json"
    """json for machines, text for people."""
    filename: str | None = None
    """A file to write to instead of standard error; {kind} and {pod} stand for what they are. Each process needs its own."""
    when: LogPeriod = "midnight"
    """The unit after which a new file is begun, S(econds), M(inutes), H(ours), D(ays), or midnight (UTC)."""
    interval: Count = 1
    """A new file after so many units; the old one gets its time as a suffix."""
    keep: int = Field(default=7, ge=0)
    """So many old files are kept; 0 keeps all."""


class Settings(Section):
    """Everything in config.yml."""

    inventory: InventorySettings = InventorySettings()
    irods: IrodsSettings = IrodsSettings()
    bundle: BundleSettings = BundleSettings()
    s3: S3Settings = S3Settings()
    job: JobSettings = JobSettings()
    watcher: WatcherSettings = WatcherSettings()
    loader: LoaderSettings = LoaderSettings()
    verifier: VerifierSettings = VerifierSettings()
    compute: ComputeSettings = ComputeSettings()
    worker: WorkerSettings = WorkerSettings()
    metrics: MetricsSettings = MetricsSettings()
    web: WebSettings = WebSettings()
    notify: NotifySettings = NotifySettings()
    log: LogSettings = LogSettings()


def read_secret(path: Path) -> str:
    """Return the first line of a secret's file, without its line end. Raises UsageError when there is none."""
    try:
        with path.expanduser().open(encoding="utf-8") as file:
            secret = file.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError(f"cannot read the secret in {path}: not UTF-8", "save the file as UTF-8") from None
    except OSError as error:
        raise UsageError(f"cannot read the secret in {path}: {error.strerror}", "check the file and its mode") from None
    if not secret:
        raise UsageError(f"the secret in {path} is empty", "its first line must be the password")
    return secret
