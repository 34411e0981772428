"""A network in memory, what it takes, and what has been done to it. The torch world's one noun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from toolkit.artifact import GOLDEN, TRAINING_ROWS, Artifact, load_artifact, write_artifact
from toolkit.core import Core
from toolkit.encoders import Encoder
from toolkit.errors import ArtifactError
from toolkit.golden import Golden, rows_to_bytes
from toolkit.lineage import SplitRecord, Step
from toolkit.nets import build_net, describe_net
from toolkit.spec import Array, Arrays, Spec

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Classifier:
    """Net, contract, encoder and lineage. Steps return a new one; `net` is never changed in place.

    `parent` is the digest of the artifact this one was made from, `split` the rows it was trained on,
    `sample` a few encoded rows to trace and compare an export with (the golden rows of its artifact).
    """

    name: str
    net: nn.Module
    spec: Spec
    encoder: Encoder
    steps: tuple[Step, ...] = ()
    split: SplitRecord | None = None
    parent: str | None = None
    temperature: float = 1.0
    training_rows: Array | None = None
    sample: Arrays | None = None

    def after(self, step: Step, net: nn.Module) -> Classifier:
        """This classifier with another net, and the step that made it added to the lineage.

        The temperature is 1 again: one that was fitted to the old net says nothing of the new one.
        """
        return replace(self, net=net, steps=(*self.steps, step), temperature=1.0)

    @property
    def parameters(self) -> int:
        """Number of trainable and fixed parameters."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    def run(self, arrays: Arrays) -> Array:
        """Logits float32 (batch, classes) in evaluation mode, without gradients."""
        return forward_arrays(self.net, self.spec, arrays)


def forward_arrays(net: nn.Module, spec: Spec, arrays: Arrays, *, device: str = "cpu") -> Array:
    """Run `net`, which is on `device`, on numpy arrays in the order of the spec; returns float32 logits."""
    net.eval()
    with torch.inference_mode():
        tensors = [torch.from_numpy(np.ascontiguousarray(arrays[i.name])).to(device) for i in spec.inputs]
        result: Array = net(*tensors).float().cpu().numpy()
    return result


def save_classifier(
    classifier: Classifier,
    folder: Path,
    *,
    golden_examples: Sequence[Any] = (),
    evidence: Mapping[str, bytes] | None = None,
) -> Artifact:
    """Write `classifier` into `folder` (usually a staged one) as an artifact of format safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in classifier.net.state_dict().items()}
    core = Core(
        name=classifier.name,
        format="safetensors",
        spec=classifier.spec,
        steps=classifier.steps,
        parent=classifier.parent,
        split=classifier.split,
        temperature=classifier.temperature,
        net=describe_net(classifier.net),
        models=(WEIGHTS,),
    )
    golden = None
    if len(golden_examples):
        arrays = classifier.encoder.encode(golden_examples)
        golden = Golden(arrays, classifier.run(arrays))
    rows = classifier.training_rows
    extra = dict(evidence or {})
    if rows is not None:
        extra[TRAINING_ROWS] = rows_to_bytes(rows)
    models = {WEIGHTS: save_tensors(tensors)}
    return write_artifact(folder, core, classifier.encoder, models=models, golden=golden, evidence=extra)


def load_classifier(source: Path | str | Artifact) -> Classifier:
    """Read a trained classifier from verified bytes; `parent` of what is made from it is its digest.

    Raises `ArtifactError` when the folder holds an exported model or weights of another shape.
    """
    artifact = source if isinstance(source, Artifact) else load_artifact(source)
    core = artifact.core
    if core.format != "safetensors" or core.net is None:
        raise ArtifactError(
            f"{artifact.folder} is an exported model ({core.format}); this step needs the trained classifier "
            "it came from"
        )
    net = build_net(core.net["kind"], core.net["sizes"])
    try:
        net.load_state_dict(load_tensors(artifact.read(WEIGHTS)))
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"the weights of {artifact.folder} do not fit its sizes: {reason}") from None
    return Classifier(
        name=core.name,
        net=net.eval(),
        spec=core.spec,
        encoder=artifact.encoder(),
        steps=core.steps,
        split=core.split,
        parent=artifact.digest,
        temperature=core.temperature,
        training_rows=artifact.training_rows(),
        sample=artifact.golden().arrays if GOLDEN in artifact.files else None,
    )


def copy_net(net: nn.Module) -> nn.Module:
    """A net of the same sizes and weights that shares no memory with `net`."""
    described = describe_net(net)
    copied = build_net(described["kind"], described["sizes"])
    copied.load_state_dict({name: tensor.clone() for name, tensor in net.state_dict().items()})
    return copied.train(net.training)
