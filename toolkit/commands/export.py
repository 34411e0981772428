"""`toolkit export`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from toolkit import terminal
from toolkit.commands.options import force_option, json_option, out_option


@click.command()
@click.argument("source", metavar="DIR|hf:PATH")
@out_option
@force_option
@json_option
def command(*, source: str, out: Path, force: bool, as_json: bool) -> None:
    """Export a trained classifier, or a Hugging Face classifier folder, to ONNX.

    The graph takes any batch and length. It is then run at several of both and compared with PyTorch;
    a difference above 1e-4 relative stops the command and leaves nothing (exit 1).

    \b
    Example:
      toolkit export runs/trec -o runs/trec-onnx
      toolkit export hf:./my-bert-folder -o runs/my-bert
    """
    from toolkit.artifact import EVIDENCE
    from toolkit.lineage import digest_of
    from toolkit.report import REPORT, Report, write_report
    from toolkit.staging import staged

    if source.startswith("hf:"):
        from toolkit.export.huggingface import export_huggingface

        path = Path(source.removeprefix("hf:"))
        with staged(out, key=digest_of(["export", source]), force=force) as partial:
            artifact, parity = export_huggingface(path, partial, name=out.name)
            write_report(partial / EVIDENCE / REPORT, Report.of(artifact, facts={}, parity=parity))
    else:
        from toolkit.classifier import load_classifier
        from toolkit.export.onnx import export

        classifier = load_classifier(source)
        with staged(out, key=digest_of(["export", classifier.parent]), force=force) as partial:
            artifact, parity = export(replace(classifier, name=out.name), partial)
            write_report(partial / EVIDENCE / REPORT, Report.of(artifact, facts={}, parity=parity))
    terminal.say(f"{out}: {artifact.size_bytes / 1e6:.1f} MB, largest difference from PyTorch "
                 f"{parity.max_relative_difference:.1e} relative over {len(parity.shapes)} shapes")  # fmt: skip
    terminal.say(f"next: toolkit quantize {out} --mode static --data DATA -o {out}-int8")
    document = {
        "folder": str(out),
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "parity": parity.to_json(),
    }
    terminal.emit(document, as_json=as_json)
