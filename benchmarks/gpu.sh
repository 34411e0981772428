#!/usr/bin/env bash
# make gpu: the GPU tests and the GPU benchmark, in an environment of their own.
#
#   benchmarks/gpu.sh [WHEELS]     WHEELS is a folder of wheels, for a machine without a network
#
# Needs an NVIDIA driver, Python 3.11 or later, pip and PyTorch with CUDA, which is taken from the Python that is here.
# Leaves 3 where there is no GPU, and says so: nothing that was skipped is called passed.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
  echo "make gpu: no NVIDIA GPU answers here (nvidia-smi -L); nothing was tested, nothing was measured" >&2
  exit 3
fi
python=${PYTHON:-python3}
if ! "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  echo "make gpu: $python has no PyTorch that sees this GPU; install torch with CUDA, or set PYTHON" >&2
  exit 2
fi
from=()
if [ $# -gt 0 ]; then
  [ -d "$1" ] || { echo "make gpu: $1 is no folder of wheels" >&2; exit 2; }
  from=(--no-index --find-links "$1")
fi
"$python" -m venv --system-site-packages .venv-gpu
# torch stays the one that sees the GPU; everything else as pinned
grep -v -E '^(torch|onnxruntime)==' constraints.txt > .venv-gpu/constraints.txt
.venv-gpu/bin/pip install --quiet "${from[@]}" --constraint .venv-gpu/constraints.txt \
  --editable '.[gpu,serve,train,prune,bench,report,dev]'
# TensorRT is a shell on PyPI that fetches from NVIDIA; without it the rows of TensorRT say that it is absent
.venv-gpu/bin/pip install --quiet "${from[@]}" --constraint .venv-gpu/constraints.txt --editable '.[tensorrt]' \
  || echo "make gpu: TensorRT cannot be installed here; its rows will say so" >&2
.venv-gpu/bin/pip install --quiet "${from[@]}" --constraint .venv-gpu/constraints.txt --editable '.[tensorrt-rtx]' \
  || echo "make gpu: the TensorRT-RTX plugin cannot be installed here; its row will say so" >&2
# the tests hide GPUs unless one is named
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
.venv-gpu/bin/python -m pytest -rs tests/engines tests/runners
.venv-gpu/bin/python -m benchmarks.gpu
.venv-gpu/bin/python -m benchmarks.tables
