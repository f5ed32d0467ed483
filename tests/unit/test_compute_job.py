"""The Job of a compute task as Kubernetes is given it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from core.errors import Permanent
from core.rules import Rule
from core.settings import ComputeSettings, IrodsSettings
from inventory.compute import Task
from k8s import manifest
from k8s.cluster import OwnPod
from k8s.manifest import Placement

EXAMPLE = Path(__file__).parents[2] / "k8s" / "examples" / "lowpass" / "rule.yml"
SETTINGS = ComputeSettings(image="example.org/loader@sha256:0")
IRODS = IrodsSettings(host="irods.example.org", user="ingest", zone="z", password_file=Path("/somewhere"))
OBJECT = Placement("object", None, {})


def task(input: str = "/z/home/run 1/a.signal.csv", **changes: object) -> Task:
    told = yaml.safe_load(EXAMPLE.read_text())["rules"][0]
    rule = Rule.model_validate({**told, **changes})
    return Task(1, rule, input, 3, "requested", "ic-lowpass-0123", 2, None, None, False)


def made(
    one: Task, place: Placement = OBJECT, settings: ComputeSettings = SETTINGS, home: OwnPod | None = None
) -> dict[str, Any]:
    body = manifest.job(one, place, settings, IRODS, home)
    kubernetes_validate.validate(body, "1.32", strict=True)
    return body


def containers(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    pod = body["spec"]["template"]["spec"]
    return {one["name"]: one for one in (*pod["initContainers"], *pod["containers"])}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


def test_the_job_is_the_same_whoever_makes_it_and_named_by_its_attempt() -> None:
    body = made(task())
    assert body == made(task())
    assert body["metadata"]["name"] == "ic-lowpass-0123-2"
    assert body["metadata"]["annotations"]["ingest/attempt"] == "3"
    assert body["spec"]["backoffLimit"] == 0
    assert body["spec"]["activeDeadlineSeconds"] == 600
    # a drained node counts nothing
    assert [one["action"] for one in body["spec"]["podFailurePolicy"]["rules"]] == ["Ignore"]


def test_it_stages_computes_and_stages_one_after_the_other() -> None:
    body = made(task())
    pod = body["spec"]["template"]["spec"]
    assert [one["name"] for one in pod["initContainers"]] == ["stage-in", "compute"]
    assert [one["name"] for one in pod["containers"]] == ["stage-out"]
    each = containers(body)
    assert {each[name]["image"] for name in ("stage-in", "stage-out")} == {"example.org/loader@sha256:0"}
    assert each["compute"]["image"] == "localhost/lowpass:1"
    assert each["compute"]["args"] == ["/inputs/a.signal.csv", "/outputs", "--cutoff", "5", "--order", "4"]
    assert environment(each["stage-out"])["COMPUTE_OUTPUT"] == "/z/home/run 1/a.signal.lowpass"
    assert each["compute"]["resources"]["limits"] == {"memory": "512Mi"}


def test_its_pod_finds_and_pulls_what_the_pod_that_makes_it_does() -> None:
    aliases = {"ip": "192.0.2.7", "hostnames": ["irods.example.org"]}
    home = OwnPod("example.org/loader:2", (aliases,), ("registry",))
    pod = made(task(), settings=ComputeSettings(), home=home)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "example.org/loader:2"
    assert pod["hostAliases"] == [aliases]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    # another image for staging is no other place in the network
    pod = made(task(), home=home)["spec"]["template"]["spec"]
    assert (pod["containers"][0]["image"], pod["hostAliases"]) == (SETTINGS.image, [aliases])


def test_its_pod_has_no_rights_and_fits_the_restricted_profile() -> None:
    body = made(task())
    pod = body["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "compute-job"
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in containers(body).values():
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip


@pytest.mark.parametrize("volume", [None, {"claim": "shared", "path": "/vault"}])
def test_only_the_staging_containers_see_the_secret(volume: object) -> None:
    each = containers(made(task(volume=volume), Placement("object", None, {}, "home/a.signal.csv")))
    for name, one in each.items():
        mounts = {mount["name"] for mount in one["volumeMounts"]}
        assert ("irods" in mounts) is (name != "compute")
        assert ("INGEST_IRODS__PASSWORD_FILE" in environment(one)) is (name != "compute")
    assert "somewhere" not in json.dumps(each)
    inputs = [mount for mount in each["compute"]["volumeMounts"] if mount["mountPath"].startswith("/inputs")]
    assert [mount["readOnly"] for mount in inputs] == [True]


def test_names_of_files_are_words_and_never_expanded() -> None:
    name = "$(HOME) $HOME `id` ${X}:é.signal.csv"
    compute = containers(made(task(f"/z/home/{name}")))["compute"]
    # Kubernetes takes $$ for a dollar
    assert compute["args"][0] == "/inputs/" + name.replace("$", "$$").replace(":", "_")
    assert environment(compute)["COMPUTE_NAME"] == name.replace("$", "$$")
    assert all(mount["mountPath"].count(":") == 0 for mount in compute["volumeMounts"])


def test_a_shared_volume_is_mounted_where_input_and_output_lie() -> None:
    place = Placement("collection", "fastResc", {"disk": "fast"}, "home/run 1")
    body = made(
        task("/z/home/run 1", volume={"claim": "shared", "path": "/vault", "outputs": "made"}, output="/z/out"), place
    )
    each = containers(body)
    mounts = {mount["mountPath"]: mount for mount in each["compute"]["volumeMounts"] if mount["name"] == "volume"}
    assert mounts["/inputs"] == {"name": "volume", "mountPath": "/inputs", "subPath": "home/run 1", "readOnly": True}
    assert mounts["/outputs"]["subPath"] == "made/ic-lowpass-0123-2"
    told = environment(each["stage-out"])
    assert told["COMPUTE_PHYSICAL"] == "/vault/made/ic-lowpass-0123-2"
    assert told["COMPUTE_RESOURCE"] == "fastResc"
    pod = body["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert {"name": "volume", "persistentVolumeClaim": {"claimName": "shared"}} in pod["volumes"]


def test_the_owner_is_whom_the_staging_logs_in_for() -> None:
    told = environment(containers(made(task(owner="alice#other")))["stage-in"])
    assert told["INGEST_IRODS__USER"] == "ingest"
    assert (told["INGEST_IRODS__CLIENT_USER"], told["INGEST_IRODS__CLIENT_ZONE"]) == ("alice", "other")


def test_an_output_that_leads_out_of_its_collection_is_refused() -> None:
    with pytest.raises(Permanent):
        manifest.output_collection(task(output="${COLLECTION}/../x"), OBJECT)
