"""Measurements that are committed, and the tables made from them. `python -m benchmarks.NAME`."""

import os

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # the exporter's warnings in C++, which parity answers
