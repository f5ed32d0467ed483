"""The Job controller: a pod for each Job, run as processes or by a test's word, and the conditions in their real order."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sandbox.kubernetes import answers, pods
from sandbox.kubernetes.answers import JOBS, PODS, SERVED, Json, Refused
from sandbox.kubernetes.processes import Image, PodProcesses
from sandbox.kubernetes.store import Store, now

_DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")
_BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")


class JobController:
    """Makes pods for Jobs. With `images` their containers run as local processes; without, `finish` says how one ended."""

    def __init__(self, store: Store, folder: Path, images: Mapping[str, Image] | None) -> None:
        self._store = store
        self._folder = folder
        self._images = images
        self._processes: dict[str, PodProcesses] = {}
        self._timers: list[threading.Timer] = []
        self._threads: list[threading.Thread] = []
        self._said: dict[tuple[str, str], str] = {}

    def begin(self, job: Json) -> None:
        """Start the pod of a new Job."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        template = job["spec"]["template"]
        pod = self._store.create(PODS, namespace, pods.new_pod("Job", "batch/v1", job, template, f"{name}-"))
        pod_name = pod["metadata"]["name"]
        self._store.change(PODS, namespace, pod_name, pods.begin)
        self._job_status(namespace, name, job["metadata"]["uid"], lambda status: _active(status))
        deadline = job["spec"].get("activeDeadlineSeconds")
        if deadline is not None:
            self._later(deadline, lambda: self._deadline(namespace, name, job["metadata"]["uid"]))
        if self._images is not None:
            self._start(job, pod)

    def _start(self, job: Json, pod: Json) -> None:
        namespace, pod_name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        folder = self._folder / pod["metadata"]["uid"]
        folder.mkdir(parents=True)
        processes = PodProcesses(
            pod, self._images or {}, folder, lambda plural, name: self._find(plural, namespace, name)
        )
        self._processes[pod_name] = processes

        def run() -> None:
            code = processes.run(lambda status: self._container(namespace, pod_name, status))
            if code is not None:
                self._ended(job, namespace, pod_name, code)

        thread = threading.Thread(target=run, name=f"pod {pod_name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def finish(self, namespace: str, name: str, exit_code: int = 0, *, container: str = "", log: str = "") -> None:
        """Say how the pod of a Job ended; `container` is the one that ended so, the last one when left out."""
        job = self._store.get(JOBS, namespace, name)
        (pod,) = [pod for pod in self.pods_of(namespace, job["metadata"]["uid"]) if pod["status"]["phase"] != "Failed"]
        for each in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]):
            last = each["name"] == container or (not container and each == pod["spec"]["containers"][-1])
            status = pods.terminated(each, exit_code if last else 0, now())
            self._container(namespace, pod["metadata"]["name"], status)
            if last:
                self._said[pod["metadata"]["name"], each["name"]] = log
                break
        self._ended(job, namespace, pod["metadata"]["name"], exit_code)

    def log(self, pod: Json, container: str) -> str:
        """What a container has written."""
        name = pod["metadata"]["name"]
        processes = self._processes.get(name)
        if processes is None:
            return self._said.get((name, container), "")
        file = processes.log_file(container)
        return file.read_text(errors="replace") if file.exists() else ""

    def pods_of(self, namespace: str, uid: str) -> list[Json]:
        """The pods that a Job owns."""
        return self._store.list(PODS, namespace, f"batch.kubernetes.io/controller-uid={uid}")

    def deleted(self, job: Json, policy: str) -> None:
        """A Job is gone: unless its pods are orphaned they go too."""
        if policy != "Orphan":
            for pod in self.pods_of(job["metadata"]["namespace"], job["metadata"]["uid"]):
                self._remove_pod(pod)

    def pod_deleted(self, pod: Json) -> None:
        """A pod is gone: its processes end, and a running Job without further tries fails, as an evicted pod's does."""
        self._kill(pod)
        owner: Json = next(iter(pod["metadata"].get("ownerReferences", [])), {})
        if owner.get("kind") == "Job" and pod["status"]["phase"] in ("Pending", "Running"):
            self._failed(pod["metadata"]["namespace"], owner["name"], owner["uid"], _BACKOFF)

    def stop(self) -> None:
        """End all processes and timers."""
        for timer in self._timers:
            timer.cancel()
        for processes in self._processes.values():
            processes.kill()
        for thread in self._threads:
            thread.join(timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _find(self, plural: str, namespace: str, name: str) -> Json | None:
        with suppress(Refused):
            return self._store.get(next(one for one in SERVED if one.plural == plural), namespace, name)
        return None

    def _container(self, namespace: str, pod: str, status: Json) -> None:
        def put(found: Json) -> None:
            pods.set_container(found, status)
            if "running" in status["state"] and status["name"] in {one["name"] for one in found["spec"]["containers"]}:
                found["status"]["phase"] = "Running"

        with suppress(Refused):
            self._store.change(PODS, namespace, pod, put)

    def _ended(self, job: Json, namespace: str, pod: str, exit_code: int) -> None:
        try:
            phase = "Succeeded" if exit_code == 0 else "Failed"
            found = self._store.change(PODS, namespace, pod, lambda found: found["status"].update(phase=phase))
        except Refused:
            return  # the pod was deleted meanwhile
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        if exit_code == 0:
            uids = {"succeeded": [found["metadata"]["uid"]]}
            self._job_status(namespace, name, uid, lambda status: _met(status, uids))
            self._job_status(namespace, name, uid, _completed)
            self._expire(job)
        else:
            self._failed(namespace, name, uid, _BACKOFF)

    def _failed(self, namespace: str, name: str, uid: str, why: tuple[str, str]) -> None:
        self._job_status(namespace, name, uid, lambda status: status.update(_done("FailureTarget", why)))
        self._job_status(namespace, name, uid, lambda status: _given_up(status, why))
        with suppress(Refused):
            self._expire(self._store.get(JOBS, namespace, name))

    def _expire(self, job: Json) -> None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is not None:
            self._later(seconds, lambda: self._remove_job(job))

    def _remove_job(self, job: Json) -> None:
        with suppress(Refused):
            found = self._store.get(JOBS, job["metadata"]["namespace"], job["metadata"]["name"])
            if found["metadata"]["uid"] == job["metadata"]["uid"]:
                self._store.delete(JOBS, job["metadata"]["namespace"], job["metadata"]["name"])
                self.deleted(job, "Background")

    def _deadline(self, namespace: str, name: str, uid: str) -> None:
        """The pods of a Job past its deadline are removed, and their logs with them."""
        with suppress(Refused):
            job = self._store.get(JOBS, namespace, name)
            if job["metadata"]["uid"] == uid and not _finished(job):
                for pod in self.pods_of(namespace, uid):
                    self._remove_pod(pod)
                self._failed(namespace, name, uid, _DEADLINE)

    def _remove_pod(self, pod: Json) -> None:
        with suppress(Refused):
            self._store.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._kill(pod)

    def _kill(self, pod: Json) -> None:
        processes = self._processes.get(pod["metadata"]["name"])
        if processes is not None:
            processes.kill()

    def _job_status(self, namespace: str, name: str, uid: str, how: object) -> None:
        def put(found: Json) -> None:
            if found["metadata"]["uid"] != uid:
                raise answers.not_found(JOBS, name)
            how(found["status"])  # type: ignore[operator]  # always one of this module's functions

        with suppress(Refused):
            self._store.change(JOBS, namespace, name, put)

    def _later(self, seconds: float, what: object) -> None:
        timer = threading.Timer(seconds, what)  # type: ignore[arg-type]  # a function without arguments
        timer.daemon = True
        self._timers.append(timer)
        timer.start()


def _finished(job: Json) -> bool:
    return any(one["type"] in ("Complete", "Failed") for one in job["status"].get("conditions", []))


def _active(status: Json) -> None:
    status.update(startTime=now(), active=1, terminating=0, uncountedTerminatedPods={}, ready=0)


def _condition(kind: str, why: tuple[str, str]) -> Json:
    stamp = now()
    return {
        "type": kind,
        "status": "True",
        "lastProbeTime": stamp,
        "lastTransitionTime": stamp,
        "reason": why[0],
        "message": why[1],
    }


def _done(kind: str, why: tuple[str, str]) -> Json:
    return {"conditions": [_condition(kind, why)]}


def _met(status: Json, uncounted: Json) -> None:
    status.pop("active", None)
    status.update(_done("SuccessCriteriaMet", _REACHED), terminating=0, uncountedTerminatedPods=uncounted, ready=0)


def _completed(status: Json) -> None:
    status["conditions"].append(_condition("Complete", _REACHED))
    status.update(completionTime=now(), succeeded=1, terminating=0, uncountedTerminatedPods={}, ready=0)


def _given_up(status: Json, why: tuple[str, str]) -> None:
    status.pop("active", None)
    status["conditions"].append(_condition("Failed", why))
    status.update(failed=status.get("failed", 0) + 1, terminating=0, uncountedTerminatedPods={}, ready=0)
