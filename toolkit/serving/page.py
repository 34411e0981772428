"""The page at /: one file for every model, which asks /v1/model and /openapi.json what it is for.

It holds nothing of the model, so it is served before there is one and without a key; all that it
shows it fetches with the key that the person gives. Its policy names the one script and the one
style in it by their digests and lets nothing else run or load, from wherever it might come.
Source: Content Security Policy Level 3 (w3.org/TR/CSP3).
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

PAGE = Path(__file__).with_name("page.html").read_bytes()


def _digest_of(tag: bytes) -> str:
    found = re.search(b"<" + tag + b">(.*?)</" + tag + b">", PAGE, re.DOTALL)
    content = found[1] if found else b""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; script-src {_digest_of(b'script')}; style-src {_digest_of(b'style')}; connect-src 'self'; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)
