"""Files of metrics whose every page is there before it is touched: a full disk must not end the server.

prometheus_client's multiprocess mode maps files with holes in them, and touching a hole on a full disk is a SIGBUS:
the worker dies in the middle of an answer, and so does the next one. Reserving them at the start costs a quarter of
a megabyte a kind of metric. Private to prometheus_client 0.26: `mmap_dict` and where `values` takes it from;
tests/serving/test_serving_seam.py holds them. Limit: a file that outgrows its reserve has holes again.
"""

from __future__ import annotations

import os

from prometheus_client import mmap_dict, values

RESERVED_BYTES = 1 << 18  # some 1,700 series; a server of one model has about 200


class ReservedDict(mmap_dict.MmapedDict):  # type: ignore[misc]  # prometheus_client is untyped for mypy
    """prometheus_client's mapped file without holes; raises `OSError` when the disk has no room for it."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            with open(filename, "a+b") as file:  # noqa: PTH123 - as its base opens it
                os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)
        super().__init__(filename, read_mode)


def reserve_metric_files() -> None:
    """From now on; called in a worker before it makes its first metric."""
    values.MmapedDict = ReservedDict
