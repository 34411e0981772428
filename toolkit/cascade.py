"""A cascade as one predictor: raw examples in, answers of the small member, or of the large one where it is unsure.

The small path costs a margin and nothing else: a row is encoded for the large member only once it is known to
go there, and the softmax that finds the margin is the answer. Rows of one call are routed one by one; those that
are unsure run together on the large member, in the batches that it allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.artifact import GOLDEN, Artifact
from toolkit.encoders.cascade import CascadeEncoder
from toolkit.errors import ArtifactError
from toolkit.predictor import Predictor, self_test
from toolkit.routing import LARGE, MEMBERS, SMALL, Router, join_specs
from toolkit.runners.cancel import Cancel
from toolkit.runners.cascade import CascadeRunner
from toolkit.spec import Array, softmax


class Cascade(Predictor):
    """See the module; `Predictor.load` makes one of a cascade artifact.

    `encoder` and `runner` are of both members, for those who check requests or bring arrays of their own.
    """

    def __init__(self, small: Predictor, large: Predictor, router: Router, *, artifact: Artifact | None = None) -> None:
        members = {SMALL: small, LARGE: large}
        super().__init__(
            CascadeEncoder({name: member.encoder for name, member in members.items()}),
            CascadeRunner(
                {name: member.runner for name, member in members.items()},
                router,
                {name: member.temperature for name, member in members.items()},
            ),
            join_specs({name: member.spec for name, member in members.items()}),
            batch_size=min(small.batch_size, large.batch_size),
            artifact=artifact,
        )
        self.small, self.large, self.router = small, large, router

    @classmethod
    def open(cls, artifact: Artifact, *, threads: int, provider: str, batch_size: int | None = None) -> Cascade:
        """Load both members, each with its self-test, then test the cascade's own golden rows.

        Raises `ArtifactError` when any of that fails.
        """
        if artifact.core.router is None:
            raise ArtifactError(f"{artifact.folder} has no router; it is no cascade")
        golden = artifact.golden() if GOLDEN in artifact.files else None
        small, large = (
            Predictor.load(artifact.members[name], threads=threads, provider=provider, batch_size=batch_size)
            for name in MEMBERS
        )
        cascade = cls(small, large, artifact.core.router, artifact=artifact)
        if golden is not None:
            exact = all(member.core.precision == "fp32" for member in artifact.members.values())
            self_test(cascade.runner, golden, exact=exact)
        return cascade

    @property
    def parts(self) -> tuple[Predictor, ...]:
        """The small member and the large one."""
        return (self.small, self.large)

    def probabilities(self, examples: Sequence[Any], cancel: Cancel | None = None) -> Array:
        """Float64 (examples, classes), after the temperature of the member that answered."""
        return self._answer(examples, cancel)[1]

    def logits(self, examples: Sequence[Any], cancel: Cancel | None = None) -> Array:
        """Float32 (examples, classes) of the member that answered, over its temperature."""
        return self._answer(examples, cancel)[0]

    def _answer(self, examples: Sequence[Any], cancel: Cancel | None) -> tuple[Array, Array]:
        """Logits and probabilities: the second are on the way to knowing who answers."""
        logits = self.small.logits(examples, cancel) / self.small.temperature
        probabilities = softmax(logits)
        unsure = self.router.unsure(probabilities)
        if unsure:
            deferred = [examples[row] for row in unsure]
            logits[unsure] = self.large.logits(deferred, cancel) / self.large.temperature
            probabilities[unsure] = softmax(logits[unsure])
        return logits, probabilities
