"""What `make gpu` compares on one GPU: eager PyTorch, compiled, captured, ONNX Runtime CUDA, TensorRT.

Each is opened once and asked in three ways: `run`, numpy in and numpy out as a server asks it; `resident`, on arrays
that lie on the GPU already; `events`, the same by the GPU's own clock where its stream is at hand. One that cannot
be opened here has its words in its row.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolkit.artifact import Artifact, load_artifact
from toolkit.classifier import Classifier, load_classifier
from toolkit.compress.gpu_precision import Request, write_in_precision
from toolkit.data import Data
from toolkit.engines.flags import Flags
from toolkit.errors import InputError, ToolkitError
from toolkit.runners import open_runner
from toolkit.runners.cuda import CudaRunner
from toolkit.runners.fresh_engine import build_engine_of
from toolkit.runners.tensorrt import TensorRTRunner
from toolkit.runners.tensorrt_rtx import RtxRunner
from toolkit.spec import Array, Arrays, Spec

# what is written by `toolkit build` for a contestant, by its name; int8 and fp8 with the products that TREC keeps
BUILT = ("fp16", "int8", "fp8")
SPARSE = "TensorRT fp16, 2:4"  # weights cut without training: its speed is what is asked, its accuracy is shown


class Contestant(Protocol):
    """One way to answer on the GPU."""

    def run(self, arrays: Arrays) -> Array: ...

    def resident(self, arrays: Arrays) -> Callable[[], None]: ...

    def events(self, arrays: Arrays) -> Callable[[], float] | None: ...

    def facts(self) -> dict[str, Any]: ...


class TorchContestant:
    """The trained net in PyTorch: `half` in fp16, `compiled` by torch.compile, `captured` as CUDA graphs."""

    def __init__(self, classifier: Classifier, *, half: bool, compiled: bool = False, captured: bool = False) -> None:
        import torch

        net = copy.deepcopy(classifier.net).eval().cuda()
        self._torch, self._spec, self._half = torch, classifier.spec, half
        self._net: Any = net.half() if half else net
        if compiled:
            self._net = torch.compile(self._net, dynamic=False)
        self._captured = captured
        self._graphs: dict[tuple[Any, ...], tuple[Any, list[Any], Any]] = {}
        self._words = f"{'fp16' if half else 'fp32'}{', compiled' * compiled}{', CUDA graphs' * captured}"

    def run(self, arrays: Arrays) -> Array:
        with self._torch.inference_mode():
            if self._captured:
                graph, inputs, output = self._graph(arrays)
                for target, source in zip(inputs, self._hosts(arrays), strict=True):
                    target.copy_(source)
                graph.replay()
            else:
                output = self._net(*(self._typed(host.cuda(non_blocking=True)) for host in self._hosts(arrays)))
            result: Array = output.float().cpu().numpy()
        return result

    def resident(self, arrays: Arrays) -> Callable[[], None]:
        enqueue = self._enqueue(arrays)

        def run() -> None:
            enqueue()
            self._torch.cuda.synchronize()

        return run

    def events(self, arrays: Arrays) -> Callable[[], float] | None:
        enqueue, torch = self._enqueue(arrays), self._torch
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def run() -> float:
            begin.record()
            enqueue()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end))

        return run

    def facts(self) -> dict[str, Any]:
        return {"runtime": f"PyTorch {self._torch.__version__}", "precision": self._words}

    def _enqueue(self, arrays: Arrays) -> Callable[[], None]:
        torch = self._torch
        if self._captured:
            with torch.inference_mode():
                graph, inputs, _ = self._graph(arrays)
                for target, source in zip(inputs, self._hosts(arrays), strict=True):
                    target.copy_(source)
            return lambda: graph.replay()
        tensors = [self._typed(host.cuda()) for host in self._hosts(arrays)]

        def run() -> None:
            with torch.inference_mode():
                self._net(*tensors)

        return run

    def _graph(self, arrays: Arrays) -> tuple[Any, list[Any], Any]:
        torch, shapes = self._torch, tuple(arrays[one.name].shape for one in self._spec.inputs)
        if shapes not in self._graphs:
            inputs = [self._typed(host.cuda()) for host in self._hosts(arrays)]
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # as PyTorch asks: a few runs elsewhere before a capture
                for _ in range(3):
                    self._net(*inputs)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self._net(*inputs)
            self._graphs[shapes] = (graph, inputs, output)
        return self._graphs[shapes]

    def _hosts(self, arrays: Arrays) -> list[Any]:
        return [self._torch.from_numpy(np.ascontiguousarray(arrays[one.name])) for one in self._spec.inputs]

    def _typed(self, tensor: Any) -> Any:
        return tensor.half() if self._half and tensor.is_floating_point() else tensor


class RunnerContestant:
    """One of the toolkit's own runners."""

    def __init__(self, runner: CudaRunner | RtxRunner | TensorRTRunner) -> None:
        self._runner = runner

    def run(self, arrays: Arrays) -> Array:
        return self._runner.run(arrays)

    def resident(self, arrays: Arrays) -> Callable[[], None]:
        return self._runner.resident(arrays)

    def events(self, arrays: Arrays) -> Callable[[], float] | None:
        return self._runner.event_milliseconds(arrays) if isinstance(self._runner, TensorRTRunner) else None

    def facts(self) -> dict[str, Any]:
        return self._runner.facts()


@dataclass(frozen=True)
class Opened:
    """Those that could be opened, by name, and why the others could not."""

    contestants: Mapping[str, Contestant]
    absent: Mapping[str, str]


EAGER16, FP16_CUDA = "eager fp16", "ONNX Runtime CUDA fp16"
RTX = "TensorRT-RTX fp16"
OURS = ("ONNX Runtime CUDA fp32", FP16_CUDA, "TensorRT fp16", "TensorRT int8", "TensorRT fp8", RTX)


def open_all(came: Artifact, exported: Artifact, data: Data, folder: Path, stack: ExitStack) -> Opened:
    """Every contestant of a case; `folder` keeps the artifacts that `toolkit build` would write."""
    classifier = load_classifier(came)
    contestants: dict[str, Contestant] = {}
    absent: dict[str, str] = {}
    for name, make in makers(classifier, exported, data, folder, stack):
        try:
            contestants[name] = make()
        except (ToolkitError, RuntimeError, OSError) as error:  # a GPU, a driver or a compiler that will not
            absent[name] = " ".join(str(error).split())[:300]
    return Opened(contestants, absent)


def makers(
    classifier: Classifier, exported: Artifact, data: Data, folder: Path, stack: ExitStack
) -> Iterator[tuple[str, Callable[[], Contestant]]]:
    """Name and maker of each; nothing is opened before it is called."""
    yield "eager fp32", lambda: TorchContestant(classifier, half=False)
    yield EAGER16, lambda: TorchContestant(classifier, half=True)
    yield "torch.compile fp16", lambda: TorchContestant(classifier, half=True, compiled=True)
    yield "CUDA graphs fp16", lambda: TorchContestant(classifier, half=True, captured=True)
    yield OURS[0], lambda: _ours(stack, open_runner(exported, provider="cuda"))
    yield FP16_CUDA, lambda: _ours(stack, open_runner(_built(exported, data, folder, "fp16"), provider="cuda"))
    yield RTX, lambda: _ours(stack, open_runner(_built(exported, data, folder, "fp16"), provider="tensorrt-rtx"))
    for precision in BUILT:
        yield (
            f"TensorRT {precision}",
            lambda precision=precision: _ours(  # type: ignore[misc]
                stack, _engine(_built(exported, data, folder, precision))
            ),
        )
    yield SPARSE, lambda: _ours(stack, _engine(_built(exported, data, folder, "fp16", sparse=True)))


def _ours(stack: ExitStack, runner: Any) -> RunnerContestant:
    return RunnerContestant(stack.enter_context(runner))


def _built(exported: Artifact, data: Data, folder: Path, precision: str, *, sparse: bool = False) -> Artifact:
    """The artifact of `toolkit build --precision`, made once."""
    target = folder / (f"{precision}-sparse" if sparse else precision)
    if target.is_dir():
        found = load_artifact(target)
        if found.core.parent == exported.digest:
            return found
    target.mkdir(parents=True, exist_ok=True)
    return write_in_precision(exported, target, Request(precision, Flags(sparse=sparse)), train=data.split("train"))


def _engine(artifact: Artifact) -> TensorRTRunner:
    """From the cache, or built here, compared with ONNX Runtime, and kept."""
    try:
        return TensorRTRunner.open(artifact, threads=1, provider="tensorrt")
    except InputError:
        with open_runner(artifact) as beside:
            fresh = build_engine_of(artifact, beside)
        fresh.keep()
        return fresh.runner


def products_milliseconds(classifier: Classifier, arrays: Arrays, *, repeats: int = 50) -> float:
    """Milliseconds of the linear layers and convolutions of one fp16 run, each alone in the vendor's library.

    Their inputs are those that the net gave them. The two products inside attention are not among them.
    """
    import torch
    from torch import nn

    net = copy.deepcopy(classifier.net).eval().cuda().half()
    seen: list[tuple[Any, Any]] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, _: seen.append((module, inputs[0].clone())))
        for module in net.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    spec: Spec = classifier.spec
    with torch.inference_mode():
        tensors = [torch.from_numpy(np.ascontiguousarray(arrays[one.name])).cuda() for one in spec.inputs]
        net(*(tensor.half() if tensor.is_floating_point() else tensor for tensor in tensors))
        for hook in hooks:
            hook.remove()
        total = 0.0
        for module, given in seen:
            graph = torch.cuda.CUDAGraph()
            module(given)
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                for _ in range(repeats):
                    module(given)
            event: Any = torch.cuda.Event
            begin, end = (event(enable_timing=True) for _ in range(2))
            graph.replay()
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            total += begin.elapsed_time(end) / repeats
    return total
