"""Compute to data from end to end: files are verified, Jobs run over them, and their outputs are in iRODS.

The cluster is the stand-in, which runs the containers of a Job as local processes.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from irods.session import iRODSSession

from core.irods import AVU, ComputeGateway
from inventory import compute_queries
from inventory.compute_queries import TaskLine
from sandbox.kubernetes import Image, KubernetesServer
from tests.e2e.world import PROJECT, World, eventually

LOWPASS = PROJECT / "k8s" / "examples" / "lowpass"
OURS = "localhost/irods-inventory-loader"


def signal_text(fast: float = 0.5) -> str:
    """Ten seconds of 1 Hz with 30 Hz on top."""
    rows = (
        f"{n / 100},{math.sin(2 * math.pi * n / 100) + fast * math.sin(2 * math.pi * 30 * n / 100):.6f}"
        for n in range(1000)
    )
    return "seconds,value\n" + "\n".join(rows) + "\n"


@pytest.fixture
def cluster(tmp_path: Path, world: World) -> Iterator[KubernetesServer]:
    """A cluster that knows our image, the example's, and one that does what a shell is told; with the Secret for iRODS."""
    images = {
        OURS: Image(environment={"PYTHONPATH": str(PROJECT)}, programs={"python": sys.executable}),
        "localhost/lowpass:1": Image(entrypoint=[sys.executable, str(LOWPASS / "lowpass.py")]),
        "shell": Image(entrypoint=["sh"]),
    }
    with KubernetesServer(tmp_path / "kubernetes", images=images) as running:
        file = Path(world.environment["IRODS_ENVIRONMENT_FILE"])
        password = world.environment.get("IRODS_PASSWORD") or "rods"
        keys = {"password": password.encode(), "irods_environment.json": file.read_bytes()}
        data = {key: base64.b64encode(value).decode() for key, value in keys.items()}
        secrets = next(one for one in running_resources() if one.plural == "secrets")
        running.store.create(secrets, "ingest", {"metadata": {"name": "irods"}, "data": data})
        world.environment["INGEST_COMPUTE__KUBECONFIG"] = str(running.kubeconfig)
        world.environment["INGEST_COMPUTE__IMAGE"] = OURS
        world.environment["INGEST_COMPUTE__RECONCILE_SECONDS"] = "1"
        world.environment["INGEST_COMPUTE__RULES_SECONDS"] = "0.5"
        yield running


def running_resources() -> tuple[object, ...]:
    from sandbox.kubernetes.answers import SERVED

    return SERVED


def give_rules(world: World, *rules: dict[str, object]) -> None:
    world.environment["INGEST_COMPUTE__RULES"] = json.dumps(rules)


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that no mount of a container hides: /tmp is one."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


def start_all(world: World) -> None:
    """All pods; the rules are in force before there is anything to verify."""
    world.start("k8s")
    eventually(lambda: f"rules in force: {world.log_tails()}", lambda: compute_queries.rules(world.database))
    world.start("watcher", "loader", "verifier")


def tasks(world: World, state: str, count: int, rule: str | None = None) -> list[TaskLine]:
    """So many tasks in a state, waited for."""

    def found() -> list[TaskLine]:
        lines = compute_queries.tasks(world.database, rule=rule, states=[state])
        return lines if len(lines) >= count else []

    def why() -> str:
        return f"{count} {state}: {compute_queries.tasks(world.database)}\n{world.log_tails()}"

    return eventually(why, found)  # type: ignore[no-any-return]


def text_of(session: iRODSSession, path: str) -> str:
    with session.data_objects.open(path, "r") as file:
        return file.read().decode()


def test_the_example_filters_what_was_ingested(world: World, cluster: KubernetesServer, source: Path) -> None:
    import yaml

    (source / "run 1").mkdir()
    (source / "run 1" / "a$(HOME) é.signal.csv").write_text(signal_text())
    (source / "run 1" / "notes.txt").write_text("not a signal\n")
    rule = yaml.safe_load((LOWPASS / "rule.yml").read_text())["rules"][0]
    give_rules(world, rule)
    start_all(world)
    world.start_job(source)
    (line,) = tasks(world, "succeeded", 1)
    world.stop()
    assert line.input == f"{world.target}/run 1/a$(HOME) é.signal.csv"
    assert line.output == f"{world.target}/run 1/a$(HOME) é.signal.lowpass"
    assert line.exit_code == 0
    assert len(compute_queries.tasks(world.database)) == 1
    with world.irods() as session:
        rows = text_of(session, f"{line.output}/a$(HOME) é.signal.filtered.csv").splitlines()[1:]
        report = text_of(session, f"{line.output}/report.html")
    worst = max(
        abs(float(value) - math.sin(2 * math.pi * float(seconds)))
        for seconds, value in (row.split(",") for row in rows[100:900])
    )
    assert worst < 0.01
    assert report.count('<img alt="plot" src="data:image/png;base64,') == 3
    with ComputeGateway(world.settings.irods) as gateway:
        metadata = gateway.collection_metadata(line.output or "")
    assert [avu for avu in metadata if avu.attribute != "compute::image_digest"] == [
        AVU("compute::exit_code", "0"),
        AVU("compute::image", "localhost/lowpass:1"),
        AVU("compute::input", line.input),
        AVU("compute::rule", "lowpass"),
        AVU("compute::task", line.k8s_job.rpartition("-")[0]),
    ]
    assert [avu.value for avu in metadata if avu.attribute == "compute::image_digest"] == [line.image_digest]


def test_a_failing_job_ends_dead_with_its_last_words_and_can_be_tried_again(
    world: World, cluster: KubernetesServer, source: Path, outside: Path
) -> None:
    (source / "a.txt").write_text("a\n")
    good = outside / "good"
    program = f'test -e {good} && cp "$$COMPUTE_INPUT" out.txt && exit 0; echo first; echo last words >&2; exit 3'
    give_rules(
        world,
        {
            "name": "picky",
            "image": "shell",
            "args": ["-c", program],
            "retries": 1,
            "retry_seconds": 0.2,
            "output": "${COLLECTION}/out",
        },
    )
    start_all(world)
    world.start_job(source)
    (line,) = tasks(world, "dead", 1)
    assert (line.attempts, line.exit_code, line.error) == (2, 3, "exit_code")
    assert line.message == "container compute ended with exit code 3: last words"
    assert line.log == "first\nlast words\n"
    good.touch()
    listed = world.ingest("compute", "list", "--state", "dead")
    assert "picky" in listed.stdout and "last words" in listed.stdout, listed
    done = world.ingest("compute", "retry", "--rule", "picky")
    assert done.stdout == "1 task is tried again\n", done
    tasks(world, "succeeded", 1)
    world.stop()
    with world.irods() as session:
        assert text_of(session, f"{world.target}/out/out.txt") == "a\n"


def test_a_collection_waits_for_all_its_files_and_a_deleted_job_is_made_again(
    world: World, cluster: KubernetesServer, source: Path, outside: Path
) -> None:
    (source / "set" / "deep").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "deep/c.txt"):
        (source / "set" / name).write_text(f"{name}\n")
    go = outside / "go"
    wait = f"echo begun >> {outside}/begun; until test -e {go}; do sleep 0.05; done"
    program = f'{wait}; cd /inputs && cat *.txt > "$$COMPUTE_OUTPUTS/all"'
    give_rules(
        world,
        {
            "name": "join",
            "trigger": "collection",
            "match": "set",
            "image": "shell",
            "args": ["-c", program],
            "output": "${LOGICAL_PATH}.joined",
        },
    )
    start_all(world)
    world.start_job(source)
    (line,) = tasks(world, "running", 1)
    begun = outside / "begun"
    eventually("the job has begun", begun.exists)
    from kubernetes import client, config

    config.load_kube_config(str(cluster.kubeconfig), client_configuration=(configuration := client.Configuration()))
    with client.ApiClient(configuration) as api:
        client.BatchV1Api(api).delete_namespaced_job(line.k8s_job, "ingest", propagation_policy="Background")
    eventually("it has begun again", lambda: len(begun.read_text().splitlines()) == 2)
    go.touch()
    (line,) = tasks(world, "succeeded", 1)
    world.stop()
    assert (line.input, line.attempts) == (f"{world.target}/set", 0)
    with world.irods() as session:
        assert text_of(session, f"{world.target}/set.joined/all") == "a.txt\nb.txt\n"


@pytest.mark.skipif("IRODS_ENVIRONMENT_FILE" in os.environ, reason="makes resources beside the sandbox's own vault")
def test_the_input_is_replicated_to_the_resource_of_its_role_and_trimmed(
    world: World, cluster: KubernetesServer, source: Path, tmp_path: Path
) -> None:
    with world.irods() as session:
        session.resources.create("fast", "unixfilesystem", "localhost", str(tmp_path / "fast"))
        session.resources.get("fast").metadata.add("COMPUTE_RESOURCE_ROLE", "SIGNAL")
        session.resources.get("fast").metadata.add("compute::node_selector", "disk=fast")
        session.users.create("carol", "rodsuser")
    (source / "a.txt").write_text("a\n")
    rules = f"""
- name: denied
  owner: carol
  image: shell
  match: '*.txt'
- name: near
  trigger: avu
  avu: {{attribute: wanted, value: 'yes'}}
  image: shell
  resource_role: SIGNAL
  trim: true
  args: [-c, 'echo "$$COMPUTE_RESOURCE" > where']
  output: {world.target}/results/${{NAME}}
- name: hopeless
  trigger: avu
  avu: {{attribute: hopeless}}
  image: shell
  resource_role: SIGNAL
  trim: true
  retries: 0
  args: [-c, 'exit 3']
  output: {world.target}/nothing
"""
    path = f"{world.target}/rules.yml"
    with ComputeGateway(world.settings.irods) as gateway:
        gateway.make_collections(world.target)
        data = rules.encode()
        from core.checksums import checksum_of

        gateway.put_bytes(
            path,
            b"- name: x\n  image: [",
            checksum=checksum_of(b"- name: x\n  image: ["),
            resource=None,
            overwrite=True,
        )
        world.environment["INGEST_COMPUTE__RULES_OBJECT"] = path
        world.start("k8s")
        eventually("the bad rules are refused in one line", lambda: "rules_refused" in world.log_tails())
        assert f"{path}:2: not YAML" in world.log_tails()
        gateway.put_bytes(path, data, checksum=checksum_of(data), resource=None, overwrite=True)
        eventually("the rules are in force", lambda: len(compute_queries.rules(world.database)) == 3)
        world.start("watcher", "loader", "verifier")
        world.start_job(source)
        (denied,) = tasks(world, "dead", 1, "denied")
        assert denied.error == "no_access"
        assert denied.message is not None and "carol#tempZone may not read" in denied.message
        gateway.annotate(f"{world.target}/a.txt", metadata=[AVU("wanted", "yes")])
        (line,) = tasks(world, "succeeded", 1, "near")
        assert line.resource == "fast"
        job = cluster.store.list(next(one for one in running_resources() if one.plural == "jobs"), "ingest")[0]
        assert job["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "fast"}
        assert [row.root for row in gateway.replicas(f"{world.target}/a.txt")] == ["demoResc"]
        assert b"".join(gateway.read(f"{world.target}/results/a.txt/where")) == b"fast\n"
        gateway.annotate(f"{world.target}/a.txt", metadata=[AVU("hopeless", "yes")])
        (line,) = tasks(world, "dead", 1, "hopeless")
        assert (line.resource, line.exit_code) == ("fast", 3)
        assert [row.root for row in gateway.replicas(f"{world.target}/a.txt")] == ["demoResc"]
    world.stop()
    assert len(compute_queries.tasks(world.database)) == 3
    said = [line for log in world.logs.glob("k8s*.log") for line in log.read_text().splitlines() if "no_access" in line]
    assert len(said) == 1, said
