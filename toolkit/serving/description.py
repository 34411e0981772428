"""What is said about the model: /v1/model, from its contract, its lineage and its evidence.

Evidence is outside the digest, so it is shown only as far as it says which digest it speaks of.
"""

from __future__ import annotations

import json
from typing import Any

from toolkit import __version__
from toolkit.artifact import EVIDENCE, Artifact
from toolkit.serving.served import Served

REPORT = "report.json"
MAX_EVIDENCE_BYTES = 1 << 20


def describe(served: Served) -> dict[str, Any]:
    """Name, version, digests, labels, lineage, runtime, settings, and the evidence where there is any.

    For a cascade also its router, and each member with a lineage of its own.
    """
    return {
        **served.identity,
        "task": served.spec.task,
        "labels": list(served.spec.labels),
        **_model(served.artifact),
        **_cascade(served.artifact),
        "files": {path: entry["sha256"] for path, entry in served.artifact.files.items()},
        "runtime": served.predictor.runner.facts(),
        "settings": served.settings.to_json(),
        "batching": served.batching.to_json(),
        **({"deployment": served.deployment()} if served.deployment else {}),
        "toolkit": __version__,
        "evidence": evidence(served),
    }


def _model(artifact: Artifact) -> dict[str, Any]:
    """What a member of a cascade says of itself as any other model does."""
    core = artifact.core
    return {
        "format": core.format,
        "precision": core.precision,
        "temperature": core.temperature,
        "size_bytes": artifact.size_bytes,
        "lineage": {
            "steps": [step.to_json() for step in core.steps],
            "parent": core.parent,
            "split": core.split.to_json() if core.split else None,
        },
    }


def _cascade(artifact: Artifact) -> dict[str, Any]:
    router = artifact.core.router
    if router is None:
        return {}
    members = {name: {"name": m.name, "digest": m.digest, **_model(m)} for name, m in artifact.members.items()}
    return {"router": router.to_json(), "members": members}


def evidence(served: Served) -> dict[str, Any] | None:
    """The report in evidence/, None when there is none that can be read."""
    path = served.artifact.folder / EVIDENCE / REPORT
    try:
        if path.stat().st_size > MAX_EVIDENCE_BYTES:
            return None
        report = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None
