"""Debian's chromium, headless, driven by its DevTools protocol: real keys, real files, real pixels."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium")
START_SECONDS, WAIT_SECONDS = 20.0, 10.0
FLAGS = ("--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
         "--disable-dev-shm-usage", "--hide-scrollbars")  # fmt: skip


class Tab:
    """One tab: `call` any DevTools method, or what a person does."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.events: list[dict[str, Any]] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a DevTools method; events that come before it are kept."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.receive_str(), WAIT_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, (method, message)
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression is."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true."""
        for _ in range(int(WAIT_SECONDS / 0.05)):
            if found := await self.value(expression):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"never true: {expression}; the page says: {await self.text('main')}")

    async def open(self, url: str, *, width: int = 900, height: int = 1000, dark: bool = False) -> None:
        """Load a page in a window of that size and wait for it."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            await self.call(f"{domain}.enable")
        self.events.clear()
        await self.call("Page.navigate", url=url)
        await self.until(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    async def text(self, selector: str) -> str:
        """What a person reads there."""
        return str(await self.value(f"document.querySelector({selector!r}).innerText"))

    async def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        for sign in text:
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=sign)
            await self.call("Input.dispatchKeyEvent", type="keyUp")

    async def press(self, key: str) -> None:
        """Press Enter or Tab."""
        code, text = {"Enter": (13, "\r"), "Tab": (9, "")}[key]
        same = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    async def drop(self, path: Path, selector: str) -> None:
        """Drag a file onto an element and let it go."""
        box = await self.value(f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
                               f"(document.querySelector({selector!r}).getBoundingClientRect())")  # fmt: skip
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    async def picture(self) -> bytes:
        """The whole page as a PNG."""
        found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def complaints(self) -> list[str]:
        """Exceptions, and what the console was told of the policy; failed requests are not among them."""
        thrown = [str(e["params"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        entries = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        return thrown + [entry["text"] for entry in entries if entry["source"] != "network"]


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    """A tab of a chromium of its own, which is ended with it; `folder` holds its profile."""
    assert CHROMIUM is not None
    environment = {**os.environ, "HOME": str(folder)}
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={folder}/profile", "about:blank"],
            stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        port = await _port_of(process, folder / "profile" / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                page = next(target for target in await response.json() if target["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                yield tab
                await tab.call("Browser.close")
    finally:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _port_of(process: subprocess.Popen[bytes], file: Path) -> int:
    for _ in range(int(START_SECONDS / 0.05)):
        assert process.poll() is None, "chromium ended early"
        if file.exists() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise AssertionError("chromium opened no debugging port")
