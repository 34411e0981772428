"""Where a running server can be spoken to: a unix socket in a folder of its user's, never a network.

::

    $XDG_RUNTIME_DIR/toolkit/127.0.0.1-3000.sock    or /tmp/toolkit-UID/ ; 0600 in 0700
    .../127.0.0.1-3000.json                         what it was swapped to (see `choice`)

Loading a file is not something that a request from outside may ask for: only who may write as the
server's user can reach the socket. It is named by the address that is listened on, so two servers
never share one, and whoever listens there now is the one who may replace what a dead one left.

Limit: a path of a unix socket has 107 bytes at most (unix(7)).
"""

from __future__ import annotations

import os
import re
import socket
import stat
from contextlib import suppress
from pathlib import Path

MAX_PATH_BYTES = 107


def candidate_folders() -> list[Path]:
    """Where a socket may be; a server takes the first, a command looks in all."""
    folders = [Path(os.environ.get("TMPDIR") or "/tmp") / f"toolkit-{os.getuid()}"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        folders.insert(0, Path(runtime) / "toolkit")
    return folders


def own_folder() -> Path:
    """The first candidate, made 0700; raises `OSError` when it cannot be, or is somebody else's."""
    folder = candidate_folders()[0]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(folder):
        raise PermissionError(1, f"{folder} is not a folder of this user's; remove it")
    folder.chmod(0o700)
    return folder


def listening_address() -> str:
    """`ADDRESS-PORT` that this process listens on, else `pid-PARENT`: the name of its socket."""
    try:
        descriptors = sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    except OSError:
        descriptors = []
    for descriptor in descriptors:
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as found:
                inet = found.family in (socket.AF_INET, socket.AF_INET6)
                if inet and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    address, port = found.getsockname()[:2]
                    return f"{re.sub(r'[^0-9A-Za-z.:]', '_', address)}-{port}"
    return f"pid-{os.getppid()}"


def bind(path: Path) -> socket.socket:
    """A listening socket of mode 0600 at `path`, moved over whatever is there; raises `OSError`."""
    if len(os.fsencode(path)) + 8 > MAX_PATH_BYTES:
        raise OSError(36, f"{path} is too long for a socket; set XDG_RUNTIME_DIR to a shorter one")
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        fresh.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        listener.listen(8)
        fresh.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


def sockets_of(port: int | None) -> list[Path]:
    """Sockets in this user's folders, of servers on `port` or of any."""
    pattern = "*.sock" if port is None else f"*-{port}.sock"
    return [path for folder in candidate_folders() if _is_ours(folder) for path in sorted(folder.glob(pattern))]


def _is_ours(folder: Path) -> bool:
    with suppress(OSError):
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return False
