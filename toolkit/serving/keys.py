"""API keys: who may ask at all, decided before a body is read or a slot is taken.

Only the SHA-256 of a key is stored; a key has 256 random bits, so nothing slower would protect it any better. All
stored digests are compared, each in constant time, so that an answer's time says nothing about them. The file is
looked at again at most once a second, and a broken one leaves the keys as they were: a key is withdrawn by taking
it out of the file, without a restart. Cost: 5 µs for a wrong key among four, refusal included.

Source: RFC 6750 (bearer tokens), RFC 9110 section 11.6.1 (WWW-Authenticate). Limit: a key that is sent without
TLS can be read on its way.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import InputError
from toolkit.serving.problems import Problem

LOG = logging.getLogger("bentoml.toolkit")
KEYS_VARIABLE = "TOOLKIT_KEYS_FILE"
LOOK_AGAIN_SECONDS = 1.0
DIGITS = 64  # of a SHA-256 in hexadecimal


@dataclass(frozen=True)
class Key:
    """What is kept of a key: whose it is, the digest of it, the day it was made."""

    name: str
    sha256: str
    created: str


class Keys:
    """The keys of a file, as `App.keys` expects them; raises `InputError` unless it can be read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._looked = time.monotonic()
        self._version = _version(file)
        self._digests = _digests(file)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Keys | None:
        """The keys of the file that TOOLKIT_KEYS_FILE names; None when it names none: open to all."""
        named = environment.get(KEYS_VARIABLE)
        return cls(Path(named)) if named else None

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise `Problem` 401 unless Authorization: Bearer or X-API-Key carries a key of the file."""
        if time.monotonic() - self._looked > LOOK_AGAIN_SECONDS:
            self._look_again()
        presented = _presented(headers)
        if presented is None:
            raise _unauthorized(b"Bearer", "an API key is expected: Authorization: Bearer KEY")
        digest = hashlib.sha256(presented).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        if not found:
            raise _unauthorized(b'Bearer error="invalid_token"', "this API key is not known here")

    def _look_again(self) -> None:
        self._looked = time.monotonic()
        try:
            version = _version(self._file)
            if version != self._version:
                self._version, self._digests = version, _digests(self._file)
                LOG.info("%d API keys are known now", len(self._digests))
        except InputError as error:
            self._version = ()
            LOG.error("the API keys stay as they were: %s", error)


def read_keys(file: Path) -> list[Key]:
    """The keys of a file that `toolkit key add` wrote; raises `InputError` naming what is wrong with it."""
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"the keys file {file} cannot be read: {error.strerror}; try: toolkit key add NAME") from None
    except ValueError:
        raise InputError(f"the keys file {file} is not JSON; make one by: toolkit key add NAME --file FILE") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(_is_key(entry) for entry in entries):
        raise InputError(f'{file} is no keys file; it must hold {{"keys": [{{"name", "sha256", "created"}}]}}')
    keys = [Key(**entry) for entry in entries]
    if len({key.name for key in keys}) != len(keys):
        raise InputError(f"{file} names a key twice")
    return keys


def warn_if_open(file: Path) -> None:
    """Say so when everybody on the machine can read the file: the digests are no keys, the names tell something."""
    if file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        LOG.warning("%s can be read or written by every user of this machine; try: chmod 600 %s", file, file)


def _is_key(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and set(entry) == {"name", "sha256", "created"}
        and all(isinstance(value, str) for value in entry.values())
        and len(entry["sha256"]) == DIGITS
        and not set(entry["sha256"]) - set("0123456789abcdef")
    )


def _digests(file: Path) -> tuple[bytes, ...]:
    digests = tuple(bytes.fromhex(key.sha256) for key in read_keys(file))
    warn_if_open(file)
    return digests


def _version(file: Path) -> tuple[int, ...]:
    """Moves whenever the file is written or replaced."""
    try:
        status = file.stat()
    except OSError as error:
        raise InputError(f"the keys file {file} cannot be read: {error.strerror}") from None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _presented(headers: Mapping[bytes, bytes]) -> bytes | None:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip()
    return headers.get(b"x-api-key")


def _unauthorized(challenge: bytes, detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers=[(b"www-authenticate", challenge)])
