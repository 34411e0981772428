"""The whole ladder for several artifacts side by side: in process, and behind real servers of this toolkit.

`run_bench` is what `toolkit bench` does. Servers are all started first; those that wait for their turn are stopped
(SIGSTOP), since an idle server is not idle enough. With one thread, what is measured stands on one core and the load
generator on another. A server that dies, a schedule that slips and a round without a right answer make the run void:
it is measured to its end, and decides nothing.

Limits: one machine, loopback: no network is in any number. Servers batch by what `toolkit bench` stored beside the
artifact, as they will when it is served.
"""

from toolkit.ladder.bench import Benched, names_of, require_one_task, run_bench, store_cost
from toolkit.ladder.plan import OBJECTIVE_MS, Plan

__all__ = ["OBJECTIVE_MS", "Benched", "Plan", "names_of", "require_one_task", "run_bench", "store_cost"]
