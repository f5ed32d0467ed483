"""The manifests render, fit the API of Kubernetes 1.32, keep the restricted profile, and refer to what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from sqlalchemy import text

from core.metrics import REGISTRY
from core.rules import Rule
from core.settings import ComputeSettings, IrodsSettings
from core.settings_file import load_settings
from inventory.compute import Task
from inventory.engine import Database
from k8s import manifest
from k8s.manifest import Placement
from tests.manifests.kustomize import Object, render, renderers

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "manifests" / "overlays").iterdir())
OURS = "irods-inventory-loader"
FOREIGN = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule"}
"""Kinds that operators bring; Kubernetes itself has no schema for them."""


@cache
def overlay(name: str) -> list[Object]:
    return render(K8S / "manifests" / "overlays" / name)


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [one for one in objects if one["kind"] in kinds]


def names(objects: list[Object], kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in of_kind(objects, kind)}


def templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Each pod template with the name of what makes the pods."""
    for one in of_kind(objects, "Deployment", "StatefulSet", "Job"):
        yield f"{one['kind']}/{one['metadata']['name']}", one["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@cache
def compute_job() -> Object:
    """The Job that the compute pod makes of a task."""
    rule = Rule.model_validate({"name": "each", "image": "example.org/filter:1"})
    task = Task(1, rule, "/z/home/a.csv", 1, "requested", "ic-each-0", 0, None, None, False)
    return manifest.job(
        task, Placement("object", None, {}), ComputeSettings(image="example.org/loader:1"), IrodsSettings()
    )


def in_order(objects: list[Object]) -> list[str]:
    return sorted(json.dumps(one, sort_keys=True) for one in objects)


def test_the_overlays_are_the_ones_that_are_promised() -> None:
    assert OVERLAYS == ["keda", "monitoring", "production", "s3", "sandbox"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_renders_to_valid_objects(name: str) -> None:
    for renderer in renderers():
        objects = renderer(K8S / "manifests" / "overlays" / name)
        assert in_order(objects) == in_order(overlay(name))
    for one in overlay(name):
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, "1.32", strict=True)
    keys = [(one["kind"], one["metadata"]["name"]) for one in overlay(name)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_keeps_the_restricted_profile(name: str) -> None:
    for owner, template in templates(overlay(name)):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, owner
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"}
        for container in containers(pod):
            rules = container["securityContext"]
            assert rules["allowPrivilegeEscalation"] is False, owner
            assert rules["capabilities"] == {"drop": ["ALL"]}
            assert rules["readOnlyRootFilesystem"] is True
            assert "hostPort" not in json.dumps(container)
    for namespace in of_kind(overlay(name), "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_says_what_it_needs_and_is_our_image(name: str) -> None:
    for owner, template in templates(overlay(name)):
        for container in containers(template["spec"]):
            assert OURS in container["image"], owner
            assert container["imagePullPolicy"] == "IfNotPresent"
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert isinstance(container["command"], list)


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_a_pod_refers_to_is_there(name: str) -> None:
    objects = overlay(name)
    made_by_people = {"inventory", "irods", "s3"} if name != "sandbox" else set()
    for owner, template in templates(objects):
        pod = template["spec"]
        account = pod.get("serviceAccountName")
        assert account is None or account in names(objects, "ServiceAccount"), owner
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for volume in volumes.values():
            if "configMap" in volume and not volume["configMap"].get("optional"):
                assert volume["configMap"]["name"] in names(objects, "ConfigMap")
            if "secret" in volume:
                assert volume["secret"]["secretName"] in names(objects, "Secret") | made_by_people
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in names(objects, "PersistentVolumeClaim")
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= set(volumes), owner
            for variable in container.get("env", []):
                for used in re.findall(r"\$\((\w+)_SERVICE_HOST\)", variable.get("value", "")):
                    assert used.lower() in names(objects, "Service")
                if source := variable.get("valueFrom", {}).get("configMapKeyRef"):
                    (config,) = [
                        one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == source["name"]
                    ]
                    assert source["key"] in config["data"]
    for binding in of_kind(objects, "RoleBinding"):
        assert binding["roleRef"]["name"] in names(objects, "Role")
        assert {subject["name"] for subject in binding["subjects"]} <= names(objects, "ServiceAccount")
    for claim in of_kind(objects, "PersistentVolumeClaim"):
        assert claim["spec"]["volumeName"] in names(objects, "PersistentVolume")


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_find_their_pods(name: str) -> None:
    objects = overlay(name)
    labels = [template["metadata"]["labels"] for _, template in templates(objects) if "metadata" in template]
    labels.append(compute_job()["spec"]["template"]["metadata"]["labels"])
    for one in of_kind(objects, "Deployment", "StatefulSet"):
        assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
    for one in of_kind(objects, "PodDisruptionBudget"):
        assert any(one["spec"]["selector"]["matchLabels"].items() <= found.items() for found in labels), one
    for one in of_kind(objects, "Service"):
        assert any(one["spec"]["selector"].items() <= found.items() for found in labels), one
    for one in of_kind(objects, "NetworkPolicy"):
        for wanted in one["spec"]["podSelector"]["matchExpressions"]:
            assert set(wanted["values"]) <= {found.get(wanted["key"]) for found in labels}, one["metadata"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_token_is_mounted_only_where_there_are_rights(name: str) -> None:
    objects = overlay(name)
    bound = {subject["name"] for one in of_kind(objects, "RoleBinding") for subject in one["subjects"]}
    for owner, template in templates(objects):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is (pod.get("serviceAccountName") in bound), owner
    assert all(one["automountServiceAccountToken"] is False for one in of_kind(objects, "ServiceAccount"))
    verbs = {verb for one in of_kind(objects, "Role") for rule in one["rules"] for verb in rule["verbs"]}
    assert verbs <= {"get", "list", "watch", "create", "delete"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_config_is_understood_and_the_pods_agree_with_it(name: str, tmp_path: Path) -> None:
    objects = overlay(name)
    (config,) = [one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == "ingest-config"]
    path = tmp_path / "config.yml"
    path.write_text(re.sub(r"^.*password_file.*$", "", config["data"]["config.yml"], flags=re.M))
    settings = load_settings(path, environ={})
    files = re.findall(r"password_file: (\S+)", config["data"]["config.yml"])
    assert files == ["/secrets/inventory/password", "/secrets/irods/password"]
    pods = 0
    for one in of_kind(objects, "Deployment"):
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        if container["command"][0] != "python":
            continue
        pods += 1
        assert pod["containers"][0]["env"][0]["name"] == "POD_NAME"
        assert pod["terminationGracePeriodSeconds"] > settings.worker.drain_seconds + 5
        (port,) = [port for port in container["ports"] if port["name"] == "metrics"]
        assert port["containerPort"] == settings.metrics.port
        for probe, way in (("startupProbe", "/livez"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
            assert container[probe]["httpGet"] == {"path": way, "port": "metrics"}
        assert pod["initContainers"][0]["command"][:3] == ["ingest", "inventory", "check"]
        # a scale must outlive the next apply
        assert "replicas" not in one["spec"]
    assert pods >= 3


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_jobs_of_compute_are_fenced_in(name: str) -> None:
    objects, job = overlay(name), compute_job()
    pod = job["spec"]["template"]
    assert pod["spec"]["serviceAccountName"] in names(objects, "ServiceAccount")
    bound = {subject["name"] for one in of_kind(objects, "RoleBinding") for subject in one["subjects"]}
    assert pod["spec"]["serviceAccountName"] not in bound
    (policy,) = [one["spec"] for one in of_kind(objects, "NetworkPolicy") if selects(one, pod["metadata"]["labels"])]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert policy["ingress"] == []
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 1247}


def selects(policy: Object, labels: dict[str, str]) -> bool:
    wanted = policy["spec"]["podSelector"]["matchExpressions"]
    return all(labels.get(one["key"]) in one["values"] for one in wanted)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_status_page_is_served_and_nobody_may_change_anything_without_the_token(name: str) -> None:
    objects = overlay(name)
    (web,) = [one for one in of_kind(objects, "Deployment") if one["metadata"]["name"] == "web"]
    pod = web["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (token,) = [one for one in container["env"] if one["name"] == "WEB_TOKEN"]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "web", "key": "token", "optional": True}}
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("web", False)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    command = container["command"]
    assert int(command[command.index("--port") + 1]) == ports["http"]
    (service,) = [one["spec"] for one in of_kind(objects, "Service") if one["metadata"]["name"] == "web"]
    assert service["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    for probe, way in (("startupProbe", "/livez"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert container[probe]["httpGet"] == {"path": way, "port": "http"}
    labels = web["spec"]["template"]["metadata"]["labels"]
    ways_in = [
        way
        for one in of_kind(objects, "NetworkPolicy")
        if selects(one, labels)
        for way in one["spec"].get("ingress", [])
    ]
    assert [[port["port"] for port in way["ports"]] for way in ways_in] == [[ports["http"]]]


def expressions() -> list[str]:
    rules = [
        rule["expr"]
        for one in of_kind(overlay("monitoring"), "PrometheusRule")
        for group in one["spec"]["groups"]
        for rule in group["rules"]
    ]
    charts = json.loads((K8S / "dashboards" / "ingest.json").read_text())["panels"]
    return rules + [target["expr"] for panel in charts for target in panel["targets"]]


def test_dashboards_and_alerts_use_metrics_and_labels_that_exist() -> None:
    known: dict[str, set[str]] = {}
    for family in REGISTRY.collect():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        metric = REGISTRY._names_to_collectors.get(family.name)
        labels = set(getattr(metric, "_labelnames", ()))
        known |= {f"{family.name}{ending}": labels for ending in endings}
    used: set[str] = set()
    for expression in expressions():
        found = set(re.findall(r"\bingest_\w+", expression)) - {"ingest_job"}
        assert found, expression
        assert found <= set(known), found - set(known)
        used |= found
    untold = {name.removesuffix("_bucket").removesuffix("_count") for name in known} - {
        name.removesuffix("_bucket").removesuffix("_count") for name in used
    }
    assert {name for name in untold if not name.endswith("_sum")} <= {
        "ingest_irods_feature", "ingest_loop_turned_timestamp_seconds",
    }  # fmt: skip


def test_the_alerts_are_the_ones_that_are_promised() -> None:
    (rules,) = of_kind(overlay("monitoring"), "PrometheusRule")
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]}
    assert alerts >= {
        "IngestStalled", "IngestDeadLetters", "IngestVerificationMismatch", "IngestBreakerOpen", "IngestInventoryBloat",
    }  # fmt: skip


def test_the_queries_of_keda_are_answered_by_the_schema(inventory_url: str) -> None:
    database = Database(inventory_url)
    queries = [
        trigger["metadata"]["query"]
        for one in of_kind(overlay("keda"), "ScaledObject")
        for trigger in one["spec"]["triggers"]
    ]
    try:
        assert len(queries) == 2
        for query in queries:
            with database.begin() as connection:
                assert connection.execute(text(query)).scalar_one() == 0
    finally:
        database.close()


def test_every_manifest_is_used() -> None:
    def reached(folder: Path) -> Iterator[Path]:
        recipe: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
        yield folder / "kustomization.yaml"
        entries = [*recipe.get("resources", []), *recipe.get("components", [])]
        entries += [patch["path"] for patch in recipe.get("patches", []) if "path" in patch]
        entries += [name for made in recipe.get("configMapGenerator", []) for name in made.get("files", [])]
        for entry in entries:
            path = (folder / entry).resolve()
            yield from reached(path) if path.is_dir() else [path]

    used = {path for name in OVERLAYS for path in reached(K8S / "manifests" / "overlays" / name)}
    assert used >= {path for path in (K8S / "manifests").rglob("*") if path.is_file()}
