"""Measurements that are committed, and the tables made from them. `python -m benchmarks.NAME`."""
