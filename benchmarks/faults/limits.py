"""Less than a server expects: memory, a fifth of a core, no disk, no descriptors.

Memory by RLIMIT_AS and descriptors by RLIMIT_NOFILE on the worker, by its pid. Processor time by the quota of a cgroup
(version 1) of our own that the worker is put into, and by SIGSTOP and SIGCONT where none can be made; the row says
which. Disk by a tmpfs that BENTOML_HOME and TMPDIR lie on. Not the memory of a cgroup: its killer is a SIGKILL, which
is a row of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.faults.row import Counts, NotHereError, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Running, Stand
from benchmarks.faults.traffic import ask_at_once, recovery_seconds, right_of, seconds_until_right, tally, traffic
from toolkit.measure.load import Request

MEGABYTE = 1 << 20
ROOM = 48 * MEGABYTE
SHARE = 0.2
PERIOD = 0.1
CPU_CGROUP = Path("/sys/fs/cgroup/cpu")
OBJECTIVE_MS = 1000.0
FEW = 10  # descriptors


def starve_memory(stand: Stand, subject: Subject) -> Counts:
    """Leave the worker 48 MB of address space and send it eight bodies of 15 MB at once."""
    with stand.serve(subject) as running:
        light = stand.requests(running)
        worker = running.family.workers()[0]
        allowed = worker.memory_info().vms + ROOM
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (allowed, allowed))
        body = json.dumps({"inputs": ["moon " * (3 * MEGABYTE)]}).encode()
        large = [Request(running.path, body)] * 8
        replies = asyncio.run(ask_at_once(running.url, large, timeout=20.0))
        back = seconds_until_right(running.port, light[0], seconds=10.0)
        statuses = [reply.status for reply in replies]
        return {
            "large": len(large),
            "statuses": {str(status): statuses.count(status) for status in sorted(set(statuses))},
            "hung": sum(reply.error == "timeout" for reply in replies),
            "worker_replaced": worker.pid not in [process.pid for process in running.family.workers()],
            "right_again_after_s": back,
            "right_after": right_of(running.port, light[0], 20),
        }


def judge_memory(counts: Counts) -> list[str]:
    """Refused or replaced, never hanging."""
    back = counts["right_again_after_s"]
    return misses(
        (counts["hung"] == 0, f"{counts['hung']} of the large requests hung for 20 s"),
        (back is not None and back <= 3.0, f"right again after {back} s"),
        (counts["right_after"] == 20, f"{counts['right_after']} of 20 right afterwards"),
    )


@contextlib.contextmanager
def throttled(running: Running) -> Iterator[str]:
    """Give the workers a fifth of a core for the time of the block; yields how."""
    pids = [process.pid for process in running.family.workers()]
    group = CPU_CGROUP / f"toolkit-faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(int(PERIOD * 1e6)))
        (group / "cpu.cfs_quota_us").write_text(str(int(PERIOD * SHARE * 1e6)))
        home = {pid: _group_of(pid) for pid in pids}
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        with _duty_cycle(pids):
            yield "SIGSTOP and SIGCONT"
        return
    try:
        yield "cgroup v1 quota"
    finally:
        for pid in pids:
            with contextlib.suppress(OSError):
                (home[pid] / "cgroup.procs").write_text(str(pid))
        for _ in range(50):
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def _group_of(pid: int) -> Path:
    """The folder of a process's group of the controller cpu."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            return CPU_CGROUP / path.lstrip("/")
    raise OSError(f"process {pid} is in no group of the controller cpu")


@contextlib.contextmanager
def _duty_cycle(pids: list[int]) -> Iterator[None]:
    over = threading.Event()

    def tell(number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).send_signal(number)

    def cycle() -> None:
        while not over.is_set():
            tell(signal.SIGCONT)
            over.wait(PERIOD * SHARE)
            tell(signal.SIGSTOP)
            over.wait(PERIOD * (1 - SHARE))

    thread = threading.Thread(target=cycle, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tell(signal.SIGCONT)


def throttle(stand: Stand, subject: Subject) -> Counts:
    """A fifth of a core at half of the peak that a whole one had: two and a half times what is left."""
    with stand.serve(subject) as running:
        requests = stand.requests(running, ms=4.0)
        peak = stand.peak(running, requests)
        before, during, after = stand.seconds(10.0, 2.0), stand.seconds(20.0, 6.0), stand.seconds(15.0, 8.0)
        options = {"rate": peak / 2, "seconds": before + during + after, "timeout": 10.0}
        with traffic(running.url, requests, **options) as load:
            load.sleep_until(before)
            with throttled(running) as how:
                load.sleep_until(before + during)
            samples = load.samples
        # the first second is for the server to notice
        slow = samples.between(before + 1.0, before + during)
        return {
            "how": how,
            "peak": round(peak, 1),
            "goodput_throttled": round(slow.rate(OBJECTIVE_MS), 1),
            "goodput_of_a_fifth": round(slow.rate(OBJECTIVE_MS) / (peak * SHARE), 3) if peak else 0.0,
            "normal_after_s": recovery_seconds(samples, before + during, limit_ms=OBJECTIVE_MS),
            **tally(samples),
        }


def judge_throttle(counts: Counts) -> list[str]:
    """Most of what is left is useful work; everybody is told; it is over when it is over."""
    after = counts["normal_after_s"]
    return misses(
        (counts["goodput_of_a_fifth"] >= 0.7, f"goodput {counts['goodput_of_a_fifth']:.2f} of a fifth of the peak"),
        (counts["unanswered"] + counts["wrong"] + counts["other"] == 0,
         f"{counts['unanswered']} unanswered, {counts['wrong']} wrong, {counts['other']} of another status"),
        (after is not None and after <= 5.0, f"normal again after {after} s"),
    )  # fmt: skip


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A tmpfs of so many bytes; raises `NotHereError` where none can be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotHereError(f"no tmpfs can be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def fill_disk(stand: Stand, subject: Subject) -> Counts:
    """Fill the disk that BENTOML_HOME and TMPDIR lie on once the server is ready, and ask all kinds of things."""
    with (
        small_disk(stand.folder / f"disk-{subject.kind}", 8 * MEGABYTE) as disk,
        stand.serve(subject, home=disk / "home") as running,
    ):
        requests = stand.requests(running)
        rate = stand.half(running, requests)
        full = disk / "full"
        with contextlib.suppress(OSError), full.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        left = os.statvfs(disk).f_bavail
        worker = running.family.workers()[0].pid
        with traffic(running.url, requests, rate=rate, seconds=stand.seconds(15.0, 3.0), timeout=5.0) as load:
            # paths and problems that have no metric yet would make a file grow
            odd = [Request(f"/nothing/{i}", method="GET") for i in range(5)]
            bad = [Request(running.path, b"{"), Request(running.path, b'{"inputs": []}')]
            asyncio.run(ask_at_once(running.url, [*odd, *bad], timeout=5.0))
            samples = load.samples
        full.unlink(missing_ok=True)
        return {
            "blocks_left": left,
            "worker_lived": worker in [process.pid for process in running.family.workers()],
            **tally(samples),
            "right_after": right_of(running.port, requests[0], 20),
        }


def judge_disk(counts: Counts) -> list[str]:
    """A full disk is no reason not to answer."""
    failed = counts["asked"] - counts["right"]
    return misses(
        (counts["blocks_left"] == 0, "the disk was not full"),
        (failed == 0, f"{failed} of {counts['asked']} requests failed"),
        (counts["worker_lived"], "the worker died"),
        (counts["right_after"] == 20, f"{counts['right_after']} of 20 right afterwards"),
    )


def take_descriptors(stand: Stand, subject: Subject) -> Counts:
    """Leave the worker ten descriptors, open sixty connections, and give them back."""
    with stand.serve(subject) as running:
        requests = stand.requests(running)
        options = {"connections": 4, "seconds": stand.seconds(8.0, 4.0), "timeout": 5.0}
        with traffic(running.url, requests, **options) as load:
            load.sleep_until(1.0)
            worker = running.family.workers()[0]
            _, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
            allowed = max(int(entry.name) for entry in Path(f"/proc/{worker.pid}/fd").iterdir()) + FEW
            free = allowed - worker.num_fds()
            resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (allowed, hard))
            held = []
            for _ in range(60):
                with contextlib.suppress(OSError):
                    held.append(socket.create_connection(("127.0.0.1", running.port), timeout=1.0))
            samples = load.samples
        for connection in held:
            connection.close()
        back = seconds_until_right(running.port, requests[0], seconds=15.0)
        return {
            "allowed": allowed,
            "free": free,
            "held": len(held),
            **tally(samples),
            "right_again_after_s": back,
            "right_after": right_of(running.port, requests[0], 20),
        }


def judge_descriptors(counts: Counts) -> list[str]:
    """Who is connected goes on; who comes afterwards is served."""
    back, failed = counts["right_again_after_s"], counts["asked"] - counts["right"]
    return misses(
        (counts["held"] > counts["free"], "the descriptors did not run out"),
        (failed == 0, f"{failed} of {counts['asked']} on open connections failed"),
        (back is not None and back <= 5.0, f"right again after {back} s"),
        (counts["right_after"] == 20, f"{counts['right_after']} of 20 right afterwards"),
    )


ROWS = (
    Row("memory limit", "48 MB of address space left, 8 bodies of 15 MB at once",
        "each answered or cut off, none hangs; right again within 3 s", starve_memory, judge_memory,
        sabotaged("hides memory errors")),
    Row("CPU at 20 %", "a fifth of a core at half of the whole one's peak",
        "goodput >= 70 % of a fifth of the peak; all answered or refused; normal within 5 s", throttle, judge_throttle,
        sabotaged("unbounded"), quick=False),
    Row("disk full", "the disk of BENTOML_HOME and TMPDIR filled at half of peak", "0 failures", fill_disk, judge_disk,
        sabotaged("journal")),
    Row("descriptors out", "10 descriptors left, 60 connections opened",
        "0 failures on open connections; right on new ones within 5 s of their return", take_descriptors,
        judge_descriptors, sabotaged("opens a file")),
)  # fmt: skip
