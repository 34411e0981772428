"""A model card in the Hugging Face form: YAML in front, then what a user must know before trusting it.

Every number in it was measured and stands in the report; what was not measured is said to be so.
Written without a YAML library: a JSON value is a YAML value.
Source: https://huggingface.co/docs/hub/model-cards, Mitchell et al. 2019 (arXiv:1810.03993).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from toolkit.artifact import Artifact
from toolkit.errors import InputError
from toolkit.report import Report, describe_runtime
from toolkit.table import markdown_table

# task -> the name that the hub knows it by, and what a request holds
PIPELINES = {
    "text": ("text-classification", "a text"),
    "image": ("image-classification", "a picture"),
    "recommend": ("tabular-classification", "a record of a user and an item"),
}


def model_card(artifact: Artifact, report: Report, *, bench: Mapping[str, Any] | None = None) -> str:
    """The card of `artifact` as markdown; `bench` is its entry in a bench file, for what a server was seen to do.

    Raises `InputError` when `report` or `bench` speaks of another artifact.
    """
    for digest in (report.digest, *([bench["digest"]] if bench else [])):
        if digest != artifact.digest:
            raise InputError(
                f"the report speaks of {digest[:12]} and the artifact is {artifact.digest[:12]}; measure it again"
            )
    front = "---\n" + "".join(f"{key}: {_yaml(value)}\n" for key, value in _front(artifact, report).items()) + "---\n"
    sections = [f"# {artifact.name}", _intent(artifact), "## Measured", _measured(report)]
    sections += ["## Served", served] if (served := _served(bench or {})) else []
    sections += ["## Lineage", _lineage(artifact), "## Limits", _limits(artifact, report)]
    return front + "\n" + "\n\n".join(sections) + "\n"


def _front(artifact: Artifact, report: Report) -> dict[str, Any]:
    task, _ = PIPELINES[artifact.spec.task]
    data = artifact.core.split.name if artifact.core.split else None
    front: dict[str, Any] = {
        "library_name": "safetensors" if artifact.core.format == "safetensors" else "onnx",
        "pipeline_tag": task,
        "tags": ["serving-toolkit", artifact.core.precision],
    }
    if data:
        front["datasets"] = [data]
    if report.quality and data:
        dataset = {"type": data, "name": data, "split": report.quality["split"]}
        result = {"task": {"type": task}, "dataset": dataset, "metrics": _metrics(report.values)}
        front["model-index"] = [{"name": artifact.name, "results": [result]}]
    return front


def _metrics(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    metrics = [
        {"type": "accuracy", "name": "Accuracy", "value": values["accuracy"]["value"]},
        {
            "type": "expected_calibration_error",
            "name": "Expected calibration error",
            "value": values["expected_calibration_error"],
        },
    ]
    if values.get("auc"):
        metrics.append({"type": "roc_auc", "name": "AUC", "value": values["auc"]["value"]})
    return metrics


def _intent(artifact: Artifact) -> str:
    _, request = PIPELINES[artifact.spec.task]
    labels = ", ".join(f"`{label}`" for label in artifact.spec.labels[:20])
    more = len(artifact.spec.labels) - 20
    split = artifact.core.split
    source = f"the data set `{split.name}` (seed {split.seed})" if split else "data that it does not remember"
    return (
        f"Takes {request} and answers one of {len(artifact.spec.labels)} labels: {labels}"
        f"{f' and {more} more' if more > 0 else ''}. Trained on {source}; it is meant for requests like those rows."
    )


def _measured(report: Report) -> str:
    lines = [markdown_table([report]), ""]
    machine = report.machine
    lines.append(
        f"On {machine.get('processor') or 'an unnamed processor'}, {describe_runtime(report.runtime)}, "
        f"{report.runtime.get('threads', 'unknown')} thread(s), {report.date or 'no date'}."
    )
    if report.quality:
        values = report.values
        lines.append(
            f"Accuracy on {values['rows']:,} rows of the {report.quality['split']} split, with a 95 % interval; "
            f"expected calibration error {values['expected_calibration_error']:.4f}."
        )
        recalls = [f"`{c['label']}` {c['recall']:.1%} of {c['rows']}" for c in values["classes"] if c["rows"]]
        lines.append(f"Recall of each class: {', '.join(recalls)}.")
    else:
        lines.append("Its accuracy was not measured.")
    if report.footprint and report.footprint.get("memory_bytes"):
        memory, load = report.footprint["memory_bytes"], report.footprint["load_ms"]
        lines.append(f"Adds {memory / 1e6:.0f} MB to a bare process; loads in {load:.0f} ms.")
    return "\n".join(lines)


def _served(entry: Mapping[str, Any]) -> str:
    """What bench saw of a server of this artifact: a line for each thing that was measured, empty without any."""
    lines = []
    if http := entry.get("rungs", {}).get("http"):
        times = [f"{name} {http[key]:.2f} ms" for name, key in (("p50", "p50_ms"), ("p99", "p99_ms")) if http.get(key)]
        right = f"{http['right']:,} of {http['asked']:,} answers right"
        lines.append(f"- Over HTTP, one connection: {', '.join([*times, right])}.")
    peak = entry.get("peak", {})
    if peak.get("rate"):
        lines.append(
            f"- Peak with p99 within {peak['objective_ms']:g} ms: {peak['rate']:,.0f} requests a second (Poisson)."
        )
    if joules := entry.get("energy", {}).get("joules_per_1000"):
        lines.append(f"- {joules:.2f} J for 1,000 answers, of the whole package or card.")
    if price := entry.get("price"):
        lines.append(f"- A million answers cost {price['per_million']:.4g}, at {price['assumes']}.")
    return "\n".join(lines)


def _lineage(artifact: Artifact) -> str:
    lines = [
        f"Digest `{artifact.digest}`" + (f", made from `{artifact.core.parent}`." if artifact.core.parent else ".")
    ]
    lines.append("")
    lines += [
        f"{number}. {step.name}: `{json.dumps(dict(step.settings), sort_keys=True, ensure_ascii=False)}`"
        for number, step in enumerate(artifact.core.steps, 1)
    ]
    for role, member in artifact.members.items():
        steps = " → ".join(step.name for step in member.core.steps) or "no steps"
        lines.append(
            f"- The {role} member: `{member.name}`, {member.core.precision}, {steps}, digest `{member.digest}`."
        )
    return "\n".join(lines)


def _limits(artifact: Artifact, report: Report) -> str:
    lines = ["- It always answers one of its labels, also for a request that fits none."]
    for axis, (low, high) in sorted(artifact.spec.limits.items()):
        lines.append(f"- {axis} from {low} to {high}; what is longer is cut or refused.")
    if artifact.depends_on_batch:
        lines.append("- Its INT8 scales come from the whole batch: serve it one row at a time, as it was judged.")
    router = artifact.core.router
    if router is not None:
        lines.append(
            f"- A cascade: {router.share:.1%} of the rows it was tuned on went on to the large member, and such a row "
            "waits for both; requests unlike those rows may go there more often."
        )
    if any(member.core.precision == "int8" for member in (artifact, *artifact.members.values())):
        lines.append("- INT8 kernels differ between processors; the self-test at load compares labels, not digits.")
    if any(step.name == "mask" for step in artifact.core.steps):
        lines.append(
            "- Masked weights are stored and multiplied as zeros: on ONNX Runtime they save no size and no time."
        )
    verdict = (report.quality or {}).get("verdict")
    if verdict:
        lines.append(
            f"- Against the model it replaces: {verdict['words']} (at most {verdict['max_drop']:g} may be lost)."
        )
    lines.append(
        "- Times in the table are of single rows in process on the machine named above, not of a loaded server."
    )
    return "\n".join(lines)


def _yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
