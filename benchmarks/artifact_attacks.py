"""Attacks on an artifact's folder, each beside a control that shows what it does where nobody looks.

Every case is a copy of a real artifact, changed. Refused is what `load_served` refuses with an `ArtifactError`;
`sessions` are the ONNX Runtime sessions made meanwhile, counted at the runtime's own class. The control is the same
change given to plain ONNX Runtime, plain numpy, or to a reader that does not check: a row whose control accepts nothing
would prove nothing.

Run: python -m benchmarks.artifact_attacks FOLDER   prints one JSON line a row.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from toolkit.artifact import core_bytes, load_artifact
from toolkit.errors import ArtifactError
from toolkit.lineage import digest_of_bytes
from toolkit.predictor import Predictor
from toolkit.serving.loading import load_served
from toolkit.spec import Spec

FLIPS, SEED = 1000, 0
MODEL, GOLDEN, CORE = "model.onnx", "golden.npz", "artifact.json"


@dataclass(frozen=True)
class Attack:
    """A change of the artifact in a folder, and whether one that does not check takes it."""

    fault: str
    change: Callable[[Path], None]
    control: Callable[[Path], bool]


def run_attacks(folder: Path, *, flips: int = FLIPS) -> list[dict[str, Any]]:
    """Every attack on copies of the ONNX artifact in `folder`: fault, cases, refused, control_accepted, sessions."""
    with tempfile.TemporaryDirectory(prefix="toolkit-attacks-") as temporary:
        place = Path(temporary)
        rows = [_flip_bits(folder, place / "flips", flips)]
        grouped: dict[str, list[Attack]] = {}
        for attack in attacks(folder):
            grouped.setdefault(attack.fault, []).append(attack)
        for fault, several in grouped.items():
            refused = accepted = sessions = 0
            for number, attack in enumerate(several):
                copy = place / f"{fault}-{number}" / "artifact"
                shutil.copytree(folder, copy)
                attack.change(copy)
                found, made = _is_refused(copy)
                refused, sessions = refused + found, sessions + made
                accepted += attack.control(copy)
                shutil.rmtree(copy.parent)
            rows.append(_row(fault, len(several), refused, accepted, sessions))
    return rows


def _row(fault: str, cases: int, refused: int, accepted: int, sessions: int) -> dict[str, Any]:
    return {"fault": fault, "cases": cases, "refused": refused, "control_accepted": accepted, "sessions": sessions}


def _is_refused(folder: Path) -> tuple[bool, int]:
    """Whether `load_served` refuses it in its own words, and how many sessions were made."""
    with counted_sessions() as made:
        try:
            load_served(folder).predictor.close()
        except ArtifactError:
            return True, len(made)
    return False, len(made)


@contextmanager
def counted_sessions() -> Iterator[list[object]]:
    """Every ONNX Runtime session that is asked for, whoever asks, as it is asked for."""
    made: list[object] = []
    plain = ort.InferenceSession.__init__

    def count(session: Any, *arguments: Any, **options: Any) -> None:
        made.append(session)
        plain(session, *arguments, **options)

    with patch.object(ort.InferenceSession, "__init__", count):
        yield made


def _flip_bits(folder: Path, place: Path, flips: int) -> dict[str, Any]:
    """One random bit in a random file, each file as often as any; the control is without hashes."""
    draw = random.Random(SEED)
    shutil.copytree(folder, place)
    paths = [CORE, *load_artifact(folder).files]
    refused = accepted = sessions = 0
    for _ in range(flips):
        path = place / draw.choice(paths)
        whole = path.read_bytes()
        place_of = draw.randrange(len(whole) * 8)
        changed = bytearray(whole)
        changed[place_of // 8] ^= 1 << place_of % 8
        path.write_bytes(changed)
        found, made = _is_refused(place)
        refused, sessions = refused + found, sessions + made
        accepted += loads_plainly(place) if path.name == MODEL else loads_unchecked(place)
        path.write_bytes(whole)
        (place / CORE).write_bytes((folder / CORE).read_bytes())
    return _row("bit flips", flips, refused, accepted, sessions)


def write_core(folder: Path, edit: Callable[[dict[str, Any]], object] = lambda value: None) -> None:
    """Write the core again as one who knows how: hashes, sizes and digest of what is there, then `edit`."""
    value = json.loads((folder / CORE).read_bytes())
    value.pop("digest", None)
    for path in value["files"]:
        content = (folder / path).read_bytes()
        value["files"][path] = {"sha256": digest_of_bytes(content), "bytes": len(content)}
    edit(value)
    (folder / CORE).write_bytes(core_bytes(value))


def loads_plainly(folder: Path) -> bool:
    """Whether plain ONNX Runtime takes the model file. Without its optimizer: it would reckon a bomb out at once."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ort.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def loads_unchecked(folder: Path) -> bool:
    """Whether a copy whose hashes were made to agree loads, encoder and self-test included."""
    try:
        write_core(folder)
        Predictor.load(folder).close()
    except Exception:
        return False
    return True


def attacks(folder: Path) -> list[Attack]:
    """The table; cases of one fault stand together."""
    paths = list(load_artifact(folder).files)
    outside = folder / MODEL  # a file that exists and is not the copy's
    return [
        *(Attack("truncation", _truncate(path), _accepts_truncated) for path in [CORE, *paths]),
        *(Attack("swapped files", _swap(path), loads_plainly) for path in (MODEL, GOLDEN)),
        *(Attack("extra file", _add(path), loads_plainly) for path in ("stranger.bin", "encoder/x.json", "evil.so")),
        *(Attack("symbolic link", _link(path, os.symlink), loads_plainly) for path in (MODEL, GOLDEN, CORE)),
        *(Attack("hard link", _link(path, os.link), loads_plainly) for path in (MODEL, GOLDEN, CORE)),
        *(
            Attack("path outside", _name_file(path, outside), _reads_file(path))
            for path in ("../outside", "encoder/../../outside", str(outside), "evidence/../../outside")
        ),
        Attack("deep JSON", _nest, _breaks_json),
        *(Attack(fault, _change_model(edit), loads_plainly) for fault, edit in GRAPHS),
        Attack("pickle in golden rows", _pickle_golden, _unpickles),
        Attack("rows of 160 GB", _limit_160_gb, _asks_memory),
        Attack("bomb in golden rows", _bomb_golden, _unpacks),
        Attack("weights that are no numbers", _change_model(_spoil), loads_plainly),
    ]


def _truncate(path: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        model = onnx.load(str(folder / MODEL))
        model.metadata_props.add(key="last", value="field")
        (folder / MODEL).write_bytes(model.SerializeToString())
        write_core(folder)
        content = (folder / path).read_bytes()
        # the model ends after a whole field, which no parser can tell from a whole file
        (folder / path).write_bytes(content[: -_tail(model)] if path == MODEL else content[:-1])

    return change


def _tail(model: Any) -> int:
    last: int = model.metadata_props[-1].ByteSize()
    return 2 + last  # tag, length, content


def _accepts_truncated(folder: Path) -> bool:
    return onnx.load(str(folder / MODEL)).metadata_props == [] and loads_plainly(folder)


def _swap(path: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        other = folder.parent / "other"
        shutil.copytree(folder, other)
        model = onnx.load(str(other / MODEL))
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        (other / MODEL).write_bytes(model.SerializeToString())
        content = bytearray((other / GOLDEN).read_bytes())
        content[-200] ^= 255
        (other / GOLDEN).write_bytes(content)
        shutil.copyfile(other / path, folder / path)

    return change


def _add(path: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / path).write_text("{}")

    return change


def _link(path: str, link: Callable[[Path, Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        outside = folder.parent / "outside"
        (folder / path).rename(outside)
        link(outside, folder / path)

    return change


def _name_file(path: str, source: Path) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "evidence").mkdir(exist_ok=True)
        shutil.copyfile(source, folder.parent / "outside")
        content = source.read_bytes()
        entry = {"sha256": digest_of_bytes(content), "bytes": len(content)}
        write_core(folder, lambda value: value["files"].update({path: entry}))

    return change


def _reads_file(path: str) -> Callable[[Path], bool]:
    return lambda folder: len((folder / path).read_bytes()) > 0


def _nest(folder: Path) -> None:
    (folder / CORE).write_text('{"net": ' + "[" * 100_000 + "]" * 100_000 + "}")


def _breaks_json(folder: Path) -> bool:
    """The control does not take it either, but ends in an error that no caller expects of JSON."""
    try:
        json.loads((folder / CORE).read_bytes())
    except RecursionError:
        return True
    return False


def _limit_160_gb(folder: Path) -> None:
    """A warm-up row as long as the core allows."""

    def edit(value: dict[str, Any]) -> None:
        value["spec"]["inputs"][0]["shape"][-1] = "wide"
        value["spec"]["limits"]["wide"] = [1, 40_000_000_000]

    write_core(folder, edit)


def _asks_memory(folder: Path) -> bool:
    spec = Spec.from_json(json.loads((folder / CORE).read_bytes())["spec"])
    return spec.limits["wide"][1] * np.dtype(spec.inputs[0].dtype).itemsize >= 160 * 10**9


def _change_model(edit: Callable[[Any, Path], None]) -> Callable[[Path], None]:
    """A changed graph with hashes that agree."""

    def change(folder: Path) -> None:
        model = onnx.load(str(folder / MODEL))
        edit(model, folder)
        (folder / MODEL).write_bytes(model.SerializeToString())
        write_core(folder)

    return change


def _add_nodes(model: Any, *nodes: Any, **constants: Any) -> None:
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    model.graph.node.extend(nodes)


def _external(model: Any, folder: Path) -> None:
    """Weights in a file outside, through a hard link beside the model."""
    tensor = next(t for t in model.graph.initializer if t.raw_data)
    source = folder.parent / "weights.bin"
    source.write_bytes(tensor.raw_data)
    (folder / "evidence").mkdir(exist_ok=True)
    shutil.copyfile(source, folder / "evidence/weights.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="evidence/weights.bin")


def _ask_for_160_gb(model: Any, folder: Path) -> None:
    _add_nodes(model, helper.make_node("ConstantOfShape", ["huge"], ["bomb"]), huge=np.array([200_000, 200_000]))


def _reckon_160_gb(model: Any, folder: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["half", "half"], ["huge"]),
        helper.make_node("ConstantOfShape", ["huge"], ["bomb"]),
    ]
    _add_nodes(model, *nodes, half=np.array([200_000]))


def _repeat(model: Any, folder: Path) -> None:
    _add_nodes(model, helper.make_node("Tile", ["one", "times"], ["bomb"]), one=np.ones(1, np.float32),
               times=np.array([40_000_000_000]))  # fmt: skip


def _graph(name: str, inputs: list[Any], outputs: list[Any], *nodes: Any) -> Any:
    return helper.make_graph(list(nodes), name, inputs, outputs)


def _value(name: str, kind: int, shape: list[int]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _loop(model: Any, folder: Path) -> None:
    """As many turns as an integer can say."""
    turn, on, row = (
        _value("turn", TensorProto.INT64, []), _value("on", TensorProto.BOOL, []), _value("x", TensorProto.FLOAT, [3])
    )  # fmt: skip
    out = [_value("on.out", TensorProto.BOOL, []), _value("x.out", TensorProto.FLOAT, [3])]
    nodes = [helper.make_node("Identity", ["on"], ["on.out"]), helper.make_node("Identity", ["x"], ["x.out"])]
    loop = helper.make_node("Loop", ["turns", "yes", "row"], ["end"], body=_graph("body", [turn, on, row], out, *nodes))
    _add_nodes(model, loop, turns=np.array(2**63 - 1), yes=np.array(True), row=np.ones(3, np.float32))


def _if(model: Any, folder: Path) -> None:
    branches = {
        f"{word}_branch": _graph(word, [], [_value(f"{word}.out", TensorProto.BOOL, [])],
                                 helper.make_node("Identity", ["yes"], [f"{word}.out"]))
        for word in ("then", "else")
    }  # fmt: skip
    _add_nodes(model, helper.make_node("If", ["yes"], ["if.out"], **branches), yes=np.array(True))


def _scan(model: Any, folder: Path) -> None:
    body = _graph("body", [_value("item", TensorProto.FLOAT, [])], [_value("item.out", TensorProto.FLOAT, [])],
                  helper.make_node("Identity", ["item"], ["item.out"]))  # fmt: skip
    node = helper.make_node("Scan", ["row"], ["scan.out"], body=body, num_scan_inputs=1)
    _add_nodes(model, node, row=np.ones(3, np.float32))


def _other_domain(model: Any, folder: Path) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    node = helper.make_node("Binarizer", ["row"], ["binarized"], domain="ai.onnx.ml")
    _add_nodes(model, node, row=np.ones(3, np.float32))


def _own_domain(model: Any, folder: Path) -> None:
    if all(entry.domain != "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    _add_nodes(
        model, helper.make_node("QuickGelu", ["row"], ["gelu"], domain="com.microsoft"), row=np.ones(3, np.float32)
    )


def _function(model: Any, folder: Path) -> None:
    """An operator of the file's own, that hides a random number."""
    opsets = [entry for entry in model.opset_import if entry.domain == ""]
    inside = helper.make_node("RandomUniformLike", ["x"], ["y"])
    model.functions.append(helper.make_function("mine", "Relu", ["x"], ["y"], [inside], opsets))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    _add_nodes(model, helper.make_node("Relu", ["row"], ["mine.out"], domain="mine"), row=np.ones(3, np.float32))


def _random(model: Any, folder: Path) -> None:
    _add_nodes(model, helper.make_node("RandomNormal", [], ["noise"], shape=[2]))


def _spoil(model: Any, folder: Path) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = np.full_like(numpy_helper.to_array(tensor), np.nan)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


GRAPHS: tuple[tuple[str, Callable[[Any, Path], None]], ...] = (
    ("external data", _external),
    ("160 GB by a shape", _ask_for_160_gb),
    ("160 GB by a shape", _reckon_160_gb),
    ("160 GB by a shape", _repeat),
    ("endless Loop", _loop),
    ("If and Scan", _if),
    ("If and Scan", _scan),
    ("operators of other domains", _other_domain),
    ("operators of other domains", _own_domain),
    ("functions that hide operators", _function),
    ("random operators", _random),
)


def _write_golden(folder: Path, content: bytes) -> None:
    (folder / GOLDEN).write_bytes(content)
    write_core(folder)


def _pickle_golden(folder: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, logits=np.array([print], dtype=object))
    _write_golden(folder, buffer.getvalue())


def _unpickles(folder: Path) -> bool:
    """Plain pickle, which numpy asks when it is allowed to."""
    with np.load(folder / GOLDEN) as stored:
        content = stored.zip.read("logits.npy")
    return pickle.loads(content[content.index(b"\n") + 1 :])[0] is print  # noqa: S301  (the attack itself)


def _bomb_golden(folder: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, logits=np.zeros((1 << 23, 2), np.float32))
    _write_golden(folder, buffer.getvalue())


def _unpacks(folder: Path) -> bool:
    with np.load(folder / GOLDEN) as stored:
        return bool(stored["logits"].nbytes > 100 * (folder / GOLDEN).stat().st_size)


def main() -> None:
    """Print one JSON line a row."""
    for row in run_attacks(Path(sys.argv[1])):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
