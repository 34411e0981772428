"""What became of each query of LoadGen's, in the order issued, which is LoadGen's own order.

LoadGen's clock says when a query was due and how long it took; it does not look at answers. These
columns say who was asked, when this process noticed, and whether the answer was right. Both meet row
by row in `loadgen_log`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import NamedTuple

from toolkit.errors import require
from toolkit.measure.client import Reply, clock


class Query(NamedTuple):
    """LoadGen's handle, the row asked for, and the place in the order issued."""

    handle: int
    row: int
    place: int


class Verdicts:
    """Columns with one value a query; times are perf_counter seconds, `status` is 0 where no answer came."""

    def __init__(self) -> None:
        self._loadgen = require("mlperf_loadgen", extra="bench")
        self.rows, self.status = array("q"), array("q")
        self.noticed, self.started = array("d"), array("d")
        self.right, self.retry_after = array("b"), array("b")
        self.errors: Counter[str] = Counter()

    def begin(self, handles: list[int], rows: list[int]) -> list[Query]:
        """Write down that these were noticed now."""
        now, first, count = clock(), len(self.rows), len(rows)
        self.rows.extend(rows)
        self.status.extend([0] * count)
        self.noticed.extend([now] * count)
        self.started.extend([now] * count)
        self.right.extend([0] * count)
        self.retry_after.extend([0] * count)
        return [Query(handle, row, first + i) for i, (handle, row) in enumerate(zip(handles, rows, strict=True))]

    def end(self, queries: list[Query], reply: Reply) -> None:
        """Tell LoadGen that they are over, whose clock runs, and write down how; a failure too, or it would wait."""
        respond, response = self._loadgen.QuerySamplesComplete, self._loadgen.QuerySampleResponse
        respond([response(query.handle, 0, 0) for query in queries])
        for query in queries:
            self.status[query.place], self.retry_after[query.place] = reply.status, reply.retry_after
        if reply.error:
            self.errors[reply.error] += len(queries)
