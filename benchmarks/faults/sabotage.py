"""A small honest server whose faults are switched on one by one: what a check must be able to catch.

Run by the stand: ARTIFACT, PORT, SABOTAGE=switch,switch in the environment, and the limits of `Settings`. Without a
switch it bounds its queue, keeps its slot until work ends, drops who is late or left, and checks keys first.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from toolkit.artifact import load_artifact
from toolkit.lineage import digest_of_bytes
from toolkit.predictor import Predictor
from toolkit.runners import open_runner
from toolkit.serving.keys import Keys
from toolkit.serving.problems import Problem
from toolkit.serving.settings import settings_from

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
PAUSE = 2.0
LEAK_BYTES = 8 << 10

SWITCHES = {
    "unbounded": "every request waits, for ever",
    "slot not held": "a late request frees its slot while its work goes on",
    "works for nobody": "who left is worked for",
    "leaks": "keeps 8 kB and a lock of every request",
    "lost in a pause": "a pause of two seconds loses every slot",
    "journal": "writes a line of every request into BENTOML_HOME first",
    "opens a file": "reads its settings from disk at every request",
    "slot while sending": "holds its slot until the client has taken the answer",
    "late key": "looks at the key when the work is done",
    "wall clock": "takes the time of day for the age of its state",
    "early ready": "is ready before it is loaded",
    "hides memory errors": "swallows a MemoryError together with its slot",
    "swaps in place": "closes the old version before it opens the new one",
    "trusts": "takes a new version without looking at it",
}


class Sabotaged:
    """An ASGI application around one predictor."""

    def __init__(self, folder: str, switches: frozenset[str]) -> None:
        unknown = switches - set(SWITCHES)
        assert not unknown, f"no such switch: {unknown}"
        self.switches, self.settings = switches, settings_from()
        self.keys = Keys.from_environment()
        self.predictor: Predictor | None = None
        self.version = ""
        self.previous = folder
        self.pool = ThreadPoolExecutor(32 if "slot not held" in switches else 1)
        self.slot = asyncio.Semaphore(1)
        self.taken = 0
        self.kept: list[Any] = []
        self.seen, self.day = time.monotonic(), time.time()
        if "early ready" in switches:
            threading.Thread(target=self.load, args=(folder, 2.0), daemon=True).start()
        else:
            self.load(folder)

    def load(self, folder: str, delay: float = 0.0) -> None:
        """Open a version; unchecked where it trusts."""
        time.sleep(delay)
        artifact = load_artifact(folder)
        if "trusts" in self.switches:
            contents = {path: (artifact.folder / path).read_bytes() for path in artifact.files}
            artifact = replace(
                artifact, files={p: {"bytes": len(c), "sha256": digest_of_bytes(c)} for p, c in contents.items()}
            )
            self.predictor = Predictor(artifact.encoder(), open_runner(artifact), artifact.spec, artifact=artifact)
        else:
            self.predictor = Predictor.load(artifact)
        self.version, self.folder = artifact.digest[:12], folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for stage in ("startup", "shutdown"):
                await receive()
                if stage == "startup":
                    asyncio.get_running_loop().create_task(self.watch_pauses())
                await send({"type": f"lifespan.{stage}.complete"})
            return
        status, document = await self.answer(scope, receive)
        content = json.dumps(document).encode()
        if "slot while sending" in self.switches and status == 200:
            async with self.slot:
                await reply(send, status, content)
            return
        await reply(send, status, content)

    async def answer(self, scope: Scope, receive: Receive) -> tuple[int, Any]:
        """Status and document."""
        if scope["path"] == "/readyz":
            ready = self.predictor is not None or "early ready" in self.switches
            return (200, {"ready": True}) if ready else (503, {})
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return 400, {}
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        if scope["path"] == "/swap":
            return await self.swap(json.loads(body)["folder"])
        try:
            if self.keys is not None and "late key" not in self.switches:
                self.keys.check(dict(scope["headers"]))
            return await self.classify(scope, body, receive)
        except Problem as problem:
            return problem.status, problem.to_json()
        except Exception as error:
            return 500, {"error": type(error).__name__}

    async def classify(self, scope: Scope, body: bytes, receive: Receive) -> tuple[int, Any]:
        """The hot path, as honest as the switches let it be."""
        if "journal" in self.switches:
            with (Path(os.environ["BENTOML_HOME"]) / "journal").open("ab") as file:
                file.write(body + b" " * 4096)
        if "opens a file" in self.switches:
            Path(self.folder, "artifact.json").read_bytes()
        if "leaks" in self.switches:
            self.kept.append((bytearray(LEAK_BYTES), threading.Lock()))
        if self.predictor is None:
            return 503, {}
        if "unbounded" not in self.switches and self.taken > self.settings.queue:
            return 503, {}
        inputs = json.loads(body)["inputs"]
        if "wall clock" in self.switches:
            since, self.day = time.time() - self.day, time.time()
            if not 0 <= since < 60:
                return 504, {}
        limit = None if "unbounded" in self.switches else self.settings.timeout_seconds
        self.taken += 1
        lost = False
        try:
            rows = await asyncio.wait_for(self.work(inputs, receive), limit)
        except TimeoutError:
            return 504, {}
        except MemoryError:
            lost = "hides memory errors" in self.switches
            if lost:
                await asyncio.sleep(3600)
            return 503, {}
        finally:
            if not lost:
                self.taken -= 1
        if self.keys is not None and "late key" in self.switches:
            self.keys.check(dict(scope["headers"]))
        return 200, {"model": {"version": self.version}, "predictions": rows}

    async def work(self, inputs: list[str], receive: Receive) -> list[dict[str, Any]]:
        """Wait for the slot, run off the loop, give up with the client."""
        predictor = self.predictor
        assert predictor is not None
        holds = self.slot if "slot not held" in self.switches or "slot while sending" in self.switches else None
        if holds is not None:
            await holds.acquire()
        try:
            job: Future[Any] = self.pool.submit(predictor, inputs)
            waiter = asyncio.wrap_future(job)
            if "works for nobody" in self.switches:
                found = await asyncio.shield(waiter)
            else:
                gone = asyncio.ensure_future(receive())
                await asyncio.wait({waiter, gone}, return_when=asyncio.FIRST_COMPLETED)
                gone.cancel()
                if not waiter.done():
                    waiter.cancel()
                found = await waiter
        finally:
            if holds is not None:
                holds.release()
        return [{"label": one.label, "score": one.score} for one in found]

    async def swap(self, folder: str) -> tuple[int, Any]:
        """Another version; the previous one for an empty name."""
        folder, self.previous = folder or self.previous, self.folder
        try:
            if "swaps in place" in self.switches and self.predictor is not None:
                old, self.predictor = self.predictor, None
                old.close()
            # a small model loads in no time, which would hide the gap
            await asyncio.to_thread(self.load, folder, 0.2 if "swaps in place" in self.switches else 0.0)
        except Exception as error:
            return 409, {"error": str(error)}
        return 200, {"version": self.version}

    async def watch_pauses(self) -> None:
        """Notice that the process was stopped, and lose its slots where that is the fault."""
        while True:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            if now - self.seen > PAUSE and "lost in a pause" in self.switches:
                self.taken += self.settings.queue + 1
            self.seen = now


async def reply(send: Send, status: int, content: bytes) -> None:
    """JSON in one piece."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def main() -> None:
    """Serve on 127.0.0.1:PORT."""

    async def run() -> None:
        switches = frozenset(filter(None, os.environ["SABOTAGE"].split(",")))
        application: Any = Sabotaged(os.environ["ARTIFACT"], switches)
        config = uvicorn.Config(application, port=int(os.environ["PORT"]), log_level="warning", access_log=False)
        await uvicorn.Server(config).serve()

    asyncio.run(run())


if __name__ == "__main__":
    main()
