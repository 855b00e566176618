"""Jobs on a Ray cluster: one that runs already, or one that is started on this machine.

A job is a task without retries, since what to repeat is the queue's decision. All nodes see the
same home folder, or have their own and share a store (`harness.launch.through_store`); what a
training saved there is where the next attempt goes on, on any node.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import ray

from harness.errors import BenchError, ProtocolError
from harness.launch.executor import Report, withdrawn
from harness.launch.executors import Place
from harness.launch.jobs import Ending, Job, Resources, State, Update
from harness.launch.remote import remote_attempt, surroundings
from harness.launch.through_store import brought_home

AHEAD = 2  # tasks in Ray's hands for each CPU: enough to keep it busy, few enough to wait for
NEWS_EVERY_S = 1.0
GIB = 2**30
# What another node may have: images, a published file that this one cannot fetch.
OF_THE_NODE = ("DataError", "CheckpointUnavailable", "NotACheckpoint", "HashMismatch")
NODE_ID = "ray.io/node-id"  # a label that Ray gives to every node


class News:
    """An actor that keeps the last that was said of each running job."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, Any]] = {}

    def tell(self, update: dict[str, Any]) -> None:
        self._last[update["key"]] = update

    def heard(self) -> list[dict[str, Any]]:
        last, self._last = self._last, {}
        return list(last.values())


def on_node(work: str, job: dict[str, Any], news: Any) -> dict[str, Any]:
    """The task: one attempt, and the node that made it; news go to the actor."""
    node = ray.get_runtime_context().get_node_id()
    place = f"node {node[:8]}"

    def report(update: Update) -> None:
        news.tell.remote(asdict(update) | {"place": place})

    return {"node": node, "ending": remote_attempt(work, job, place, report)}


class RayCluster:
    """An executor over Ray. address: of a cluster; None: $RAY_ADDRESS, else one is started here."""

    name = "ray"

    def __init__(self, work: str, address: str | None = None) -> None:
        address = address or os.environ.get("RAY_ADDRESS")
        self._work = work
        self._started = not ray.is_initialized()
        if self._started:
            _connect(address)
        actor = ray.remote(num_cpus=0, max_restarts=-1)(News)
        self._news = actor.options(runtime_env={"env_vars": surroundings(shared=False)}).remote()
        self._task = ray.remote(max_retries=0)(on_node)
        self._waiting: deque[Job] = deque()
        self._running: dict[Any, Job] = {}  # by the reference of its task
        self._unfit: dict[str, set[str]] = {}  # key -> nodes that lack what the job needs
        self._cancelled: set[str] = set()
        self._ended: dict[str, Ending] = {}
        self._asked = 0.0

    def submit(self, job: Job) -> None:
        if not _nodes_for(job):
            nodes = [_said(node["Resources"]) for node in ray.nodes() if node["Alive"]]
            raise ProtocolError(
                f"{job.name} asks for {job.resources}, and no node has that: {'; '.join(nodes)}. "
                "Ask for less: --cpus, --gpus, --memory"
            )
        self._waiting.append(job)

    def poll(self, report: Report, timeout_s: float) -> list[str]:
        self._start()
        self._hear(report)
        if self._running:
            pending = list(self._running)
            wait = 0.0 if self._ended else timeout_s
            ready, _ = ray.wait(pending, num_returns=1, timeout=wait)
            if ready:  # and whatever else has ended by now
                ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
            for reference in ready:
                job = self._running.pop(reference)
                self._ended[job.key] = self._ending(job, reference)
            self._start()
        return list(self._ended)

    def collect(self, key: str) -> Ending:
        self._cancelled.discard(key)
        return self._ended.pop(key)

    def cancel(self, key: str) -> None:
        for reference, job in self._running.items():
            if job.key == key:
                self._cancelled.add(key)
                ray.cancel(reference)  # Ctrl-C in its process: a training saves
                return
        if withdrawn(self._waiting, key):
            self._ended[key] = Ending(key, "preempted")

    def close(self) -> None:
        self._waiting.clear()
        for reference in self._running:
            ray.cancel(reference, force=True)
        self._running.clear()
        ray.kill(self._news)
        if self._started:
            ray.shutdown()

    def _start(self) -> None:
        """Hand tasks to Ray, so many that every CPU has its next one."""
        if not self._waiting:
            return
        room = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(self._running)
        while self._waiting and room > 0:
            job = self._waiting.popleft()
            task = self._task.options(**self._options(job))
            self._running[task.remote(self._work, asdict(job), self._news)] = job
            room -= 1

    def _options(self, job: Job) -> dict[str, Any]:
        """What Ray is told about a task: its needs, its surroundings, nodes that it cannot use."""
        needs, unfit = job.resources, self._unfit.get(job.key)
        return {
            "num_cpus": needs.cpus,
            "num_gpus": needs.gpus,
            "memory": int(needs.memory_gib * GIB),
            "name": job.name,
            "runtime_env": {"env_vars": surroundings(shared="store" not in job.where)},
            **({"label_selector": {NODE_ID: f"!in({','.join(sorted(unfit))})"}} if unfit else {}),
        }

    def _hear(self, report: Report) -> None:
        if time.monotonic() - self._asked < NEWS_EVERY_S:
            return
        self._asked = time.monotonic()
        try:
            for update in ray.get(self._news.heard.remote(), timeout=NEWS_EVERY_S):
                report(Update(**update))
        except (ray.exceptions.RayError, TimeoutError):
            pass  # its node died; Ray starts it again, and news are only news

    def _ending(self, job: Job, reference: Any) -> Ending:
        key = job.key
        try:
            answer = ray.get(reference)
            return self._judged(job, Ending(**answer["ending"]), answer["node"])
        except ray.exceptions.TaskCancelledError:
            return Ending(key, "preempted")
        except ray.exceptions.RayTaskError as error:  # before the attempt, such as an import
            return Ending(key, "failed", None, "RayTaskError", str(error.cause or error))
        except ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else ""
            state: State = "preempted" if key in self._cancelled else "lost"
            return Ending(key, state, None, "", f"{type(error).__name__}: {first}")

    def _judged(self, job: Job, ending: Ending, node: str) -> Ending:
        """What a node said: taken home from the store, or to be asked of another node."""
        if ending.state == "done" and "store" in job.where:
            try:
                brought_home(ending, job.where["store"])
            except BenchError as error:
                return replace(ending, state="failed", error="DataError", reason=str(error))
        if ending.state != "failed" or ending.error not in OF_THE_NODE:
            return ending
        unfit = self._unfit.setdefault(job.key, set())
        unfit.add(node)
        if _nodes_for(job) <= unfit:  # everywhere the same; a later attempt may ask all again
            unfit.clear()
            return ending
        return replace(ending, state="elsewhere")


def ray_cluster(place: Place) -> RayCluster:
    """The executor for the options of a Place."""
    return RayCluster(place.work, place.options.get("address"))


def _connect(address: str | None) -> None:
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address is None else None,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ProtocolError(
            f"no Ray cluster at {address or 'this machine'}: {first}. Is it up? ray status. Does "
            "it want a token, as `ray start` makes one? Set RAY_AUTH_MODE=token. Or name another "
            "with --address, or none to start one here"
        ) from error


def _nodes_for(job: Job) -> set[str]:
    """Ids of the nodes that could run the job."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return {node["NodeID"] for node in nodes if _has_room(node, job.resources)}


def _has_room(node: Mapping[str, Any], needs: Resources) -> bool:
    has = node["Resources"]
    return (
        has.get("CPU", 0) >= needs.cpus
        and has.get("GPU", 0) >= needs.gpus
        and has.get("memory", 0) >= needs.memory_gib * GIB
    )


def _said(has: Mapping[str, float]) -> str:
    memory = has.get("memory", 0) / GIB
    return f"{has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs, {memory:.1f} GiB"
