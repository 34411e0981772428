"""What LoadGen wrote of a run: its verdict, and when each query was due and over, joined with what the answers were.

The summary log has six percentiles and no more. The trace has every query: when it was due, how late
LoadGen issued it, how long it took from when it was due. That is `Samples`, as of our own generator,
and everything that may be said of those may be said of these: percentiles of right answers only, thirds,
goodput, and whether the schedule slipped.

Limit: the trace is no whole JSON (LoadGen 6.0 leaves quotes unescaped), so it is read line by line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import ToolkitError
from toolkit.measure.load_samples import Samples
from toolkit.measure.loadgen_verdicts import Verdicts

DETAIL, TRACE = "mlperf_log_detail.txt", "mlperf_log_trace.json"
_ENTRY = ":::MLLOG "
_QUERY = '{"name":"Sample","cat":"default","ph":"b"'


def read_result(folder: Path) -> dict[str, Any]:
    """The entries of the detail log by their key; of a key that comes twice, the last."""
    found = {}
    for line in (folder / DETAIL).read_text(errors="replace").splitlines():
        if line.startswith(_ENTRY):
            entry = json.loads(line.removeprefix(_ENTRY))
            found[str(entry["key"])] = entry["value"]
    return found


def read_samples(folder: Path, verdicts: Verdicts, seconds: float | None) -> Samples:
    """Columns of the run, in the order issued; `seconds` is how long queries were offered, None for until the last end.

    `noticed` is when Python heard of a query: waiting for Python's lock is the generator's delay, not the
    server's. Raises `ToolkitError` when the trace and the verdicts are not of the same queries.
    """
    due, took, late, rows = [], [], [], []
    with (folder / TRACE).open(errors="replace") as lines:
        for line in lines:
            if line.startswith(_QUERY):
                entry = json.loads(line.rstrip().rstrip(","))
                queries = entry["args"]
                due.append((queries["sample_seq"], entry["ts"]))
                late.append(queries["issue_start_ns"])
                took.append(queries["complete_ns"])
                rows.append(queries["sample_idx"])
    order = np.argsort([place for place, _ in due], kind="stable")
    if np.asarray(rows, dtype=np.int64)[order].tolist() != verdicts.rows.tolist():
        raise ToolkitError(
            f"LoadGen's trace has {len(rows)} queries and {len(verdicts.rows)} were issued, or they are of other rows; "
            "this version of mlcommons-loadgen is not understood, install the one in constraints.txt"
        )
    scheduled = np.array([stamp for _, stamp in due], dtype=np.float64)[order] / 1e6
    start = scheduled[0] if len(scheduled) else 0.0
    scheduled = scheduled - start
    issued = scheduled + np.array(late, dtype=np.float64)[order] / 1e9
    finished = scheduled + np.array(took, dtype=np.float64)[order] / 1e9
    noticed, started = np.array(verdicts.noticed), np.array(verdicts.started)
    # two clocks: the query that was heard of soonest after it was issued says how they stand to one another
    offset = float((noticed - issued).min()) if len(noticed) else 0.0
    return Samples(
        scheduled=scheduled,
        noticed=noticed - offset,
        started=np.maximum(started - offset, scheduled),
        finished=finished,
        status=np.array(verdicts.status),
        right=np.array(verdicts.right) != 0,
        retry_after=np.array(verdicts.retry_after) != 0,
        request=np.array(verdicts.rows),
        errors=dict(verdicts.errors),
        start=offset,
        seconds=seconds if seconds is not None else float(finished.max(initial=1e-9)),
    )
