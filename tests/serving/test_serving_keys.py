"""API keys: made, stored as digests, checked before anything else, withdrawn without a restart."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from serving.running_server import Gate, one_answer, post, serving

from toolkit.artifact import Artifact
from toolkit.commands.key import command
from toolkit.errors import InputError
from toolkit.serving import keys as keys_module
from toolkit.serving.key_file import add_key, remove_key
from toolkit.serving.keys import KEYS_VARIABLE, Keys, read_keys
from toolkit.serving.problems import Problem


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def refused(keys: Keys, headers: dict[bytes, bytes]) -> bytes:
    """The challenge of the 401."""
    with pytest.raises(Problem) as caught:
        keys.check(headers)
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    return dict(caught.value.headers)[b"www-authenticate"]


def test_a_key_is_known_by_its_digest_alone(file: Path) -> None:
    key = add_key(file, "app")
    other = add_key(file, "batch")
    assert key != other
    assert len(key) == 46
    content = file.read_text()
    assert key not in content
    assert [entry.name for entry in read_keys(file)] == ["app", "batch"]
    assert read_keys(file)[0].sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert file.stat().st_mode & 0o777 == 0o600
    keys = Keys(file)
    for good in (key, other):
        keys.check({b"authorization": b"Bearer " + good.encode()})
        keys.check({b"authorization": b"bearer  " + good.encode()})
        keys.check({b"x-api-key": good.encode()})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Basic YTpi"},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Bearer \xff\xfe"},
        {b"authorization": b"Bearer " + b"a" * 100_000},
        {b"x-api-key": b"tk_"},
    ],
)
def test_without_a_key_nobody_asks(file: Path, headers: dict[bytes, bytes]) -> None:
    add_key(file, "app")
    challenge = refused(Keys(file), headers)
    assert challenge.startswith(b"Bearer")
    presented = b"Bearer" in headers.get(b"authorization", b"") or b"x-api-key" in headers
    assert (b"invalid_token" in challenge) is presented


def test_what_is_stored_is_no_key(file: Path) -> None:
    add_key(file, "app")
    refused(Keys(file), {b"x-api-key": read_keys(file)[0].sha256.encode()})


def test_a_key_is_withdrawn_and_added_while_the_server_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "LOOK_AGAIN_SECONDS", 0.0)
    first = {b"x-api-key": add_key(file, "first").encode()}
    keys = Keys(file)
    keys.check(first)
    second = {b"x-api-key": add_key(file, "second").encode()}
    keys.check(second)
    remove_key(file, "first")
    refused(keys, first)
    keys.check(second)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"keys": [{"name": "a"}]}', b'{"keys": 1}', None])
def test_a_broken_file_stops_a_start_and_changes_nothing_later(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    monkeypatch.setattr(keys_module, "LOOK_AGAIN_SECONDS", 0.0)
    good = {b"x-api-key": add_key(file, "app").encode()}
    keys = Keys(file)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"keys\.json"):
        Keys(file)
    keys.check(good)
    refused(keys, {})
    assert "stay as they were" in caplog.text


def test_a_file_that_everybody_can_read_is_said_so(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_key(file, "app")
    Keys(file)
    assert not caplog.records
    file.chmod(0o644)
    Keys(file)
    assert "chmod 600" in caplog.text


def test_the_file_is_named_by_the_environment(file: Path) -> None:
    assert Keys.from_environment({}) is None
    add_key(file, "app")
    keys = Keys.from_environment({KEYS_VARIABLE: str(file)})
    assert keys is not None
    refused(keys, {})


def test_names_are_checked(file: Path) -> None:
    add_key(file, "app")
    for name in ("", "a b", "-a", "a" * 64, "ä"):
        with pytest.raises(InputError, match="no name for a key"):
            add_key(file, name)
    with pytest.raises(InputError, match="already"):
        add_key(file, "app")
    with pytest.raises(InputError, match="known: app"):
        remove_key(file, "other")
    assert len(read_keys(file)) == 1


def test_the_command_shows_a_key_once(file: Path) -> None:
    run = CliRunner()
    made = run.invoke(command, ["add", "app", "--file", str(file)])
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    Keys(file).check({b"x-api-key": key.encode()})
    listed = run.invoke(command, ["list", "--file", str(file), "--json"])
    assert json.loads(listed.stdout)["keys"][0]["name"] == "app"
    plain = run.invoke(command, ["list", "--file", str(file)])
    assert plain.stdout.startswith("app  ")
    assert key not in listed.output + plain.output
    assert run.invoke(command, ["remove", "app", "--file", str(file)]).exit_code == 0
    assert read_keys(file) == []
    other = json.loads(run.invoke(command, ["add", "b", "--file", str(file), "--json"]).stdout)
    assert other["key"].startswith("tk_")


def test_a_key_is_asked_for_before_a_body_or_a_slot(artifacts: dict[str, Artifact], file: Path) -> None:
    key = add_key(file, "app").encode()
    authorized = b"authorization: Bearer " + key
    with serving(artifacts["text"].folder, keys=Keys(file), queue=1) as here:
        url = f"http://127.0.0.1:{here.port}"
        for path in ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"):
            assert httpx.get(url + path).status_code == 200
        for path in ("/v1/model", "/v2", "/nothing", "/metrics"):
            response = httpx.get(url + path)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.headers["content-type"] == "application/problem+json"
        assert httpx.get(f"{url}/v1/model", headers={"x-api-key": key.decode()}).status_code == 200
        with here.connect() as connection:
            connection.sendall(post(b"", length=1000).replace(b"\r\n\r\n", b"\r\n"))  # the head is not whole
            connection.sendall(b"\r\n")
            started = time.monotonic()
            assert one_answer(connection)[0] == 401  # and its body never comes
            assert time.monotonic() - started < 2
        with here.connect() as connection:
            connection.sendall(
                post() + post(post(), b"authorization: Bearer wrong") + post(b'{"inputs": ["a"]}', authorized)
            )
            assert [one_answer(connection)[0] for _ in range(3)] == [401, 401, 200]
        with Gate(here) as gate:
            waiting = [here.connect() for _ in range(2)]
            for connection in waiting:
                connection.sendall(post(b'{"inputs": ["a"]}', authorized))
                time.sleep(0.1)
            assert here.app.full
            with here.connect() as connection:
                connection.sendall(post() + post(b"{}", authorized))
                assert [one_answer(connection)[0] for _ in range(2)] == [401, 503]
            gate.open()
            assert [one_answer(connection)[0] for connection in waiting] == [200, 200]


def test_wrong_keys_in_numbers_leave_a_right_one_its_answer(artifacts: dict[str, Artifact], file: Path) -> None:
    key = add_key(file, "app").encode()
    with serving(artifacts["text"].folder, keys=Keys(file)) as here, here.connect() as flood, here.connect() as good:
        wrong = post(b"{}", b"authorization: Bearer " + os.urandom(16).hex().encode()) * 100
        for _ in range(20):
            flood.sendall(wrong)
            good.sendall(post(b'{"inputs": ["a"]}', b"authorization: Bearer " + key))
            assert one_answer(good)[0] == 200
            assert {one_answer(flood)[0] for _ in range(100)} == {401}


def test_no_key_reaches_a_log(
    artifacts: dict[str, Artifact], file: Path, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    key = add_key(file, "app")
    with caplog.at_level(logging.DEBUG), serving(artifacts["text"].folder, keys=Keys(file)) as here:
        url = f"http://127.0.0.1:{here.port}/v1/model"
        assert httpx.get(url, headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert httpx.get(url, headers={"authorization": "Bearer canary-91c2"}).status_code == 401
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not [record for record in ours if key in record.getMessage() or "canary-91c2" in record.getMessage()]
