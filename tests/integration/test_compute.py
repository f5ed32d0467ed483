"""Compute tasks in the inventory, and one look at a task: who is asked for, what is counted, and when it is looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import UsageError
from core.irods import ComputeGateway
from core.outcome import Done
from core.rules import Rule
from core.settings import ComputeSettings, IrodsSettings, Settings
from core.sources.base import Entry
from inventory import compute, compute_queries
from inventory.claims import ClaimedFile, Result
from inventory.compute import Failure, Progress, Task
from inventory.compute_requests import request_older
from k8s import manifest
from k8s.cluster import Cluster
from k8s.manifest import STAGE_IN, Placement
from k8s.reconcile import MAX_OUTAGES, look
from sandbox.kubernetes import KubernetesServer
from tests.integration.inventory_world import World

OURS = "example.org/loader:1"


def rule(name: str = "each", **more: object) -> Rule:
    return Rule.model_validate({"name": name, "image": "example.org/filter:1", **more})


def verify(world: World, *names: str, directory: str = "") -> None:
    world.scan([Entry(name, "f", 1, 1_700_000_000_000_000) for name in names], directory)
    loader, verifier = world.worker(), world.worker("verifier")
    world.finish(loader, [_done(file) for file in world.claim(loader)])
    world.finish(verifier, [_done(file) for file in world.claim(verifier, "verify")], "verify")


def _done(file: ClaimedFile) -> Result:
    return Result(file, Done(checksum="sha2:x"))


def asked(world: World, rule: str) -> int:
    return sum(request_older(world.database, rule, [world.job]))


def found(world: World, rule: str) -> dict[str, tuple[str, str]]:
    lines = compute_queries.tasks(world.database, rule=rule)
    return {line.input: (line.state, line.k8s_job) for line in lines}


def test_what_was_verified_before_the_rule_gets_its_task_once(world: World) -> None:
    verify(world, "a.csv", "b.csv", "c.txt")
    compute.set_rules(world.database, [(rule(match="*.csv"), "config.yml")])
    assert found(world, "each") == {}
    assert asked(world, "each") == 2
    first = found(world, "each")
    assert set(first) == {"/tempZone/home/rods/a.csv", "/tempZone/home/rods/b.csv"}
    assert {state for state, _ in first.values()} == {"requested"}
    assert asked(world, "each") == 0
    assert (
        world.one("SELECT detail ->> 'tasks' FROM inventory.event WHERE kind = 'compute_requested' ORDER BY id LIMIT 1")
        == "2"
    )
    # whoever asks, it is the same task
    world.execute("DELETE FROM inventory.compute_job")
    world.execute("UPDATE inventory.file SET state = 'verified', verified_before_at = NULL")
    assert found(world, "each") == first


def test_a_page_ends_anywhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from inventory import compute_requests

    monkeypatch.setattr(compute_requests, "PAGE_FILES", 3)
    verify(world, *(f"{n}.csv" for n in range(10)))
    compute.set_rules(world.database, [(rule(), "config.yml")])
    assert list(request_older(world.database, "each", [world.job])) == [3, 3, 3, 1]


def test_a_collection_that_was_complete_before_gets_its_task_once(world: World) -> None:
    verify(world, "a.csv")
    compute.set_rules(world.database, [(rule("whole", trigger="collection", match="**"), "config.yml")])
    assert asked(world, "whole") == 1
    assert asked(world, "whole") == 0
    assert compute.release_complete(world.database) == 1
    ((input, (state, _)),) = found(world, "whole").items()
    assert (input, state) == ("/tempZone/home/rods", "requested")


def test_a_request_names_a_rule_in_force_that_does_not_look_by_itself(world: World) -> None:
    with pytest.raises(UsageError, match="no rule 'each' is in force"):
        asked(world, "each")
    wanted = rule(trigger="avu", avu={"attribute": "wanted"})
    compute.set_rules(world.database, [(wanted, "config.yml"), (rule("other", job="another"), "config.yml")])
    with pytest.raises(UsageError, match="by itself"):
        asked(world, "each")
    verify(world, "a.csv")
    assert asked(world, "other") == 0


def claimed(world: World, worker: int) -> Task:
    (task,) = compute.claim(world.database, worker, 10, 10)
    return task


def test_jobs_that_find_irods_away_wait_longer_each_time_and_then_count(world: World) -> None:
    verify(world, "a.csv")
    compute.set_rules(world.database, [(rule(retries=0), "config.yml")])
    asked(world, "each")
    worker = world.worker("compute")
    for number in range(3):
        task = claimed(world, worker)
        assert (task.outages, task.attempts) == (number, 0)
        assert compute.advance(world.database, worker, task, Progress("requested", 60, message="away", outage=True))
        # not even the cluster's word brings it forward
        assert compute.look_now(world.database, {task.job_name}) == 0
        assert compute.claim(world.database, worker, 10, 10) == []
        world.execute("UPDATE inventory.compute_job SET check_at = now()")
    task = claimed(world, worker)
    assert (
        compute.fail(world.database, worker, task, Failure("stage_in", "away", exit_code=75, log="away\n"), 60)
        == "dead"
    )
    (line,) = compute_queries.tasks(world.database)
    assert (line.attempts, line.error, line.log) == (1, "stage_in", "away\n")
    compute.retry(world.database, [line.id], None)
    assert claimed(world, worker).outages == 0


@pytest.mark.parametrize("end", ["succeeded", "dead"])
def test_a_replica_that_another_task_reads_is_handed_over_to_it(world: World, end: str) -> None:
    verify(world, "a.csv", "b.csv")
    near = rule("near", resource_role="FAST", trim=True)
    compute.set_rules(
        world.database,
        [
            (one, "config.yml")
            for one in (near, rule("also", resource_role="FAST", trim=True), rule("far", resource_role="SLOW"))
        ],
    )
    for name in ("near", "also", "far"):
        asked(world, name)
    worker = world.worker("compute")
    tasks = {(task.rule.name, task.input[-5:]): task for task in compute.claim(world.database, worker, 10, 10)}
    assert {key for key, task in tasks.items() if task.replica_shared} == {
        ("near", "a.csv"), ("near", "b.csv"), ("also", "a.csv"), ("also", "b.csv"),
    }  # fmt: skip
    first = tasks["near", "a.csv"]
    assert compute.advance(world.database, worker, first, Progress("submitted", resource="fast", replica_made=True))
    (first,) = compute.claim(world.database, worker, 10, 10)
    assert (first.replica_made, first.replica_shared) == (True, True)
    if end == "dead":
        assert compute.fail(world.database, worker, first, Failure("exit_code", "3", permanent=True), 60) == "dead"
    else:
        assert compute.advance(world.database, worker, first, Progress("succeeded"))
    assert compute.advance(world.database, worker, tasks["also", "a.csv"], Progress("submitted"))
    (last,) = compute.claim(world.database, worker, 10, 10)
    assert (last.rule.name, last.replica_made, last.replica_shared) == ("also", True, False)
    assert last.resource == "fast"


def test_a_replica_on_another_resource_is_nobody_elses(world: World) -> None:
    verify(world, "a.csv")
    rules = [rule(name, resource_role="FAST", trim=True) for name in ("one", "two")]
    compute.set_rules(world.database, [(one, "config.yml") for one in rules])
    for one in rules:
        asked(world, one.name)
    worker = world.worker("compute")
    first, second = compute.claim(world.database, worker, 10, 10)
    assert compute.advance(world.database, worker, first, Progress("requested", resource="a", replica_made=True))
    assert compute.advance(world.database, worker, second, Progress("requested", resource="b"))
    tasks = {task.id: task for task in compute.claim(world.database, worker, 10, 10)}
    assert [task.replica_shared for task in tasks.values()] == [False, False]
    why = Failure("exit_code", "3", permanent=True, trimmed=True)
    assert compute.fail(world.database, worker, tasks[first.id], why, 60) == "dead"
    assert compute.retry(world.database, [first.id], None) == 1
    (again,) = compute.claim(world.database, worker, 10, 10)
    assert (again.id, again.replica_made, again.resource) == (first.id, False, None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KubernetesServer]:
    with KubernetesServer(tmp_path / "kubernetes") as running:
        yield running


@pytest.mark.parametrize("outages", [0, 3, MAX_OUTAGES])
def test_staging_without_irods_is_done_again_later_until_it_is_a_failure(
    server: KubernetesServer, outages: int, worlds: Callable[..., World]
) -> None:
    compute_settings = ComputeSettings(kubeconfig=server.kubeconfig, namespace="ingest", image=OURS)
    settings = Settings(compute=compute_settings)
    task = Task(
        1, rule(), "/z/home/a.csv", 1, "submitted", "ic-each-0", 0, "/z/home/a.each", None, False, outages=outages
    )
    with Cluster(compute_settings) as cluster, ComputeGateway(IrodsSettings(password=SecretStr("x"))) as never_asked:
        cluster.create_job(manifest.job(task, Placement("object", None, {}), compute_settings, settings.irods))
        server.jobs.finish("ingest", task.job_name, 75, container=STAGE_IN, log="stage in: no route to host\n")
        result = look(task, cluster, never_asked, never_asked, settings)
        left = cluster.job(task.job_name)
    if outages < MAX_OUTAGES:
        assert result == Progress(
            "requested", 2.0 * 2**outages, message="iRODS was away while it was staged", outage=True
        )
        assert left is None
    else:
        assert isinstance(result, Failure)
        assert (result.error, result.exit_code, result.log) == ("stage_in", 75, "stage in: no route to host\n")
        assert result.message.endswith("exit code 75: stage in: no route to host")


def test_jobs_run_the_image_of_the_pod_itself_unless_another_is_named(
    server: KubernetesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ComputeSettings(kubeconfig=server.kubeconfig, namespace="ingest")
    monkeypatch.delenv("POD_NAME", raising=False)
    with pytest.raises(UsageError, match=r"compute\.image is not set"):
        Cluster(settings)
    task = Task(1, rule(), "/z/home/a.csv", 1, "requested", "ic-each-0", 0, None, None, False)
    named = settings.model_copy(update={"image": OURS})
    with Cluster(named) as cluster:
        cluster.create_job(manifest.job(task, Placement("object", None, {}), named, IrodsSettings()))
        pod = cluster.pod(task.job_name)
    assert pod is not None
    monkeypatch.setenv("POD_NAME", pod.name)
    with Cluster(settings) as cluster:
        home = cluster.own_pod()
        assert home is not None
        assert home.image == OURS
        body = manifest.job(task, Placement("object", None, {}), settings, IrodsSettings(), home)
    assert {one["image"] for one in body["spec"]["template"]["spec"]["containers"]} == {OURS}
