"""What a pod tells Prometheus, and the port on which it does.

All names begin with `ingest_`. Counters count since the pod began; docs/metrics.md says what each means, and a test holds it to
this file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core.errors import UsageError

REGISTRY = CollectorRegistry()
_CALLS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600, 3600)
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

FILES = Counter("ingest_files", "Files by stage and outcome", ["stage", "outcome"], registry=REGISTRY)
BYTES = Counter("ingest_bytes", "Bytes of files done, by stage", ["stage"], registry=REGISTRY)
FENCED = Counter("ingest_fenced", "Results that came too late and changed nothing", ["stage"], registry=REGISTRY)
REAPED = Counter("ingest_reaped_files", "Files taken over from dead workers", registry=REGISTRY)
EXPIRED = Counter("ingest_expired_workers", "Workers declared dead by this one", registry=REGISTRY)
BREAKER = Gauge("ingest_breaker_open", "1 while claims are held back because a service is away", registry=REGISTRY)
CONNECTIONS = Gauge("ingest_connections_granted", "iRODS connections this pod may have now", registry=REGISTRY)
CLAIM_SECONDS = Histogram(
    "ingest_claim_seconds", "Time of one claim", ["stage"], buckets=_FAST, registry=REGISTRY
)  # fmt: skip
IRODS_FEATURE = Gauge(
    "ingest_irods_feature", "1 for each fast call of iRODS in use, 0 for one forbidden or refused", ["feature"],
    registry=REGISTRY,
)  # fmt: skip
IRODS_CALL_SECONDS = Histogram(
    "ingest_irods_call_seconds", "Time from an iRODS request to its whole reply", ["api", "call"], buckets=_CALLS,
    registry=REGISTRY,
)  # fmt: skip
IRODS_ERRORS = Counter(
    "ingest_irods_errors", "Negative answers of iRODS and lost connections", ["api", "call", "error"], registry=REGISTRY
)
COMPUTE_TASKS = Gauge("ingest_compute_tasks", "Compute tasks, by rule and state", ["rule", "state"], registry=REGISTRY)
COMPUTE_ATTEMPTS = Counter(
    "ingest_compute_attempts", "Ended attempts of compute tasks", ["rule", "outcome"], registry=REGISTRY
)
TURNED = Gauge("ingest_loop_turned_timestamp_seconds", "When the loop last turned", registry=REGISTRY)


@dataclass(frozen=True)
class Snapshot:
    """What the inventory holds, as one pod has seen it last."""

    files: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """Files and bytes by job and state."""
    ages: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By job and stage, for how many seconds the file at the head of the queue has been known."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """Workers with a lease, by kind."""
    rows: int = 0
    dead_rows: int = 0
    """Rows of the file table, and old versions of rows that vacuum has not removed yet, as the database estimates them."""


class Inventory(Collector):
    """Shows a snapshot; without one it shows nothing."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The families, each with a sample for what there is: jobs that are gone are gone here too."""
        seen = self.snapshot or Snapshot()
        # not `job`, which is Prometheus's own label for what it scrapes
        files = GaugeMetricFamily("ingest_inventory_files", "Files by state", labels=["ingest_job", "state"])
        size = GaugeMetricFamily("ingest_inventory_bytes", "Their bytes", labels=["ingest_job", "state"])
        for labels, (count, total) in seen.files.items():
            files.add_metric(labels, count)
            size.add_metric(labels, total)
        age = GaugeMetricFamily("ingest_backlog_age_seconds", "Age of the queue's head", labels=["ingest_job", "stage"])
        for labels, seconds in seen.ages.items():
            age.add_metric(labels, seconds)
        workers = GaugeMetricFamily("ingest_workers", "Workers with a lease", labels=["kind"])
        for kind, count in seen.workers.items():
            workers.add_metric([kind], count)
        yield from (files, size, age, workers)
        rows = GaugeMetricFamily("ingest_inventory_rows", "Rows of the file table, estimated")
        dead = GaugeMetricFamily("ingest_inventory_dead_rows", "Old versions of rows not vacuumed yet, estimated")
        if self.snapshot is not None:
            rows.add_metric([], seen.rows)
            dead.add_metric([], seen.dead_rows)
        yield from (rows, dead)


INVENTORY = Inventory()
REGISTRY.register(INVENTORY)


@contextmanager
def timed(histogram: Histogram) -> Iterator[None]:
    """Observe how long the block takes."""
    began = time.monotonic()
    try:
        yield
    finally:
        histogram.observe(time.monotonic() - began)


class Probes:
    """What Kubernetes asks: whether the loop turns (live), and whether inventory and iRODS answered lately (ready)."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._turned = time.monotonic()
        self._answered: dict[str, float] = {}

    def turned(self) -> None:
        """The loop has turned once more."""
        self._turned = time.monotonic()
        TURNED.set_to_current_time()

    def answered(self, service: str) -> None:
        """A service that this pod needs has answered."""
        self._answered[service] = time.monotonic()

    def failed(self, service: str) -> None:
        """A service that this pod needs is away."""
        self._answered[service] = float("-inf")

    def live(self) -> str | None:
        """None, or why this process should be started again."""
        silent = time.monotonic() - self._turned
        return None if silent < self._patience else f"the loop has not turned for {silent:.0f} s"

    def ready(self) -> str | None:
        """None, or what this process is waiting for."""
        if not self._answered:
            return "starting"
        away = [name for name, at in self._answered.items() if time.monotonic() - at > self._patience]
        return f"{', '.join(sorted(away))} away" if away else None


def serve(port: int, probes: Probes, refresh: Callable[[], None] = lambda: None) -> ThreadingHTTPServer:
    """Answer /metrics, /livez and /readyz on a port from now on, in a thread. Raises UsageError when the port is in use.

    `refresh` is called before metrics are shown.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                refresh()
                self._answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
            elif self.path in ("/livez", "/readyz"):
                why = probes.live() if self.path == "/livez" else probes.ready()
                self._answer(503 if why else 200, f"{why or 'ok'}\n".encode(), "text/plain; charset=utf-8")
            else:
                self._answer(404, b"/metrics /livez /readyz\n", "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a scrape every few seconds is no news."""

    try:
        server = ThreadingHTTPServer(("", port), Handler)
    except OSError as error:
        raise UsageError(
            f"metrics.port {port} cannot be used: {error.strerror}", "choose another metrics.port"
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
