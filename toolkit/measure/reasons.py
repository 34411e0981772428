"""Where an artifact's time goes, and why a step that made it smaller did not make it faster.

INT8 that is unpacked at every other operator, operators left in float, widths that kernels pad, weights
beyond the cache, masks that no kernel of this runtime skips, a tokenizer that takes as long as the model:
each is looked for in the graph that really ran and said with its figures. `toolkit bench --why` prints them.

Limits: ONNX artifacts on the processor this runs on; a reason is a measured share or a count, not a promise
of what its removal would bring. Of a cascade, ask its members. Sources: ONNX Runtime, "Quantize ONNX models"
and "Profiling tools"; Williams et al. 2009, Roofline (doi:10.1145/1498765.1498785).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolkit.artifact import GOLDEN, Artifact
from toolkit.errors import DataError, InputError
from toolkit.measure import graphs
from toolkit.measure.memory import measure_bandwidth, read_caches
from toolkit.measure.profile import Profile, profile_model, time_rows
from toolkit.spec import Array

MULTIPLE = 8
MASKED = 0.2
WORTH_SAYING = 0.02
MAX_ROWS = 32
SHAPING = frozenset(
    {"Reshape", "Transpose", "Unsqueeze", "Squeeze", "Concat", "Split", "Slice", "Shape", "Cast", "Expand", "Flatten"}
)


@dataclass(frozen=True)
class Reason:
    """One finding: `kind` is a word to select by, `words` what is printed, `figures` the numbers behind it."""

    kind: str
    words: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "words": self.words, "figures": dict(self.figures)}


def explain_cost(
    artifact: Artifact,
    *,
    before: Artifact | None = None,
    examples: Sequence[Any] = (),
    profile: bool = True,
    threads: int = 1,
) -> tuple[Reason, ...]:
    """The reasons found, where time goes first; about a second and a half of running.

    `examples` are raw rows to time encoder and model on; without any, the golden rows are used and nothing is
    said of the encoder. `before` is what the artifact was made from: what shrank and what did not. Without
    `profile` nothing runs, and only the graph is read. Raises `InputError` unless the artifacts are of one ONNX
    model each, `DataError` when there is no row, `MissingExtra` without `onnx`.
    """
    model = _model(artifact)
    stored = graphs.parse_model(model)
    if not profile:
        return tuple(_of_graph(artifact, stored, stored, None))
    rows = _rows(artifact, examples)
    ran = profile_model(model, rows, threads=threads)
    reasons = [_time(ran)]
    if examples:
        reasons.append(_encoder(artifact, examples, ran))
    reasons += _of_graph(artifact, stored, graphs.parse_model(ran.optimized), ran)
    if before is not None:
        reasons.append(_against(before, profile_model(_model(before), _rows(before, examples), threads=threads), ran))
    return tuple(reasons)


def _of_graph(artifact: Artifact, stored: Any, ran: Any, profile: Profile | None) -> Iterator[Reason]:
    """What the graph that ran (and, for shapes and masks, the stored one) gives away."""
    if profile is not None:
        yield _memory(ran, profile)
    for reason in (
        _float(ran, profile),
        _islands(ran, profile),
        _shaping(profile),
        _widths(stored, len(artifact.spec.labels)),
        _mask(stored),
    ):
        if reason is not None:
            yield reason


def _time(profile: Profile) -> Reason:
    shares = profile.by_op()
    most = ", ".join(f"{op} {share:.0%}" for op, share in list(shares.items())[:5])
    figures = {"model_ms": profile.model_ms, **{f"{op}.share": share for op, share in shares.items()}}
    return Reason("time", f"time goes to: {most}, of {profile.model_ms:.3f} ms a row", figures)


def _encoder(artifact: Artifact, examples: Sequence[Any], profile: Profile) -> Reason:
    encoder = artifact.encoder()
    milliseconds, _ = time_rows(lambda example: encoder.encode([example]), examples[:MAX_ROWS])
    share = milliseconds / (milliseconds + profile.model_ms)
    words = f"the encoder takes {milliseconds:.3f} ms beside the model's {profile.model_ms:.3f} ({share:.0%})"
    return Reason("encoder", words, {"encoder_ms": milliseconds, "share": share})


def _memory(graph: Any, profile: Profile) -> Reason:
    touched, caches = graphs.count_touched(graph), read_caches()
    speed = measure_bandwidth(touched)
    least = 1e3 * touched / speed
    share = least / profile.model_ms
    figures = {"touched_bytes": touched, "bytes_per_second": speed, "least_ms": least, "share": share}
    figures |= {f"l{level}_bytes": size for level, size in caches.items()}
    held = caches.get(2)
    size = f"{touched / 1e6:.1f} MB of weights are read for a row"
    if held is None:
        place = "cache sizes unknown"
    elif touched <= held:
        return Reason("memory", f"{size}: they fit the L2 cache of {held / 1e6:.1f} MB", figures)
    else:
        place = f"the L2 cache holds {held / 1e6:.1f}"
    words = f"{size}, {place}; at {speed / 1e9:.0f} GB/s that is {least:.2f} ms of {profile.model_ms:.2f} ({share:.0%})"
    return Reason("memory", words, figures)


def _float(graph: Any, profile: Profile | None) -> Reason | None:
    """Kernels with float weights that INT8 could have taken, and what part of the time they have."""
    left = {
        w.node: w.op for w in graphs.find_weights(graph) if w.op in graphs.FLOAT_KERNELS and w.values.dtype.kind == "f"
    }
    whole = not any(node.op_type in graphs.INT8_KERNELS | graphs.CONVERSIONS for node in graph.node)
    if not left:
        return None
    kinds = " and ".join(sorted(set(left.values())))
    figures: dict[str, float] = {"operators": len(left)}
    took = ""
    if profile is not None:
        figures["share"] = sum(node.share for node in profile.nodes if left.get(node.name) == node.op)
        if figures["share"] < WORTH_SAYING:
            return None
        took = f", {figures['share']:.0%} of the time"
    state = "nothing is quantized: " if whole else "left in float: "
    return Reason("float", f"{state}{len(left)} {kinds} with float weights{took}", figures)


def _islands(graph: Any, profile: Profile | None) -> Reason | None:
    found = graphs.find_islands(graph)
    conversions = sum(node.op_type in graphs.CONVERSIONS for node in graph.node)
    if not conversions:
        return None
    figures: dict[str, float] = {"islands": len(found), "conversions": conversions}
    took = ""
    if profile is not None:
        figures["share"] = sum(node.share for node in profile.nodes if node.op in graphs.CONVERSIONS)
        took = f" take {figures['share']:.0%} of the time"
    inside = ", ".join(list(graphs.count_between(found))[:3]) or "nothing"
    words = f"{conversions} conversions between int8 and float{took}; "
    words += f"{len(found)} float islands inside int8 (between: {inside})"
    return Reason("islands", words, figures)


def _shaping(profile: Profile | None) -> Reason | None:
    if profile is None:
        return None
    nodes = [node for node in profile.nodes if node.op in SHAPING]
    share = sum(node.share for node in nodes)
    if share < WORTH_SAYING:
        return None
    words = f"{len(nodes)} operators that only move or reshape take {share:.0%} of the time"
    return Reason("shaping", words, {"operators": len(nodes), "share": share})


def _widths(graph: Any, labels: int) -> Reason | None:
    """Widths that are no multiple of eight; the answer's own width and a picture's channels cannot be changed."""
    weights = graphs.find_weights(graph)
    odd = [
        weight
        for weight in weights
        if any(
            size % MULTIPLE and size != labels and size > 4
            for size in (weight.shape[:2] if len(weight.shape) == 4 else weight.shape[-2:])
        )
    ]
    if not odd:
        return None
    first = f"{odd[0].node or odd[0].op} {'x'.join(map(str, odd[0].shape))}"
    words = (
        f"{len(odd)} of {len(weights)} weights have a width off the multiple of {MULTIPLE}, which kernels pad: {first}"
    )
    return Reason("widths", words, {"weights": len(weights), "odd": len(odd)})


def _mask(graph: Any) -> Reason | None:
    weights = graphs.find_weights(graph)
    total, zeros = sum(weight.values.size for weight in weights), sum(weight.zeros for weight in weights)
    if not total or zeros / total < MASKED:
        return None
    words = f"{zeros / total:.0%} of the weights are zero: a mask alone buys nothing on this runtime, cut structure"
    return Reason("mask", words, {"zeros": zeros, "weights": total, "share": zeros / total})


def _against(before: Artifact, old: Profile, new: Profile) -> Reason:
    kernels = [p.model_ms * sum(n.share for n in p.nodes if n.op in graphs.KERNELS) for p in (old, new)]
    rest = [old.model_ms - kernels[0], new.model_ms - kernels[1]]
    words = (
        f"against {before.name}: {old.model_ms:.3f} -> {new.model_ms:.3f} ms; products {kernels[0]:.3f} -> "
        f"{kernels[1]:.3f}, everything else {rest[0]:.3f} -> {rest[1]:.3f} ms"
    )
    figures = {"before_ms": old.model_ms, "after_ms": new.model_ms, "before_kernels_ms": kernels[0],
               "after_kernels_ms": kernels[1]}  # fmt: skip
    return Reason("before", words, figures)


def _model(artifact: Artifact) -> bytes:
    if artifact.core.format != "onnx":
        raise InputError(f"{artifact.folder} has the format {artifact.core.format}; reasons are for one ONNX model")
    return artifact.read(artifact.core.models[0])


def _rows(artifact: Artifact, examples: Sequence[Any]) -> list[dict[str, Array]]:
    """Batches of one row: encoded examples, evenly taken, or the golden rows."""
    if len(examples):
        encoder, step = artifact.encoder(), max(1, len(examples) // MAX_ROWS)
        return [encoder.encode([examples[row]]) for row in range(0, len(examples), step)][:MAX_ROWS]
    if GOLDEN not in artifact.files:
        raise DataError(f"{artifact.folder} has no golden rows to profile with; give examples")
    arrays = artifact.golden().arrays
    count = len(next(iter(arrays.values())))
    return [{name: array[row : row + 1] for name, array in arrays.items()} for row in range(count)]
