"""`ingest status`: pods, their leases, what they hold and how fast they are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from core.errors import Unavailable, UsageError
from scripts.frame import Invocation
from scripts.jobs.group import opened

if TYPE_CHECKING:
    from inventory.crew import Worker
    from k8s.pods import Pod

Line = dict[str, Any]
COLUMNS = ("kind", "pod", "phase", "ready", "restarts", "lease", "heard", "files", "dirs", "files/s", "MB/s")


@click.command("status", short_help="Show pods, leases, what they hold and how fast they are.")
@click.option("-n", "--namespace", help="The namespace of the pods; our own, or that of the kubeconfig, when left out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def status(invocation: Invocation, namespace: str | None, as_json: bool) -> None:
    """Show pods, their leases, what they hold and how fast they are.

    In a pod with a token, or with KUBECONFIG, it joins what the cluster says to the workers of the inventory; without a
    cluster it shows the workers alone. Those that ended within ten minutes are shown too.
    """
    from inventory import crew
    from k8s import pods

    settings = invocation.settings()
    with opened(settings.inventory) as database:
        workers = crew.workers(database, settings.worker.heartbeat_seconds)
    seen: list[Pod] = []
    trouble = None
    if namespace is not None or pods.is_near():
        try:
            seen = pods.listed(namespace)
        except (UsageError, Unavailable) as error:
            trouble = str(error)
    lines = joined(workers, seen)
    if as_json:
        click.echo(json.dumps({"cluster": trouble or ("asked" if seen else "none"), "pods": lines}))
        return
    for text in table(lines):
        click.echo(text)
    for line in lines:
        if line["held_back"] and line["lease"] in ("alive", "silent"):
            click.echo(
                f"{line['pod']} takes no work since {line['held_back_since']}: {' '.join(line['held_back'].split())}"
            )
    if trouble:
        click.echo(f"without the cluster: {trouble}", err=True)


def joined(workers: Iterable[Worker], pods: Iterable[Pod]) -> list[Line]:
    """A line a worker with what the cluster says of its pod, and one for each pod that has none. Null is: not known.

    A pod whose process was started again has one worker for each life; the cluster's words belong to the last one.
    """
    left = {pod.name: pod for pod in pods}
    lines = []
    for worker in sorted(workers, key=lambda one: -one.id):
        lines.append(_line(worker.kind, worker.pod, left.pop(worker.pod, None), worker))
    lines += [_line(pod.kind, pod.name, pod, None) for pod in left.values()]
    return sorted(lines, key=lambda line: (line["kind"], line["pod"], line["worker"] or 0))


def _line(kind: str, name: str, pod: Pod | None, worker: Worker | None) -> Line:
    phase = None
    if pod is not None:
        phase = "Terminating" if pod.leaving else pod.why or pod.phase
    return {
        "kind": kind,
        "pod": name,
        "phase": phase,
        "ready": pod.ready if pod else None,
        "restarts": pod.restarts if pod else None,
        "node": pod.node if pod else None,
        "worker": worker.id if worker else None,
        "version": worker.version if worker else None,
        "started_at": worker.started_at.isoformat() if worker else None,
        "lease": worker.lease if worker else None,
        "heard_seconds": round(worker.seconds, 1) if worker else None,
        "files_held": worker.files if worker else None,
        "directories_held": worker.directories if worker else None,
        "files_per_second": round(worker.files_per_second, 1) if worker else None,
        "bytes_per_second": round(worker.bytes_per_second) if worker else None,
        "held_back": worker.held_back if worker else None,
        "held_back_since": worker.held_back_since.isoformat() if worker and worker.held_back_since else None,
    }


def table(lines: Iterable[Line]) -> list[str]:
    """The lines as text in columns; what is not known is '-'."""
    rows = [tuple(name.upper() for name in COLUMNS)]
    for line in lines:
        rate = line["bytes_per_second"]
        cells = (
            line["kind"], line["pod"], line["phase"], _word(line["ready"]), line["restarts"], line["lease"],
            None if line["heard_seconds"] is None else f"{line['heard_seconds']:.0f} s ago", line["files_held"],
            line["directories_held"], line["files_per_second"], None if rate is None else f"{rate / 1e6:.1f}",
        )  # fmt: skip
        rows.append(tuple("-" if cell is None else str(cell) for cell in cells))
    widths = [max(len(row[n]) for row in rows) for n in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _word(ready: bool | None) -> str | None:
    return None if ready is None else "yes" if ready else "no"
