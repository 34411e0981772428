"""The path of a GPU, on ONNX Runtime's CPU provider where there is none: buffers, shapes, threads, placement."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from small_classifiers import TEXTS, make_classifier

from toolkit.engines.order import Order
from toolkit.errors import ArtifactError, InputError
from toolkit.export.onnx import export
from toolkit.runners import open_runner
from toolkit.runners.cancel import Cancel, Cancelled
from toolkit.runners.cuda import HEAVY, MOST_SHAPES, CudaRunner, placement
from toolkit.runners.onnx import OnnxRunner
from toolkit.runners.tensorrt_rtx import shapes_of

CLASSIFIER = make_classifier("transformer")
ARRAYS = CLASSIFIER.encoder.encode(TEXTS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    exported, _ = export(CLASSIFIER, tmp_path_factory.mktemp("cuda") / "onnx", examples=TEXTS)
    return exported.read("model.onnx")


def test_every_shape_answers_as_the_plain_runner_does_and_again_when_it_comes_back(model: bytes) -> None:
    with CudaRunner(model, device="cpu") as bound, OnnxRunner(model) as plain:
        for _ in range(2):
            for rows in (1, 3, 7):
                for length in (2, 5, 9):
                    arrays = {name: array[:rows, :length] for name, array in ARRAYS.items()}
                    assert np.allclose(bound.run(arrays), plain.run(arrays), atol=1e-6)


def test_an_answer_is_the_callers_and_not_the_next_runs(model: bytes) -> None:
    with CudaRunner(model, device="cpu") as runner:
        first = {name: array[:1] for name, array in ARRAYS.items()}
        second = {name: array[1:2] for name, array in ARRAYS.items()}
        kept = runner.run(first)
        before = kept.copy()
        runner.run(second)
        assert np.array_equal(kept, before)
        assert not np.array_equal(kept, runner.run(second))


def test_only_so_many_shapes_keep_their_buffers(model: bytes) -> None:
    with CudaRunner(model, device="cpu") as runner:
        for rows in range(1, MOST_SHAPES + 9):
            runner.run({name: np.repeat(array[:1], rows, axis=0) for name, array in ARRAYS.items()})
        assert len(runner._bound) == MOST_SHAPES


def test_threads_take_turns_and_each_gets_its_own_answer(model: bytes) -> None:
    with CudaRunner(model, device="cpu") as runner, OnnxRunner(model) as plain:
        singles = [{name: array[row : row + 1] for name, array in ARRAYS.items()} for row in range(len(TEXTS))]
        expected = [plain.run(single) for single in singles]
        wrong: list[int] = []

        def ask(row: int) -> None:
            found = [runner.run(singles[row]) for _ in range(30)]
            wrong.extend(row for logits in found if not np.allclose(logits, expected[row], atol=1e-6))

        threads = [threading.Thread(target=ask, args=(row,)) for row in range(len(TEXTS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_where_each_node_runs_is_read_from_the_session(model: bytes) -> None:
    with CudaRunner(model, device="cpu") as runner:
        placed = placement(runner.session)
        facts = runner.facts()
    assert set(placed) == {"CPUExecutionProvider"}
    assert facts["nodes"] == {"CPUExecutionProvider": sum(placed["CPUExecutionProvider"].values())}
    assert set(placed["CPUExecutionProvider"]) & set(HEAVY), "the products of a transformer are among them"


def test_resident_runs_answer_nothing_and_leave_the_runner_as_it_was(model: bytes) -> None:
    with CudaRunner(model, device="cpu") as runner:
        expected = runner.run(ARRAYS)
        again = runner.resident(ARRAYS)
        for _ in range(3):
            again()
        assert np.array_equal(runner.run(ARRAYS), expected)


def test_work_that_nobody_waits_for_does_not_begin(model: bytes) -> None:
    cancel = Cancel()
    cancel.cancel()
    with CudaRunner(model, device="cpu") as runner, pytest.raises(Cancelled):
        runner.run(ARRAYS, cancel)


def test_no_model_and_no_provider_are_said_in_one_line() -> None:
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load the model"):
        CudaRunner(b"not a model", device="cpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(InputError, match=r"no CUDAExecutionProvider .*\[gpu\]"):
            CudaRunner(b"not a model")


def test_the_plugin_of_tensorrt_rtx_is_told_the_shapes_and_refused_without_it(tmp_path: Path) -> None:
    artifact, _ = export(CLASSIFIER, tmp_path / "onnx", examples=TEXTS)
    shapes = shapes_of(Order.of(artifact))
    assert set(shapes) == {"nv_profile_min_shapes", "nv_profile_opt_shapes", "nv_profile_max_shapes"}
    assert shapes["nv_profile_min_shapes"] == "input_ids:1x1;attention_mask:1x1"
    assert shapes["nv_profile_max_shapes"].startswith("input_ids:256x")
    if importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None:
        with pytest.raises(InputError, match=r"\[tensorrt-rtx\]"):
            open_runner(artifact, provider="tensorrt-rtx")


def test_of_two_distributions_of_onnx_runtime_the_first_import_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: bytes
) -> None:
    from toolkit.doctor import examine
    from toolkit.runners.onnx import check_packages, installed_packages

    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.31.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.31.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for remembered in (check_packages, installed_packages):
        remembered.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match=r"overwrite each other.*install one extra: \[cpu\] or \[gpu\]"):
            OnnxRunner(model).close()
        (finding,) = [one for one in examine().findings if one.subject == "ONNX Runtime"]
        assert finding.state == "warning"
        assert "overwrite each other" in finding.words
        assert "[cpu] or [gpu]" in finding.advice
    finally:
        monkeypatch.undo()
        for remembered in (check_packages, installed_packages):
            remembered.cache_clear()
