"""What engine an artifact asks for: its ONNX bytes, the shapes and the flags, read from its lineage.

`toolkit build` writes shapes and flags into the step `build`, measured on the data; an artifact without that step
gets the shapes that its spec allows. So the machine that builds and the machine that serves ask for the same engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.artifact import Artifact
from toolkit.engines.build import Built, build_engine
from toolkit.engines.cache import EngineCache
from toolkit.engines.flags import Flags
from toolkit.engines.gpu import Gpu
from toolkit.engines.key import EngineKey
from toolkit.engines.profiles import Profile, derive_profiles
from toolkit.errors import ArtifactError, InputError
from toolkit.graph_policy import check_graph
from toolkit.progress import Progress, silent

BUILD = "build"


@dataclass(frozen=True)
class Order:
    """Everything a build is given that is not of the machine."""

    model: bytes = field(repr=False)
    profiles: Sequence[Profile]
    flags: Flags
    precision: str

    @classmethod
    def of(cls, artifact: Artifact) -> Order:
        """Read from a verified artifact; raises `InputError` for one that is no single ONNX model."""
        core = artifact.core
        if core.format != "onnx" or len(core.models) != 1:
            raise InputError(
                f"{artifact.folder} is no single ONNX model; an engine is built of what toolkit export made"
            )
        model = artifact.read(core.models[0])
        check_graph(model)
        settings = next((step.settings for step in reversed(core.steps) if step.name == BUILD), None)
        if settings is None:
            return cls(model, derive_profiles(artifact.spec), Flags(), core.precision)
        try:
            profiles = tuple(Profile.from_json(value) for value in settings["profiles"])
            return cls(model, profiles, Flags(**settings["flags"]), core.precision)
        except (KeyError, TypeError) as error:
            raise ArtifactError(
                f"the step build of {artifact.folder} cannot be read: {error!r}; build it again"
            ) from None

    def key(self, gpu: Gpu, *, tensorrt: str) -> EngineKey:
        """The key of this engine on that GPU."""
        return EngineKey.of(self.model, gpu, tensorrt=tensorrt, flags=self.flags, profiles=self.profiles)

    def build(self, key: EngineKey, cache: EngineCache, *, free_bytes: int, progress: Progress = silent) -> Built:
        """Build it with the timings that `cache` has, and leave the new ones there; the plan is not kept yet."""
        built = build_engine(
            self.model, self.profiles, self.flags, workspace_bytes=free_bytes, timings=cache.timings(key),
            progress=progress,
        )  # fmt: skip
        cache.keep_timings(key, built.timings)
        return built
