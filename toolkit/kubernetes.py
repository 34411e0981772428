"""An artifact to Kubernetes manifests, with the figures that were measured for it.

Deployment, Service, PodDisruptionBudget and HorizontalPodAutoscaler for the image of the Dockerfile.
Requests and limits come from the report in the artifact's evidence, as far as it speaks of this very
artifact; what was never measured is a stated default, and the head of the manifest says so.

No preStop hook: on SIGTERM the server stops being ready, finishes its work and then ends, and the
grace period is longer than that can take. Scaling follows the requests that wait (toolkit_queue_depth):
the processor is as busy just below capacity as far above it.

Limits: the gauge reaches the autoscaler only through a metrics adapter (prometheus-adapter, KEDA), and
memory was measured with one row, so the limit leaves room for large batches rather than bounding them.
Sources: Kubernetes API reference (apps/v1, policy/v1, autoscaling/v2), the restricted profile of its
Pod Security Standards.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from toolkit.artifact import EVIDENCE, Artifact
from toolkit.errors import InputError, require
from toolkit.serving.keys import KEYS_VARIABLE
from toolkit.serving.settings import Settings, variable
from toolkit.staging import staged, write_atomically

Manifest = dict[str, Any]
PORT, USER = 3000, 10001
MIB = 1 << 20
KEYS_FOLDER = "/run/secrets/toolkit"
# BentoML, uvicorn and the metrics in a worker, beside what the model takes
SERVER_BYTES = 160 * MIB
UNMEASURED_BYTES = 1024 * MIB
UNMEASURED_SECONDS = 10.0
DRAIN_MARGIN_SECONDS = 15
WAIT_MS = 50.0  # the wait in the queue at which another replica is wanted
QUEUE_METRIC = "toolkit_queue_depth"
_IMAGE = re.compile(
    r"([a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]+)?/)*[a-z0-9]+([._-]+[a-z0-9]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_SECRET = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Measured:
    """Of this artifact, from its report: peak bytes, cold load in seconds, mean ms a row; None where never measured."""

    memory_bytes: int | None = None
    load_seconds: float | None = None
    mean_ms: float | None = None
    threads: int | None = None

    def missing(self) -> list[str]:
        """Names of what was never measured."""
        return [field.name for field in fields(self) if getattr(self, field.name) is None]


def read_measured(artifact: Artifact) -> Measured:
    """What the report in evidence/ says of this very artifact; nothing when it speaks of another."""
    try:
        report = json.loads((artifact.folder / EVIDENCE / "report.json").read_bytes())
    except (OSError, ValueError):
        return Measured()
    if not isinstance(report, dict) or report.get("digest") != artifact.digest:
        return Measured()
    threads = _number(report, "runtime", "threads")
    memory = _number(report, "footprint", "peak_bytes")
    load = _number(report, "footprint", "cold_load_ms")
    return Measured(
        memory_bytes=int(memory) if memory else None,
        load_seconds=load / 1e3 if load else None,
        mean_ms=_number(report, "latency", "mean_ms"),
        threads=int(threads) if threads and threads >= 1 else None,
    )


def make_manifests(
    artifact: Artifact, *, image: str, settings: Settings | None = None, replicas: tuple[int, int] = (2, 10),
    secret: str | None = None,
) -> list[Manifest]:  # fmt: skip
    """The four manifests, in the order in which they are applied.

    `settings` are those to serve under; None takes the measured threads and defaults. `replicas` are
    the fewest and the most; `secret` names a Secret whose entry `keys` is the file of API keys that
    `toolkit key` writes. Raises `InputError` for an image, a secret or replicas that Kubernetes would not take.
    """
    if len(image) > 512 or not _IMAGE.fullmatch(image):
        raise InputError(f"{image!r} is no name of an image; use REGISTRY/NAME:TAG, the name in lower case")
    if secret is not None and not _SECRET.fullmatch(secret):
        raise InputError(f"{secret!r} is no name of a Secret; use a-z, 0-9, '.' and '-', at most 253")
    low, high = replicas
    if not 1 <= low <= high:
        raise InputError(f"{low} to {high} replicas cannot be; the fewest is at least 1 and not above the most")
    measured = read_measured(artifact)
    settings = settings or Settings(threads=measured.threads or 1)
    name = resource_name(artifact.name)
    chosen = {"app.kubernetes.io/name": name}
    labels = {**chosen, "app.kubernetes.io/version": artifact.digest[:12], "app.kubernetes.io/component": "inference"}
    metadata = {"name": name, "labels": labels}
    container = _container(image, settings, measured, secret)
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": grace_seconds(settings),
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }  # fmt: skip
    if secret is not None:
        pod["volumes"].append({"name": "keys", "secret": {"secretName": secret, "defaultMode": 0o440}})
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {
            # no replicas here: the autoscaler owns them, and applying again must not undo it
            "selector": {"matchLabels": chosen},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels, "annotations": _annotations(artifact)},
                "spec": pod,
            },
        },
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"selector": chosen, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }  # fmt: skip
    budget = {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": chosen}},
    }  # fmt: skip
    metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": QUEUE_METRIC},
            "target": {"type": "AverageValue", "averageValue": str(queue_target(settings, measured))},
        },
    }
    autoscaler = {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": low, "maxReplicas": high, "metrics": [metric],
        },
    }  # fmt: skip
    return [deployment, service, budget, autoscaler]


def write_manifests(manifests: Sequence[Manifest], out: Path, *, head: str, force: bool = False) -> list[Path]:
    """Write one .yaml file, or a folder with a file for each; returns what was written.

    Raises `InputError` when `out` exists, unless `force`.
    """
    yaml = require("yaml", extra="serve")
    texts = [yaml.safe_dump(json.loads(json.dumps(manifest)), sort_keys=False) for manifest in manifests]
    if out.suffix in (".yaml", ".yml"):
        if out.is_dir() or (out.exists() and not force):
            raise InputError(f"{out} exists already; choose another, or add --force to replace it")
        write_atomically(out, (head + "---\n".join(texts)).encode())
        return [out]
    names = [f"{manifest['kind'].lower()}.yaml" for manifest in manifests]
    with staged(out, key="kubernetes", force=force) as partial:
        for name, text in zip(names, texts, strict=True):
            (partial / name).write_text(head + text)
    return [out / name for name in names]


def describe_origin(artifact: Artifact, settings: Settings | None = None) -> str:
    """The head of the manifests: lines of comment that say what was measured and what is a default."""
    measured = read_measured(artifact)
    settings = settings or Settings(threads=measured.threads or 1)
    # json.dumps leaves no line break that could end the comment
    lines = [
        f"made by toolkit package for the artifact {json.dumps(artifact.name)}, digest {artifact.digest}",
        f"memory: {_mib(measured.memory_bytes)} measured at its peak, and {_mib(SERVER_BYTES)} for the server around it"
        if measured.memory_bytes
        else f"memory was NEVER MEASURED for this artifact: {_mib(UNMEASURED_BYTES)} is a default; run toolkit bench",
        f"threads: {settings.threads}" + ("" if measured.threads else ", a default: no report of this artifact says"),
        f"queue: {queue_target(settings, measured)} waiting on average calls for another replica, "
        + (f"from {measured.mean_ms:.3g} ms a row" if measured.mean_ms else "a default: latency was never measured"),
        f"{QUEUE_METRIC} needs a metrics adapter (prometheus-adapter or KEDA) that reads /metrics of the pods",
    ]
    return "".join(f"# {line}\n" for line in lines)


def resource_name(name: str) -> str:
    """The nearest name that every kind of resource takes: RFC 1035 label, at most 52 characters."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"model-{plain}"
    return plain[:52].strip("-")


def grace_seconds(settings: Settings) -> int:
    """Longer than the drain and a request that came at its last moment: its head, body, answer and sending."""
    request = settings.header_seconds + settings.body_seconds + settings.timeout_seconds + settings.send_seconds
    return math.ceil(settings.drain_seconds + request) + DRAIN_MARGIN_SECONDS


def queue_target(settings: Settings, measured: Measured) -> int:
    """Requests waiting in a pod at which another is wanted: 50 ms of work, at most half of the queue."""
    most = max(1, settings.queue // 2)
    if not measured.mean_ms:
        return max(1, settings.queue // 8)
    return max(1, min(most, round(WAIT_MS * settings.concurrency / measured.mean_ms)))


def _container(image: str, settings: Settings, measured: Measured, secret: str | None) -> Manifest:
    used = measured.memory_bytes + SERVER_BYTES if measured.memory_bytes else UNMEASURED_BYTES
    cores = settings.threads * settings.concurrency
    load = measured.load_seconds or UNMEASURED_SECONDS
    container: Manifest = {
        "name": "serve",
        "image": image,
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": variable(key), "value": str(value)} for key, value in settings.to_json().items()],
        "resources": {
            # one core more than the runs use: the event loop must not be throttled by them
            "requests": {"cpu": str(cores), "memory": _mib(used)},
            "limits": {"cpu": str(cores + 1), "memory": _mib(2 * used)},
        },
        # ten times what loading took where it was measured, and never less than a minute
        "startupProbe": _probe("/readyz", period=2, failures=max(30, math.ceil(10 * load / 2))),
        "readinessProbe": _probe("/readyz", period=5, failures=1),
        "livenessProbe": _probe("/livez", period=10, failures=3),
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
    if secret is not None:
        container["env"].append({"name": KEYS_VARIABLE, "value": f"{KEYS_FOLDER}/keys"})
        container["volumeMounts"].append({"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True})
    return container


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period, "timeoutSeconds": 2, "failureThreshold": failures,
    }  # fmt: skip


def _annotations(artifact: Artifact) -> dict[str, str]:
    return {
        "prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": str(PORT),
        "serving-toolkit/artifact": artifact.name, "serving-toolkit/digest": artifact.digest,
    }  # fmt: skip


def _mib(size: float | None) -> str:
    """Bytes as Kubernetes writes them, rounded up."""
    return f"{math.ceil((size or 0) / MIB)}Mi"


def _number(document: Mapping[str, Any], *path: str) -> float | None:
    """The positive finite number at `path`; a report is evidence, not a contract, so it may hold anything."""
    found: Any = document
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    good = isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < 1e15
    return float(found) if good else None
