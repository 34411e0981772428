"""New versions under load: twenty good ones without a failure, every bad one refused, and the way back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.row import Counts, Row, Subject, misses, sabotaged
from benchmarks.faults.stand import Running, Stand, bad_versions, small_models
from benchmarks.faults.traffic import tally, traffic
from toolkit.artifact import Artifact
from toolkit.errors import InputError
from toolkit.measure.load import Request
from toolkit.signing import VARIABLE, make_keys, sign

RATE = 200.0


def swap(running: Running, folder: Path | None) -> bool:
    """Ask for another version, or the previous one; whether it was taken. Raises if nobody listens."""
    if running.subject.kind == "sabotaged":
        body = json.dumps({"folder": "" if folder is None else str(folder)}).encode()
        try:
            with urllib.request.urlopen(f"{running.url}/swap", body, timeout=30) as answer:
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False
    command = ["rollback"] if folder is None else ["swap", str(folder)]
    # the control socket lies in the TMPDIR that the server was given
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", *command, "--port", str(running.port)],
        env={**os.environ, "TMPDIR": str(running.home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == InputError.exit_code:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.returncode == 0


def pair(stand: Stand) -> tuple[Artifact, Artifact]:
    """Two versions that answer differently."""
    second = stand.folder / "small-2"
    return stand.small, small_models().text_artifact(second, weight=3.0)


def of_either(stand: Stand, running: Running, versions: tuple[Artifact, ...], seen: set[str]) -> list[Request]:
    """Questions whose answer must be that of the version that it names."""
    found = []
    checks: list[dict[str, Callable[[bytes], bool]]] = [{} for _ in range(4)]
    bodies = []
    for version in versions:
        for number, request in enumerate(stand.requests(running, artifact=version)):
            assert request.check is not None
            checks[number][version.digest[:12]] = request.check
            bodies.append(request.body)
    for number, known in enumerate(checks):

        def check(body: bytes, known: dict[str, Callable[[bytes], bool]] = known) -> bool:
            try:
                version = json.loads(body)["model"]["version"]
            except (ValueError, LookupError, TypeError):
                return False
            seen.add(version)
            return version in known and known[version](body)

        found.append(Request(running.path, bodies[number], check=check))
    return found


def swaps(stand: Stand, subject: Subject, *, rollback: bool = False) -> Counts:
    """Swap to and fro under load; with `rollback`, once forth and then back by the command alone."""
    versions = pair(stand)
    times = 3 if rollback else round(stand.seconds(20, 6))
    seen: set[str] = set()
    with stand.serve(subject, artifact=versions[0]) as running:
        requests = of_either(stand, running, versions, seen)
        every = 1.0
        with traffic(running.url, requests, rate=RATE, seconds=2 + times * every, timeout=5.0) as load:
            taken = 0
            for number in range(times):
                load.sleep_until(1 + number * every)
                back = rollback and number > 0
                taken += swap(running, None if back else versions[(number + 1) % 2].folder)
            samples = load.samples
        return {"swaps": times, "taken": taken, "versions_seen": len(seen), **tally(samples)}


def judge_swaps(counts: Counts) -> list[str]:
    """All taken, nothing lost."""
    failed = counts["asked"] - counts["right"]
    return misses(
        (counts["taken"] == counts["swaps"], f"{counts['taken']} of {counts['swaps']} swaps taken"),
        (counts["versions_seen"] == 2, f"{counts['versions_seen']} versions answered"),
        (failed == 0, f"{failed} of {counts['asked']} requests failed or wrong"),
    )


def roll_back(stand: Stand, subject: Subject) -> Counts:
    """Forth, back, forth again."""
    return swaps(stand, subject, rollback=True)


def bad(stand: Stand, subject: Subject) -> Counts:
    """Every version that must not be let in, under load; with a key set, an unsigned one too."""
    makers: dict[str, Any] = {name: make for name, (make, _) in bad_versions().BAD.items()}
    place = stand.folder / f"bad-{subject.kind}"
    place.mkdir(exist_ok=True)
    signed = small_models().text_artifact(place / "signed")
    public = make_keys(place / "key.pem") if not (place / "key.pem").exists() else place / "key.pub.pem"
    sign(signed, place / "key.pem")
    accepted: list[str] = []
    seen: set[str] = set()
    with stand.serve(subject, artifact=signed, environment={VARIABLE: str(public)}) as running:
        requests = of_either(stand, running, (signed,), seen)
        with traffic(running.url, requests, rate=RATE, seconds=stand.seconds(20.0, 10.0), timeout=5.0) as load:
            load.sleep_until(0.5)
            for number, (name, make) in enumerate(makers.items()):
                folder = place / f"{number}"
                make(folder)
                if (folder / "artifact.json").exists():
                    # signed as it is, so that it is refused for what is wrong with it
                    _sign_anyway(folder, place / "key.pem")
                if swap(running, folder):
                    accepted.append(name)
            unsigned = small_models().text_artifact(place / "unsigned", weight=2.0)
            if swap(running, unsigned.folder):
                accepted.append("unsigned")
            samples = load.samples
        return {"bad": len(makers) + 1, "accepted": accepted, "versions_seen": len(seen), **tally(samples)}


def _sign_anyway(folder: Path, key: Path) -> None:
    from toolkit.artifact import load_artifact
    from toolkit.errors import ToolkitError

    try:
        sign(load_artifact(folder), key)
    except ToolkitError:  # it is not signed then, which is another reason to refuse it
        return


def judge_bad(counts: Counts) -> list[str]:
    """None let in, and the old one answers on."""
    failed = counts["asked"] - counts["right"]
    return misses(
        (not counts["accepted"], f"accepted: {', '.join(counts['accepted'])}"),
        (counts["versions_seen"] == 1, f"{counts['versions_seen']} versions answered"),
        (failed == 0, f"{failed} of {counts['asked']} requests failed or wrong meanwhile"),
    )


ROWS = (
    Row("20 swaps under load", "good versions to and fro at 200 requests/s (6 in the quick form)",
        "all taken; 0 failures; every answer names the version that computed it", swaps, judge_swaps,
        sabotaged("swaps in place")),
    Row("bad new version", "corrupt, NaN, wrong shape, labels, inputs, below its gate, empty, unsigned; under load",
        "each refused; the old one answers all", bad, judge_bad, sabotaged("trusts")),
    Row("rollback", "swap, roll back, and forth again under load", "all taken; 0 failures", roll_back, judge_swaps,
        sabotaged("swaps in place"), quick=False),
)  # fmt: skip
