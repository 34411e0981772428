"""What builds and runs an image here: docker or podman where one answers, else buildah and namespaces.

Buildah has no daemon and needs no kernel features of its own under chroot isolation, but that isolation
has no read-only root, no process 1 and no capabilities to drop. So the server is started over the
mounted root of the image in mount and process namespaces of its own: read-only root, tmpfs /tmp,
user 10001, no capabilities, no new privileges. Not enforced there, unlike under an engine: limits of
memory and CPU, a seccomp profile, and a network of its own (the port is the host's).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psutil

ROOT = Path(__file__).parents[1]
BASE = "localhost/python-base:latest"
USER = 10001
# $1 root, $2... mounts as SOURCE TARGET pairs up to --, then the command
ENTER = """set -e
root=$1; shift
mount --bind "$root" "$root"
while [ "$1" != -- ]; do mount --bind -o ro "$1" "$root$2"; mount -o remount,bind,ro "$root$2"; shift 2; done; shift
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \\
  --bounding-set=-all --inh-caps=-all "$@"
"""


class EngineError(RuntimeError):
    """A command of an engine that failed; the message ends with what it said."""


@dataclass(frozen=True)
class Layer:
    """One layer as a registry holds it, gzipped."""

    digest: str
    compressed_bytes: int


class Engine(Protocol):
    """Builds an image and runs its own command."""

    name: str

    def build(self, context: Path, tag: str, *, dockerfile: Path) -> None: ...

    def layers(self, tag: str) -> list[Layer]: ...

    def disk_bytes(self, tag: str) -> int: ...

    def run(self, tag: str, command: Sequence[str]) -> str: ...

    def serving(
        self, tag: str, *, port: int, log: Path, mounts: dict[Path, str], environment: dict[str, str]
    ) -> Any: ...


def find_engine() -> Engine:
    """The first that answers; raises `EngineError` when none does."""
    for binary in ("docker", "podman"):
        if shutil.which(binary) and subprocess.run([binary, "info"], capture_output=True, check=False).returncode == 0:
            return Docker(binary)
    if shutil.which("buildah") and os.geteuid() == 0:
        return Buildah()
    raise EngineError("no docker or podman answers, and buildah is not here or not run by root")


def said(command: Sequence[str], *, environment: dict[str, str] | None = None) -> str:
    """Run a command and return its stdout; raises `EngineError`."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}, cwd=ROOT
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise EngineError(f"{' '.join(command[:6])} ... ended with {done.returncode}:\n{tail}")
    return done.stdout


def layers_of(layout: Path) -> list[Layer]:
    """The layers of an image layout (OCI), from its manifest."""
    entry = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    manifest = json.loads((layout / "blobs" / entry.replace(":", "/")).read_text())
    return [Layer(layer["digest"], layer["size"]) for layer in manifest["layers"]]


class Buildah:
    """buildah with the vfs driver; the server in namespaces over its mounted root."""

    name = "buildah, vfs, chroot isolation; server in mount and process namespaces"
    environment: ClassVar = {
        "CONTAINERS_STORAGE_CONF": str(ROOT / "container/storage.conf"), "BUILDAH_ISOLATION": "chroot",
    }  # fmt: skip

    def _said(self, *arguments: str) -> str:
        return said(["buildah", *arguments], environment=self.environment)

    def build(self, context: Path, tag: str, *, dockerfile: Path) -> None:
        said([str(ROOT / "container/base-image.sh")])
        # docker format: the OCI one has no health check
        self._said("bud", "--layers", "--format", "docker", "--build-arg", f"BASE={BASE}", "-t", tag,
                   "-f", str(dockerfile), str(context))  # fmt: skip

    def layers(self, tag: str) -> list[Layer]:
        with tempfile.TemporaryDirectory(prefix="image-") as temporary:
            self._said("push", "-q", "--format", "oci", tag, f"oci:{temporary}/layout:image")
            return layers_of(Path(temporary) / "layout")

    def disk_bytes(self, tag: str) -> int:
        with self._mounted(tag) as root:
            return int(said(["du", "-sxb", root]).split()[0])

    def run(self, tag: str, command: Sequence[str]) -> str:
        container = self._said("from", tag).strip()
        try:
            return self._said("run", container, "--", *command)
        finally:
            self._said("rm", container)

    @contextmanager
    def _mounted(self, tag: str) -> Iterator[str]:
        container = self._said("from", tag).strip()
        try:
            yield self._said("mount", container).strip()
        finally:
            self._said("rm", container)

    @contextmanager
    def serving(
        self, tag: str, *, port: int, log: Path, mounts: dict[Path, str], environment: dict[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The image's own command with its own environment, on `port` of the host's loopback."""
        config = json.loads(self._said("inspect", "--type", "image", tag))["Docker"]["config"]
        if config["User"] != f"{USER}:{USER}":
            raise EngineError(f"the image runs as {config['User']!r}, not as {USER}")
        command = [{"0.0.0.0": "127.0.0.1", "3000": str(port)}.get(word, word) for word in config["Cmd"]]
        pairs: list[str] = []
        with self._mounted(tag) as root:
            for source, target in mounts.items():
                Path(root + target).mkdir(parents=True, exist_ok=True)
                pairs += [str(source), target]
            known = dict(line.split("=", 1) for line in config["Env"])
            words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
                     "sh", "-c", ENTER, "enter", root, *pairs, "--", *command]  # fmt: skip
            known["PATH"] = f"{known['PATH']}:/usr/sbin:/usr/bin:/sbin:/bin"
            with log.open("wb") as file:
                process = subprocess.Popen(
                    words, env={**known, **environment}, stdin=subprocess.DEVNULL, stdout=file,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    @contextmanager
    def running(self, tag: str, *, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """An image of BentoML's as buildah runs it: its user and entry point, the host's network, a writable root."""
        config = json.loads(self._said("inspect", "--type", "image", tag))["Docker"]["config"]
        container = self._said("from", tag).strip()
        words = ["buildah", "run", "--env", "BENTOML_HOST=127.0.0.1", "--env", f"BENTOML_PORT={port}", container, "--",
                 *(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]  # fmt: skip
        with log.open("wb") as file:
            process = subprocess.Popen(
                words, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            inside = psutil.Process(process.pid).children(recursive=True)
            for one in reversed(inside):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.kill()
            process.wait()
            self._said("rm", container)


class Docker:
    """docker or podman: whatever of the two answers `info`."""

    def __init__(self, binary: str) -> None:
        self.name = self._binary = binary

    def build(self, context: Path, tag: str, *, dockerfile: Path) -> None:
        said([self._binary, "build", "-f", str(dockerfile), "-t", tag, str(context)])

    def layers(self, tag: str) -> list[Layer]:
        """Compressed here one by one, since what `save` writes need not be compressed."""
        with tempfile.TemporaryDirectory(prefix="image-") as temporary:
            folder = Path(temporary)
            said([self._binary, "save", "-o", str(folder / "image.tar"), tag])
            said(["tar", "-xf", str(folder / "image.tar"), "-C", temporary])
            names = json.loads((folder / "manifest.json").read_text())[0]["Layers"]
            count = 'gzip -cdf "$1" | gzip -6 | wc -c'
            return [Layer(name, int(said(["sh", "-c", count, "count", str(folder / name)]))) for name in names]

    def disk_bytes(self, tag: str) -> int:
        return int(said([self._binary, "image", "inspect", "-f", "{{.Size}}", tag]))

    def run(self, tag: str, command: Sequence[str]) -> str:
        return said([self._binary, "run", "--rm", "--network", "none", "--entrypoint", command[0], tag, *command[1:]])

    @contextmanager
    def serving(
        self, tag: str, *, port: int, log: Path, mounts: dict[Path, str], environment: dict[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        words = [self._binary, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
                 "--security-opt", "no-new-privileges", "-p", f"127.0.0.1:{port}:3000"]  # fmt: skip
        for source, target in mounts.items():
            words += ["-v", f"{source}:{target}:ro"]
        for key, value in environment.items():
            words += ["-e", f"{key}={value}"]
        with log.open("wb") as file:
            process = subprocess.Popen([*words, tag], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)
