"""What this machine can do at best, measured once: bytes a second from memory, operations a second in products.

- *Memory*: a block far larger than the last cache is read (a dot product by BLAS, or the largest value by numpy, the
  faster) and copied (bytes read and written both count); the better of the two is its rate. Blocks just as large as the
  weights of the models are read too: a small model's stay in the cache from run to run, and memory does not bound it.
- *Operations*: a square product in ONNX Runtime's own kernels (MatMulInteger and QGemm, uint8 by int8; MatMul in
  fp32), the weight constant and packed, as in a model. Its answer is checked.

The best of several repetitions counts: a limit is what a quiet moment allows. Threads share the work in both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scale_models import Operations
from toolkit.errors import ToolkitError, require
from toolkit.machine import describe_machine
from toolkit.spec import Array

BLOCK = 512 << 20  # bytes, at least eight times the last cache
CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
REPETITIONS = 7


class WrongProductError(ToolkitError):
    """A kernel that was to be timed gave another result than numpy."""


def measure_limits(
    sizes: Sequence[int],
    threads: Sequence[int],
    *,
    square: int,
    block: int | None = None,
    seconds: float = 0.1,
    seed: int = 0,
) -> dict[str, Any]:
    """Rates for each number of threads; `sizes` are blocks in bytes, `square` the side of the products,
    `seconds` about what a repetition takes; `block` None is 512 MiB, or more where the last cache is large.

    Returns {"last_cache_bytes", "block_bytes", "square", "threads": {"1": {"memory_gb_s", "copy_gb_s", "read_gb_s",
    "read_by_bytes": {size: GB/s}, "int8_gop_s", "fp32_gop_s", "kernels": {...}}}}; GB and GOP are 10^9.
    Raises `WrongProductError`.
    """
    cache = last_cache_bytes()
    if block is None:
        block = min(max(BLOCK, 8 * (cache or 0)), max(describe_machine().memory_bytes // 8, 64 << 20))
    found: dict[str, Any] = {"last_cache_bytes": cache, "block_bytes": block, "square": square, "threads": {}}
    with require("threadpoolctl", extra="train").threadpool_limits(1):  # BLAS: the threads here are ours
        for count in threads:
            kernels = time_products(square, count, seconds=seconds, seed=seed)
            copied, read = copy_rate(block, count, seconds), read_rate(block, count, seconds)
            found["threads"][str(count)] = {
                "memory_gb_s": max(copied, read),
                "copy_gb_s": copied,
                "read_gb_s": read,
                "read_by_bytes": {str(size): read_rate(size, count, seconds) for size in sorted(set(sizes))},
                "int8_gop_s": max(kernels["MatMulInteger"], kernels["QGemm"]),
                "fp32_gop_s": kernels["MatMul"],
                "kernels": kernels,
            }
    return found


def limit_of(limits: Mapping[str, Any], threads: int, *, weight_bytes: int, work: Operations) -> dict[str, float]:
    """Milliseconds that `work` takes at the measured rates, and its weights at those of memory and of their own size.

    "limit_ms" is what no run on this machine goes below: the longer of the products and of reading the weights from
    wherever a block of their size is kept.
    """
    rates = limits["threads"][str(threads)]
    products = work.int8 / rates["int8_gop_s"] + work.fp32 / rates["fp32_gop_s"]
    kept = weight_bytes / rates["read_by_bytes"][str(weight_bytes)]
    return {
        "memory_ms": weight_bytes / rates["memory_gb_s"] / 1e6,
        "kept_ms": kept / 1e6,
        "operations_ms": products / 1e6,
        "limit_ms": max(products, kept) / 1e6,
    }


def read_rate(size: int, threads: int, seconds: float) -> float:
    """GB/s at which `threads` threads read blocks of `size` bytes in all, again and again."""
    return max(_rate(size, threads, seconds, lambda half, other: np.dot(half, other)),
               _rate(size, threads, seconds, lambda half, other: (half.max(), other.max())))  # fmt: skip


def copy_rate(size: int, threads: int, seconds: float) -> float:
    """GB/s, read and written, at which `threads` threads copy half a block of `size` bytes onto its other half."""
    return _rate(size, threads, seconds, np.copyto)


def _rate(size: int, threads: int, seconds: float, work: Callable[[Array, Array], object]) -> float:
    parts = [np.ones((2, max(1, size // threads // 8)), dtype=np.float32) for _ in range(threads)]
    touched = sum(part.nbytes for part in parts)
    return touched * _most_often(lambda part: work(part[0], part[1]), parts, seconds) / 1e9


def time_products(square: int, threads: int, *, seconds: float = 0.1, seed: int = 0) -> dict[str, float]:
    """GOP/s of each kernel, two operations for a multiplication; raises `WrongProductError`."""
    random = np.random.default_rng(seed)
    rates = {}
    for kernel in ("MatMulInteger", "QGemm", "MatMul"):
        left: Array
        right: Array
        if kernel == "MatMul":
            left, right = (random.standard_normal((square, square), dtype=np.float32) for _ in range(2))
        else:
            left = random.integers(0, 256, (square, square), dtype=np.uint8)
            right = random.integers(-63, 64, (square, square), dtype=np.int8)  # 7 bits: sums of no kernel saturate
        session = _open(_product(kernel, right), threads)
        check_product(kernel, session.run(None, {"left": left})[0], left, right)

        def run(part: Array, session: Any = session) -> None:
            session.run(None, {"left": part})

        rates[kernel] = 2.0 * square**3 * _most_often(run, [left], seconds) / 1e9
    return rates


def check_product(kernel: str, found: Array, left: Array, right: Array) -> None:
    """Raises `WrongProductError` unless the first row of `found` is that of `left` times `right`, (side, side) each."""
    expected = left[0].astype(np.float64) @ right.astype(np.float64)
    if not np.allclose(found[0], expected, rtol=1e-3, atol=1e-3 * len(right) ** 0.5):
        raise WrongProductError(f"{kernel} of {len(right)} x {len(right)} gives another product than numpy here")


def last_cache_bytes() -> int | None:
    """Of the first processor, as Linux says it; None where it does not."""
    found = []
    for path in CACHE.glob("index*/size"):
        text = path.read_text().strip()
        unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
        found.append(int(text.rstrip("KM")) * unit)
    return max(found, default=None)


def _most_often(work: Callable[[Array], object], parts: Sequence[Array], seconds: float) -> float:
    """How often a second all `parts` are worked on, each in a thread of its own, in the best repetition."""

    def repeat(part: Array, times: int) -> None:
        for _ in range(times):
            work(part)

    def once(times: int) -> float:
        start = time.perf_counter()
        waiting = [pool.submit(repeat, part, times) for part in parts[1:]]
        repeat(parts[0], times)
        for one in waiting:
            one.result()
        return time.perf_counter() - start

    with ThreadPoolExecutor(max(1, len(parts) - 1)) as pool:
        once(1)
        times = max(1, round(seconds / max(once(1), 1e-9)))
        return times / min(once(times) for _ in range(REPETITIONS))


def _product(kernel: str, right: Array) -> bytes:
    """A graph of one product with a constant right side."""
    from onnx import TensorProto, helper, numpy_helper

    side = len(right)
    constants = {"right": right}
    if kernel == "QGemm":
        one, zero = np.float32(1.0), np.array(0, dtype=np.uint8)
        constants |= {"one": np.array(one), "zero": zero, "middle": np.array(0, dtype=np.int8)}
        inputs, domain = ["left", "one", "zero", "right", "one", "middle"], "com.microsoft"
    else:
        inputs, domain = ["left", "right"], ""
    made = TensorProto.INT32 if kernel == "MatMulInteger" else TensorProto.FLOAT
    taken = TensorProto.FLOAT if kernel == "MatMul" else TensorProto.UINT8
    graph = helper.make_graph(
        [helper.make_node(kernel, inputs, ["product"], domain=domain)],
        kernel,
        [helper.make_tensor_value_info("left", taken, [side, side])],
        [helper.make_tensor_value_info("product", made, [side, side])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return content


def _open(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
