"""What `artifact.json` says of an artifact: contract, steps, split, architecture, temperature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.lineage import SplitRecord, Step, split_from_json, steps_from_json
from toolkit.routing import MEMBERS, Router
from toolkit.spec import Spec

SCHEMA_VERSION = 1
CASCADE = "cascade"
FORMATS = ("onnx", "safetensors", CASCADE)
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8", "int4", "mixed")


@dataclass(frozen=True)
class Core:
    """Everything in `artifact.json` but the hashes of the files.

    `net` is the architecture (kind and sizes) of a network of ours, so that weights alone rebuild it.
    A cascade has a `router` and `members`, the digest of each by name; no other artifact has either.
    """

    name: str
    format: str
    spec: Spec
    steps: tuple[Step, ...] = ()
    parent: str | None = None
    split: SplitRecord | None = None
    temperature: float = 1.0
    precision: str = "fp32"
    net: Mapping[str, Any] | None = None
    models: tuple[str, ...] = ("model.onnx",)
    router: Router | None = None
    members: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; canonical once `files` and `schema_version` are added."""
        value = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "format": self.format,
            "spec": self.spec.to_json(),
            "steps": [step.to_json() for step in self.steps],
            "parent": self.parent,
            "split": self.split.to_json() if self.split else None,
            "temperature": self.temperature,
            "precision": self.precision,
            "net": dict(self.net) if self.net else None,
            "models": list(self.models),
        }
        if self.router is None:
            return value
        return {**value, "router": self.router.to_json(), "members": dict(self.members)}


def core_from_json(value: Mapping[str, Any]) -> Core:
    """The inverse of `Core.to_json`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    if value["format"] not in FORMATS or value["precision"] not in PRECISIONS:
        raise ValueError(f"format {value['format']!r} or precision {value['precision']!r} is unknown")
    if not 0.0 < float(value["temperature"]) < float("inf"):
        raise ValueError(f"temperature {value['temperature']!r} is not above 0")
    is_cascade = value["format"] == CASCADE
    if not is_cascade and ("router" in value or "members" in value):
        raise ValueError(f"format {value['format']!r} takes no router and no members")
    members: dict[str, str] = dict(value["members"]) if is_cascade else {}
    if is_cascade and (set(members) != set(MEMBERS) or float(value["temperature"]) != 1.0):
        raise ValueError(f"a cascade has the members {' and '.join(MEMBERS)}, and temperature 1")
    return Core(
        name=str(value["name"]),
        format=value["format"],
        spec=Spec.from_json(value["spec"]),
        steps=steps_from_json(value["steps"]),
        parent=value["parent"],
        split=split_from_json(value["split"]),
        temperature=float(value["temperature"]),
        precision=value["precision"],
        net=value["net"],
        models=tuple(value["models"]),
        router=Router.from_json(value["router"]) if is_cascade else None,
        members={name: members[name] for name in MEMBERS} if is_cascade else {},
    )
