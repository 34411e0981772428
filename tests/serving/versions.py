"""Versions to swap between: good ones that answer differently, every bad one, and a server to swap them in."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import onnx
import uvicorn
from onnx import numpy_helper
from serving.small_models import TEXTS, text_artifact

from toolkit.artifact import CORE, DIGEST, EVIDENCE, GOLDEN, Artifact, core_bytes, load_artifact
from toolkit.encoders.ngrams import NgramEncoder
from toolkit.lineage import digest_of_bytes
from toolkit.measure.cost import CostCurve
from toolkit.predictor import Predictor
from toolkit.report import REPORT
from toolkit.runners import open_runner
from toolkit.serving.app import App
from toolkit.serving.batching import Batching
from toolkit.serving.lifecycle import Lifecycle
from toolkit.serving.loading import load_served
from toolkit.serving.serve import free_port
from toolkit.serving.served import Served
from toolkit.serving.settings import Settings

T = TypeVar("T")
SETTINGS = Settings()


def answers_of(artifact: Artifact) -> list[dict[str, Any]]:
    """What a client must get for TEXTS from this version."""
    with Predictor.load(artifact) as predictor:
        return [{"label": p.label, "score": p.score} for p in predictor(TEXTS)]


def corrupt(folder: Path) -> None:
    """One bit of the model is another."""
    text_artifact(folder)
    model = folder / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def not_a_number(folder: Path) -> None:
    """Weights that are NaN; its golden rows are NaN too, since it was exported like that."""
    text_artifact(folder, weight=float("nan"))


def not_a_number_untested(folder: Path) -> None:
    """The same without golden rows: only its outputs tell."""
    not_a_number(folder)
    drop_golden(folder)


def drop_golden(folder: Path) -> None:
    """Make it an artifact that never had a self-test."""
    (folder / GOLDEN).unlink()
    change_core(folder, lambda core: core["files"].pop(GOLDEN))
    load_artifact(folder)


def other_labels(folder: Path) -> None:
    """A spec whose labels stand in another order: every answer would be misread."""
    text_artifact(folder)
    change_core(folder, lambda core: core["spec"]["labels"].reverse())


def wrong_shape(folder: Path) -> None:
    """Three labels promised, four logits computed."""
    text_artifact(folder)
    change_core(folder, lambda core: core["spec"]["labels"].pop())
    drop_golden(folder)


def one_column(folder: Path) -> None:
    """One logit for four labels: numpy would give each of them the same."""
    text_artifact(folder)
    model = onnx.load(folder / "model.onnx")
    table = next(constant for constant in model.graph.initializer if constant.name == "table")
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table)[:, :1].copy(), "table"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    entry = {"bytes": len(content), "sha256": digest_of_bytes(content)}
    change_core(folder, lambda core: core["files"].update({"model.onnx": entry}))
    drop_golden(folder)


def narrower(folder: Path) -> None:
    """Typed inputs that were taken are not taken any more."""
    text_artifact(folder, encoder=NgramEncoder(buckets=512, max_length=64))


def below_its_gate(folder: Path) -> None:
    """A report of this very version that says it failed."""
    write_verdict(text_artifact(folder, weight=3.0), failed=True)


def empty(folder: Path) -> None:
    """Nothing at all."""
    folder.mkdir()


# what is wrong -> how to make it, and the words of the refusal
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "corrupt": (corrupt, "sha256 differs"),
    "nan": (not_a_number, "self-test failed"),
    "nan without golden rows": (not_a_number_untested, "not a number"),
    "labels in another order": (other_labels, "--allow-new-labels"),
    "wrong shape": (wrong_shape, "cannot be loaded"),
    "one logit": (one_column, r"gives \[1, 1\] for one row and 4 labels"),
    "narrower inputs": (narrower, "--allow-new-inputs"),
    "below its gate": (below_its_gate, "failed its gate"),
    "empty": (empty, "artifact.json"),
}


def change_core(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write another contract over the same files, as its maker would have."""
    core = json.loads((folder / CORE).read_bytes())
    del core[DIGEST]
    change(core)
    (folder / CORE).write_bytes(core_bytes(core))


def write_verdict(artifact: Artifact, *, failed: object, digest: str | None = None) -> None:
    """Evidence as `toolkit verify` leaves it, as far as a gate reads it."""
    report = {"digest": digest or artifact.digest, "verdict": {"failed": failed, "answer": "worse"}}
    path = artifact.folder / EVIDENCE / REPORT
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report))


def load_unchecked(folder: Path) -> Served:
    """The sabotage: no digest, no self-test, no warm-up."""
    artifact = load_artifact(folder)
    content = {path: (folder / path).read_bytes() for path in artifact.files}
    files = {path: {"bytes": len(c), "sha256": digest_of_bytes(c)} for path, c in content.items()}
    blind = replace(artifact, files=files)
    predictor = Predictor(blind.encoder(), open_runner(blind), blind.spec, artifact=blind)
    curve = CostCurve(blind.digest, (1,), (1,), ((1.0,),), None, 1, "", "")
    return Served(predictor, blind, SETTINGS, Batching(curve, 1, "", ""))


@dataclass(frozen=True)
class Running:
    """A server in a thread of this process, and its lifecycle, which is its loop's alone."""

    app: App
    lifecycle: Lifecycle
    port: int
    loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Await on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def call(self, function: Callable[[], T]) -> T:
        """Call on the server's loop."""

        async def called() -> T:
            return function()

        return self.do(called())


@contextmanager
def serving(folder: Path, make: Callable[[App], Lifecycle] = Lifecycle) -> Iterator[Running]:
    """Real HTTP on loopback: uvicorn around the application, with a lifecycle of `make`."""
    app = App()
    started: list[tuple[Lifecycle, asyncio.AbstractEventLoop]] = []
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off"))

    async def run() -> None:
        lifecycle = make(app)
        lifecycle.start(load_served(folder, settings=SETTINGS))
        started.append((lifecycle, asyncio.get_running_loop()))
        try:
            await server.serve()
        finally:
            lifecycle.close()
            app.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    try:
        deadline = threading.Event()
        for _ in range(1000):
            if server.started:
                break
            deadline.wait(0.02)
        assert server.started
        lifecycle, loop = started[0]
        yield Running(app, lifecycle, port, loop)
    finally:
        server.should_exit = True
        thread.join(20)


def identity(artifact: Artifact) -> Mapping[str, str]:
    """How answers name it."""
    return {"name": artifact.name, "version": artifact.digest[:12], "digest": artifact.digest}
