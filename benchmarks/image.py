"""The serving image: built, held against its size budget, run read-only as nobody, asked, killed.

    container/build.sh BENTO_OR_ARTIFACT [--budget-mb 300] [--bentoml] [--out FILE]

Its answers are compared with those of the predictor in this process, then its worker is killed, which
must end the container. Writes a JSON document; leaves with 1 when anything does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.engines import BASE, ROOT, Buildah, Engine, EngineError, Layer, find_engine, said
from toolkit.artifact import CORE, Artifact, load_artifact
from toolkit.golden import Golden
from toolkit.package import bento_store, package
from toolkit.predictor import Predictor
from toolkit.serving.serve import free_port

RESULT = ROOT / "benchmarks/results/image.json"
BUDGET_MB = 300.0
READY_SECONDS = 60.0
TEXTS = ("Who wrote Hamlet ?", "How many miles is it to the moon ?", "Where is Lisbon ?", "What is an atom ?", "é 问题")
# a person's first look inside: who am I, can anything be written, is there torch
INSIDE = (
    "import importlib.util as u, importlib.metadata as m, json, os; "
    "print(json.dumps({'uid': os.getuid(), 'torch': u.find_spec('torch') is not None, "
    "'versions': {d: m.version(d) for d in ('bentoml', 'onnxruntime', 'numpy')}}))"
)


def check_budget(layers: Sequence[Layer], budget_mb: float) -> float:
    """Compressed megabytes (1e6 bytes) of all layers; raises `EngineError` when they are over the budget."""
    size = sum(layer.compressed_bytes for layer in layers) / 1e6
    if size > budget_mb:
        raise EngineError(f"the image is {size:.1f} MB compressed; the budget is {budget_mb:g} MB")
    return size


def bento_folder(target: str) -> Path:
    """The folder of a bento: packaged now from an artifact's folder, or found in the store by its tag."""
    folder = Path(target).expanduser()
    if (folder / CORE).is_file():
        return package(load_artifact(folder)).path
    if (folder / "bento.yaml").is_file():
        return folder.resolve()
    name, _, version = target.partition(":")
    home = bento_store() / name
    if version in ("", "latest") and (home / "latest").is_file():
        version = (home / "latest").read_text().strip()
    if not (home / version / "bento.yaml").is_file():
        raise EngineError(f"{target} is neither an artifact's folder nor a bento in {bento_store()}")
    return home / version


def ask(port: int, path: str, body: Any = None) -> Any:
    """One request over loopback; raises `OSError` when it is not answered with 200."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read())


def questions(artifact: Artifact) -> tuple[str, list[Any]]:
    """A path and inputs; texts, or for other tasks the golden rows as typed tensors."""
    if artifact.spec.task == "text":
        return "/v1/classify", list(TEXTS)
    return f"/v2/models/{artifact.name}/infer", []


def compare_answers(artifact: Artifact, port: int) -> dict[str, Any]:
    """Ask and compare with this process; raises `EngineError` when a label or a score differs."""
    path, inputs = questions(artifact)
    if not inputs:
        return compare_tensors(artifact, port, path)
    answers = ask(port, path, {"inputs": inputs})["predictions"]
    with Predictor.load(artifact) as predictor:
        expected = [(p.label, p.score) for p in predictor(inputs)]
    difference = max(abs(a["score"] - score) for a, (_, score) in zip(answers, expected, strict=True))
    if [a["label"] for a in answers] != [label for label, _ in expected] or difference > 1e-5:
        raise EngineError(f"the image answers {answers}, this process {expected}")
    return {"questions": len(inputs), "labels_equal": True, "largest_score_difference": difference}


def compare_tensors(artifact: Artifact, port: int, path: str) -> dict[str, Any]:
    """The golden rows by the Open Inference Protocol, against the runner of this process."""
    golden = Golden.from_bytes(artifact.read("golden.npz"))
    types = {"int64": "INT64", "float32": "FP32"}
    sent = [
        {"name": n, "shape": list(a.shape), "datatype": types[a.dtype.name], "data": a.ravel().tolist()}
        for n, a in golden.arrays.items()
    ]
    outputs = ask(port, path, {"inputs": sent})["outputs"]
    logits = next(output["data"] for output in outputs if output["name"] == "logits")
    with Predictor.load(artifact) as predictor:
        expected = predictor.runner.run(dict(golden.arrays)).ravel().tolist()
    difference = max(abs(a - b) for a, b in zip(logits, expected, strict=True))
    if difference > 1e-4:
        raise EngineError(f"the logits of the image are {difference:.3g} away from those of this process")
    return {"rows": len(next(iter(golden.arrays.values()))), "largest_logit_difference": difference}


def try_image(
    engine: Engine, tag: str, artifact: Artifact, *, mounts: dict[Path, str], environment: dict[str, str]
) -> dict[str, Any]:
    """Run it, wait until it is ready, ask it, look into it, kill its worker."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="image-") as temporary:
        log = Path(temporary) / "log"
        with engine.serving(tag, port=port, log=log, mounts=mounts, environment=environment) as process:
            started = time.monotonic()  # vfs copies the whole root before, which no engine would
            ready = _wait_until_ready(port, process, log, started)
            found: dict[str, Any] = {"seconds_to_ready": round(ready, 3), **compare_answers(artifact, port)}
            if ask(port, "/v1/model")["digest"] != artifact.digest:
                raise EngineError("the image serves another artifact than the one it was given")
            if isinstance(engine, Buildah):
                found |= _look_at_process(process)
                found["seconds_from_kill_to_end"] = _kill_worker(process)
        return found


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path, started: float) -> float:
    while True:
        try:
            ask(port, "/readyz")
            return time.monotonic() - started
        except OSError:
            seconds = time.monotonic() - started
            if process.poll() is not None or seconds > READY_SECONDS:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise EngineError(f"not ready after {seconds:.1f} s:\n{tail}") from None
            time.sleep(0.05)


def _look_at_process(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """From outside, in /proc: the one process, its user, its capabilities, what it could write."""
    children = psutil.Process(process.pid).children(recursive=True)
    if len(children) != 1:
        raise EngineError(f"one process is expected in the container, there are {len(children)}")
    worker = children[0]
    status = dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{worker.pid}/status").read_text(), re.M))
    root = [line.split() for line in Path(f"/proc/{worker.pid}/mountinfo").read_text().splitlines()]
    writable = sorted(row[4] for row in root if "rw" in row[5].split(",") and not row[4].startswith(("/proc", "/dev")))
    maps = Path(f"/proc/{worker.pid}/maps").read_text()
    found = {
        "uid": worker.uids().real, "is_process_1": status["NSpid"].split()[-1] == "1",
        "capabilities": status["CapEff"].strip("0") or "none", "no_new_privileges": status["NoNewPrivs"] == "1",
        "writable_mounts": writable, "torch_mapped": "libtorch" in maps, "resident_bytes": worker.memory_info().rss,
    }  # fmt: skip
    wanted = {"uid": 10001, "is_process_1": True, "capabilities": "none", "no_new_privileges": True,
              "writable_mounts": ["/tmp"], "torch_mapped": False}  # fmt: skip
    wrong = {key: found[key] for key, value in wanted.items() if found[key] != value}
    if wrong:
        raise EngineError(f"the container is not as it should be: {wrong}")
    return found


def _kill_worker(process: subprocess.Popen[bytes]) -> float:
    """SIGKILL to the one process inside; the seconds until the container has ended."""
    (worker,) = psutil.Process(process.pid).children(recursive=True)
    killed = time.monotonic()
    worker.send_signal(signal.SIGKILL)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        raise EngineError("the container lives on without its worker") from None
    return round(time.monotonic() - killed, 3)


def containerize(folder: Path, artifact: Artifact, home: Path) -> dict[str, Any]:
    """`bentoml containerize --backend buildah` of the same artifact, over the same base: its size, and its answers."""
    said([str(ROOT / "container/base-image.sh")])
    os.environ["BENTOML_HOME"] = str(home)
    packed = package(load_artifact(artifact.folder), name="containerized", base_image=BASE)
    tag = "localhost/containerized:latest"
    environment = {**Buildah.environment, "BENTOML_DO_NOT_TRACK": "True"}
    started = time.monotonic()
    said([sys.executable, "-m", "bentoml", "containerize", packed.tag, "--backend", "buildah", "-t", tag],
         environment=environment)  # fmt: skip
    seconds = time.monotonic() - started
    engine = Buildah()
    layers = engine.layers(tag)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="image-") as temporary:
        log = Path(temporary) / "log"
        with engine.running(tag, port=port, log=log) as process:
            ready = _wait_until_ready(port, process, log, time.monotonic())
            answered = compare_answers(artifact, port)
    return {
        "seconds_to_ready": round(ready, 3), **answered,
        "command": "bentoml containerize --backend buildah", "seconds": round(seconds, 1),
        "compressed_mb": round(sum(layer.compressed_bytes for layer in layers) / 1e6, 1),
        "disk_mb": round(engine.disk_bytes(tag) / 1e6, 1),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="a bento's tag or folder, or an artifact's folder")
    parser.add_argument("--budget-mb", type=float, default=BUDGET_MB)
    parser.add_argument("--bentoml", action="store_true", help="also build it with bentoml containerize, to compare")
    parser.add_argument("--tag", default="localhost/serving:latest")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    try:
        engine = find_engine()
        folder = bento_folder(options.target)
        artifact = load_artifact(folder / "src/artifact")
        print(f"{engine.name}: {folder}")
        engine.build(folder, options.tag, dockerfile=ROOT / "Dockerfile")
        layers = engine.layers(options.tag)
        for layer in layers:
            print(f"  {layer.compressed_bytes / 1e6:8.1f} MB  {layer.digest[:19]}")
        size = check_budget(layers, options.budget_mb)
        print(f"  {size:8.1f} MB compressed, of {options.budget_mb:g}")
        inside = json.loads(engine.run(options.tag, ["python", "-c", INSIDE]))
        if inside["uid"] != 10001 or inside["torch"]:
            raise EngineError(f"inside: {inside}")
        built_in = try_image(engine, options.tag, artifact, mounts={}, environment={})
        print(f"  built in: {json.dumps(built_in)}")
        mounted = try_image(
            engine, options.tag, artifact,
            mounts={artifact.folder: "/artifact"}, environment={"TOOLKIT_ARTIFACT": "/artifact"},
        )  # fmt: skip
        print(f"  mounted:  {json.dumps(mounted)}")
        document = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "engine": engine.name,
            "artifact": {"name": artifact.name, "digest": artifact.digest}, "versions": inside["versions"],
            "budget_mb": options.budget_mb, "compressed_mb": round(size, 1),
            "disk_mb": round(engine.disk_bytes(options.tag) / 1e6, 1),
            "layers": [{"digest": one.digest, "compressed_bytes": one.compressed_bytes} for one in layers],
            "built_in": built_in, "mounted": mounted,
        }  # fmt: skip
        if options.bentoml:
            with tempfile.TemporaryDirectory(prefix="bentoml-home-") as home:
                document["bentoml"] = containerize(folder, artifact, Path(home))
            print(f"  bentoml:  {json.dumps(document['bentoml'])}")
    except EngineError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    options.out.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
