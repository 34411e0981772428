"""Two models in turn: the small one runs every row, the large one those that the small one is unsure of.

Takes the arrays of both, so all encoding has been done; a `Cascade` spares that for rows that stay small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from toolkit.artifact import Artifact
from toolkit.errors import ArtifactError
from toolkit.routing import LARGE, MEMBERS, SMALL, Router, arrays_of
from toolkit.runners import Runner, open_runner
from toolkit.runners.cancel import Cancel
from toolkit.spec import Array, Arrays, softmax


class CascadeRunner:
    """Logits of the member that answers a row, over that member's temperature: a cascade's own is 1."""

    def __init__(self, members: Mapping[str, Runner], router: Router, temperatures: Mapping[str, float]) -> None:
        self._members, self._router, self._temperatures = members, router, temperatures

    @classmethod
    def open(cls, artifact: Artifact, *, threads: int, provider: str) -> Self:
        """Open both members of `artifact`."""
        if artifact.core.router is None:
            raise ArtifactError(f"{artifact.folder} has no router; it is no cascade")
        opened = {name: open_runner(artifact.members[name], threads=threads, provider=provider) for name in MEMBERS}
        temperatures = {name: artifact.members[name].core.temperature for name in MEMBERS}
        return cls(opened, artifact.core.router, temperatures)

    def run(self, arrays: Arrays, cancel: Cancel | None = None) -> Array:
        logits = self._run(SMALL, arrays_of(SMALL, arrays), cancel)
        unsure = self._router.unsure(softmax(logits))
        if unsure:
            rows = {name: array[unsure] for name, array in arrays_of(LARGE, arrays).items()}
            logits[unsure] = self._run(LARGE, rows, cancel)
        return logits

    def _run(self, name: str, arrays: Arrays, cancel: Cancel | None) -> Array:
        scaled: Array = self._members[name].run(arrays, cancel) / self._temperatures[name]
        return scaled

    def facts(self) -> dict[str, Any]:
        """The small member's facts, with the precisions of both, the router, and each member's own facts."""
        members = {name: runner.facts() for name, runner in self._members.items()}
        precision = "+".join(str(facts["precision"]) for facts in members.values())
        return {**members[SMALL], "precision": precision, "router": self._router.to_json(), "members": members}

    def close(self) -> None:
        for runner in self._members.values():
            runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
