"""The part of kustomize that our manifests use, for machines without kubectl; a key that it does not know is an error.

`test_manifests` compares it with `kubectl kustomize` where there is one.
"""

from __future__ import annotations

import base64
import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
KEYS = {
    "apiVersion", "kind", "namespace", "resources", "components", "labels", "images", "patches",
    "configMapGenerator", "secretGenerator", "generatorOptions",
}  # fmt: skip
CLUSTER_WIDE = {"Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding"}
WITH_TEMPLATE = {"Deployment", "StatefulSet", "Job"}


def by_kubectl(folder: Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder."""
    text = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(text))


def renderers() -> list[Any]:
    """Ours, and kubectl's where there is one."""
    return [render, by_kubectl] if shutil.which("kubectl") else [render]


def render(folder: Path) -> list[Object]:
    """All objects of a kustomization, in no particular order."""
    return list(_kustomized(folder, []))


def _kustomized(folder: Path, objects: list[Object]) -> list[Object]:
    recipe = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(recipe) <= KEYS, f"{folder}: {set(recipe) - KEYS}"
    objects = objects + [one for name in recipe.get("resources", []) for one in _resource(folder, name)]
    for kind, generator in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
        for entry in recipe.get(generator, []):
            made = _generated(folder, kind, entry, recipe["generatorOptions"])
            if entry.get("behavior") == "replace":
                (old,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, entry["name"])]
                objects.remove(old)
                made["metadata"] = old["metadata"] | made["metadata"]
            objects.append(made)
    for name in recipe.get("components", []):
        objects = _kustomized((folder / name).resolve(), objects)
    for patch in recipe.get("patches", []):
        operations = yaml.safe_load(patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text())
        for one in objects:
            if _is_target(one, patch["target"]):
                for operation in operations:
                    _apply(one, operation)
    for one in objects:
        if (namespace := recipe.get("namespace")) is not None:
            _put_into(one, namespace)
        for entry in recipe.get("labels", []):
            assert entry["includeSelectors"]
            _label(one, entry["pairs"])
        for image in recipe.get("images", []):
            _name_images(one, image)
    return objects


def _resource(folder: Path, name: str) -> Iterator[Object]:
    path = (folder / name).resolve()
    if path.is_dir():
        yield from _kustomized(path, [])
    else:
        yield from (one for one in yaml.safe_load_all(path.read_text()) if one)


def _generated(folder: Path, kind: str, entry: Object, options: Object) -> Object:
    assert options["disableNameSuffixHash"]
    data = dict(literal.split("=", 1) for literal in entry.get("literals", []))
    data |= {Path(name).name: (folder / name).read_text() for name in entry.get("files", [])}
    one: Object = {"apiVersion": "v1", "kind": kind, "metadata": {"name": entry["name"]}}
    if "labels" in options:
        one["metadata"]["labels"] = dict(options["labels"])
    if kind == "Secret":
        data = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        one["type"] = "Opaque"
    return one | {"data": data}


def _is_target(one: Object, target: Object) -> bool:
    if one["kind"] != target["kind"] or not re.fullmatch(target.get("name", ".*"), one["metadata"]["name"]):
        return False
    wanted = dict(part.split("=") for part in target.get("labelSelector", "").split(",") if part)
    return wanted.items() <= one["metadata"].get("labels", {}).items()


def _apply(one: Object, operation: Object) -> None:
    *way, last = operation["path"].removeprefix("/").split("/")
    place: Any = one
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    value = copy.deepcopy(operation["value"])
    if isinstance(place, list):
        assert operation["op"] == "add"
        assert last == "-"
        place.append(value)
    else:
        assert operation["op"] == "add" or last in place
        place[last] = value


def _put_into(one: Object, namespace: str) -> None:
    if one["kind"] not in CLUSTER_WIDE:
        one["metadata"]["namespace"] = namespace
    if one["kind"] == "Namespace":
        one["metadata"]["name"] = namespace
    for subject in one.get("subjects", []):
        # kustomize touches only accounts that it renders itself; all of ours are
        subject["namespace"] = namespace


def _label(one: Object, pairs: dict[str, str]) -> None:
    one["metadata"].setdefault("labels", {}).update(pairs)
    spec = one.get("spec", {})
    if one["kind"] in WITH_TEMPLATE:
        spec["template"].setdefault("metadata", {}).setdefault("labels", {}).update(pairs)
        for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
            spread["labelSelector"]["matchLabels"].update(pairs)
    if one["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        spec["selector"]["matchLabels"].update(pairs)
    if one["kind"] == "Service":
        spec["selector"].update(pairs)
    if one["kind"] == "NetworkPolicy" and "matchLabels" in spec["podSelector"]:
        spec["podSelector"]["matchLabels"].update(pairs)


def _name_images(one: Object, image: Object) -> None:
    if one["kind"] not in WITH_TEMPLATE:
        return
    pod = one["spec"]["template"]["spec"]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        if container["image"].rsplit(":", 1)[0] == image["name"]:
            container["image"] = f"{image['newName']}:{image['newTag']}"
