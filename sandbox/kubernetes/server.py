"""The HTTP side of the stand-in: paths, verbs, watches, logs, and a kubeconfig to reach it by."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import yaml

from sandbox.kubernetes import answers, defaults, deployments
from sandbox.kubernetes.answers import DEPLOYMENTS, JOBS, NAMESPACES, PODS, SERVED, Json, Refused, Resource
from sandbox.kubernetes.jobs import JobController
from sandbox.kubernetes.patches import patched
from sandbox.kubernetes.processes import Image
from sandbox.kubernetes.store import Event, Store

TOKEN = "sandbox"
USER = "system:serviceaccount:default:ingest"
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Target:
    """What a path names."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    sub: str = ""


def parse(path: str) -> Target:
    """The target of a path such as /apis/batch/v1/namespaces/ingest/jobs/name/status. Raises `Refused` (404)."""
    parts = path.strip("/").split("/")
    group, version = ("", parts[1:2]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[2:3])
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    found = [one for one in SERVED if rest and (one.group, [one.version], one.plural) == (group, version, rest[0])]
    if parts[0] not in ("api", "apis") or not found or len(rest) > 3:
        raise answers.unknown_path()
    return Target(found[0], namespace, *rest[1:3])


class KubernetesServer:
    """A cluster on a free port of this machine, with the namespaces `default` and those given.

    With `images` the Jobs' containers run as local processes; without, `jobs.finish` says how they ended.
    """

    def __init__(
        self, folder: Path, *, namespaces: tuple[str, ...] = ("ingest",), images: Mapping[str, Image] | None = None
    ) -> None:
        self.store = Store()
        self.jobs = JobController(self.store, folder / "pods", images)
        self.forbidden: set[tuple[str, str]] = set()
        """Pairs such as ("create", "jobs") that the user may not do."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of all requests so far."""
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder
        self._namespace = namespaces[0] if namespaces else "default"
        self._port = 0
        self._server: _Server | None = None
        for name in ("default", *namespaces):
            self.store.create(NAMESPACES, "", {"metadata": {"name": name}, "status": {"phase": "Active"}})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.jobs.stop()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer from now on; after `stop` on the same port, with all that was there."""
        cluster = self

        class Handler(_Handler):
            server_cluster = cluster

        self._server = _Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.write_text(yaml.safe_dump(self._config()))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="kubernetes", daemon=True).start()

    def stop(self) -> None:
        """Be away: refuse connections and break those there are."""
        if self._server is not None:
            self._server.shutdown()
            self._server.break_connections()
            self._server.server_close()
            self._server = None

    @property
    def stopped(self) -> bool:
        """Whether it is away."""
        return self._server is None

    def _config(self) -> Json:
        context = {"cluster": "sandbox", "user": "sandbox", "namespace": self._namespace}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": {"server": self.url}}],
            "users": [{"name": "sandbox", "user": {"token": TOKEN}}],
            "contexts": [{"name": "sandbox", "context": context}],
            "current-context": "sandbox",
        }

    def answer(self, method: str, target: Target, query: Mapping[str, str], body: Any, kind: str) -> tuple[int, Json]:
        """One request that is no watch and no log. Raises `Refused`."""
        verb = _VERBS[method]
        if method == "GET" and not target.name:
            verb = "list"
        if (verb, target.resource.plural + (f"/{target.sub}" if target.sub else "")) in self.forbidden:
            raise answers.forbidden(USER, verb, target.resource, target.name, target.namespace)
        match method, target:
            case "GET", Target(name=""):
                return 200, self._list(target, query)
            case "GET", Target(sub="scale"):
                return 200, defaults.scale_of(self._get(target))
            case "GET", _:
                return 200, self._shown(target.resource, self._get(target))
            case "POST", Target(name=""):
                return 201, self._create(target, body)
            case "DELETE", Target(sub=""):
                return 200, self._delete(
                    target, (body or {}).get("propagationPolicy") or query.get("propagationPolicy")
                )
            case (("PUT" | "PATCH"), Target(sub="scale")):
                return 200, self._scale(target, body, kind if method == "PATCH" else "")
            case (("PUT" | "PATCH"), _):
                return 200, self._change(target, body, kind if method == "PATCH" else "")
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})

    def _get(self, target: Target) -> Json:
        return self.store.get(target.resource, target.namespace, target.name)

    def _shown(self, resource: Resource, item: Json) -> Json:
        return {"kind": resource.kind, "apiVersion": resource.api_version, **item}

    def _list(self, target: Target, query: Mapping[str, str]) -> Json:
        items = self.store.list(target.resource, target.namespace, query.get("labelSelector", ""))
        field = dict(
            part.split("=", 1) for part in query.get("fieldSelector", "").replace("==", "=").split(",") if "=" in part
        )
        if "metadata.name" in field:
            items = [item for item in items if item["metadata"]["name"] == field["metadata.name"]]
        if "status.phase" in field:
            items = [item for item in items if item["status"].get("phase") == field["status.phase"]]
        meta: Json = {"resourceVersion": str(self.store.version)}
        begin, limit = int(query.get("continue") or 0), int(query.get("limit") or 0)
        if limit and len(items) > begin + limit:
            meta |= {"continue": str(begin + limit), "remainingItemCount": len(items) - begin - limit}
        chosen = items[begin : begin + limit] if limit else items[begin:]
        kind = f"{target.resource.kind}List"
        return {"kind": kind, "apiVersion": target.resource.api_version, "metadata": meta, "items": chosen}

    def _create(self, target: Target, body: Json) -> Json:
        checked = {"jobs": defaults.job, "deployments": defaults.deployment}.get(
            target.resource.plural, lambda item: item
        )
        made = self.store.create(target.resource, target.namespace, _bare(checked(body)))
        if target.resource == JOBS:
            self.jobs.begin(made)
        if target.resource == DEPLOYMENTS:
            deployments.settle(self.store, target.namespace, made["metadata"]["name"])
        return self._shown(target.resource, made)

    def _delete(self, target: Target, policy: str | None) -> Json:
        gone = self.store.delete(target.resource, target.namespace, target.name)
        if target.resource == JOBS:
            self.jobs.deleted(gone, policy or "Orphan")
        if target.resource == PODS:
            self.jobs.pod_deleted(gone)
            for one in self.store.list(DEPLOYMENTS, target.namespace):
                deployments.settle(self.store, target.namespace, one["metadata"]["name"])
            return self._shown(PODS, gone)
        if target.resource == DEPLOYMENTS:
            for pod in deployments.pods_of(self.store, gone):
                self.store.delete(PODS, target.namespace, pod["metadata"]["name"])
        group = {"group": target.resource.group} if target.resource.group else {}
        details = {"name": target.name, **group, "kind": target.resource.plural, "uid": gone["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _scale(self, target: Target, body: Any, kind: str) -> Json:
        def put(found: Json) -> None:
            scale = patched(defaults.scale_of(found), body, kind)
            if not kind:
                _same_version(target, found, body)
            wanted = defaults.check_scale(target.name, scale["spec"]["replicas"])
            if wanted != found["spec"]["replicas"]:
                found["spec"]["replicas"] = wanted
                found["metadata"]["generation"] += 1

        changed = self.store.change(target.resource, target.namespace, target.name, put)
        deployments.settle(self.store, target.namespace, target.name)
        return defaults.scale_of(changed)

    def _change(self, target: Target, body: Any, kind: str) -> Json:
        def put(found: Json) -> None:
            if not kind:
                _same_version(target, found, body)
            after = _bare(patched(found, body, kind))
            if after.get("spec") != found.get("spec"):
                after["metadata"]["generation"] = found["metadata"]["generation"] + 1
            found.clear()
            found.update(after)

        changed = self.store.change(target.resource, target.namespace, target.name, put)
        if target.resource == DEPLOYMENTS:
            deployments.settle(self.store, target.namespace, target.name)
        return self._shown(target.resource, changed)


def _bare(body: Json) -> Json:
    return {key: value for key, value in body.items() if key not in ("kind", "apiVersion")}


def _same_version(target: Target, found: Json, body: Json) -> None:
    asked = body.get("metadata", {}).get("resourceVersion")
    if asked and asked != found["metadata"]["resourceVersion"]:
        raise answers.conflict(target.resource, target.name)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[Any] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        """Cut what is open, as a server that dies does."""
        for request in list(self._open):
            with suppress(OSError):
                request.shutdown(2)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_cluster: KubernetesServer

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests have no use for it."""

    def _serve(self, method: str) -> None:
        where = urlsplit(self.path)
        query = dict(parse_qsl(where.query, keep_blank_values=True))
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server_cluster.requests.append((method, where.path))
        try:
            if where.path == "/version":
                self._json(200, {"major": "1", "minor": "32", "gitVersion": "v1.32.13+sandbox"})
                return
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise answers.unauthorized()
            target = parse(where.path)
            if query.get("watch") in ("1", "true", "True"):
                self._watch(target, query)
            elif target.resource == PODS and target.sub == "log":
                self._log(target, query)
            else:
                body = json.loads(raw) if raw else None
                self._json(
                    *self.server_cluster.answer(method, target, query, body, self.headers.get("Content-Type", ""))
                )
        except Refused as refused:
            self._json(refused.code, refused.body)

    def _json(self, status: int, body: Json) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _log(self, target: Target, query: Mapping[str, str]) -> None:
        cluster = self.server_cluster
        if ("get", "pods/log") in cluster.forbidden:
            raise answers.forbidden(USER, "get", PODS, target.name, target.namespace)
        pod = cluster.store.get(PODS, target.namespace, target.name)
        main = [one["name"] for one in pod["spec"]["containers"]]
        initial = [one["name"] for one in pod["spec"].get("initContainers", [])]
        name = query.get("container") or (main[0] if len(main) == 1 else "")
        if not name:
            raise answers.bad_request(
                f"a container name must be specified for pod {target.name}, choose one of: [{' '.join(main)}]"
                + (f" or one of the init containers: [{' '.join(initial)}]" if initial else "")
            )
        if name not in main + initial:
            raise answers.bad_request(f"container {name} is not valid for pod {target.name}")
        field = "initContainerStatuses" if name in initial else "containerStatuses"
        for status in pod["status"].get(field, []):
            if status["name"] == name and "waiting" in status["state"]:
                why = status["state"]["waiting"]["reason"]
                raise answers.bad_request(f'container "{name}" in pod "{target.name}" is waiting to start: {why}')
        text = cluster.jobs.log(pod, name)
        if "tailLines" in query:
            text = "".join(text.splitlines(keepends=True)[-int(query["tailLines"]) :])
        data = text.encode()
        self._send(200, data[: int(query["limitBytes"])] if "limitBytes" in query else data, "text/plain")

    def _watch(self, target: Target, query: Mapping[str, str]) -> None:
        cluster = self.server_cluster
        if ("watch", target.resource.plural) in cluster.forbidden:
            raise answers.forbidden(USER, "watch", target.resource, "", target.namespace)
        since = int(query.get("resourceVersion") or 0) or cluster.store.version
        seconds = float(query.get("timeoutSeconds") or 30)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        stream = cluster.store.watch(target.resource, target.namespace, query.get("labelSelector", ""), since, seconds)
        for event in stream:
            if isinstance(event, Event):
                self._line({"type": event.type, "object": event.object})
                since = event.version
            else:
                self._line({"type": "ERROR", "object": event})
            if cluster.stopped:
                return
        if query.get("allowWatchBookmarks") in ("true", "True", "1"):
            meta = {"resourceVersion": str(cluster.store.version), "creationTimestamp": None}
            kind = {"kind": target.resource.kind, "apiVersion": target.resource.api_version}
            self._line({"type": "BOOKMARK", "object": {**kind, "metadata": meta}})
        self.wfile.write(b"0\r\n\r\n")

    def _line(self, event: Json) -> None:
        data = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()
