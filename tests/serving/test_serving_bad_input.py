"""Bad input on every field, alone and among good rows, and canaries that must be found nowhere."""

from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from serving.conftest import Client, Running
from serving.small_models import TEXTS, picture

from toolkit.serving.app import App
from toolkit.serving.bodies import Body, parse_json
from toolkit.serving.problems import Problem

Open = Callable[..., Client]
CANARY = "canary-e91b0d"
JSON = {"content-type": "application/json"}
WORD = {"text": "/v1/classify", "image": "/v1/classify", "recommend": "/v1/recommend"}
NAME = {"text": "questions", "image": "shapes", "recommend": "films"}


def code_of(response: httpx.Response, status: int) -> str:
    """The code of a problem document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert CANARY not in response.text
    return str(document["code"])


DUPLICATED = [
    b'{"inputs": ["a"], "inputs": ["b"]}',
    b'{"inputs": ["a"], "\\u0069nputs": ["b"]}',
    b'{"inputs": [{"user": "1", "user": "2"}]}',
    b'{"inputs": [{"user": "1"}, {"age": 1, "age": 1}]}',
    b'{"inputs": [1, {"a": 1, "a": 2}]}',
    b'{"inputs": [[{"a": 1, "a": 2}]]}',
    b'{"a": {"b": {"c": 1, "c": 1}}}',
]


@pytest.mark.parametrize("body", DUPLICATED)
def test_a_member_named_twice_is_refused_on_every_path(open_app: Open, body: bytes) -> None:
    for task, path in WORD.items():
        ask = open_app(task)
        assert code_of(ask.post(path, content=body, headers=JSON), 400) == "duplicate_key"
        infer = f"/v2/models/{NAME[task]}/infer"
        assert code_of(ask.post(infer, content=body, headers=JSON), 400) == "duplicate_key"


@pytest.mark.parametrize(
    "value",
    [
        {"inputs": ['"inputs": ', "a: b, c: d", "{\"a\": 1, \"a\": 2}"]},
        {"inputs": [{"user": "a:b", "item": ":"}, {"user": "::"}]},
        {"inputs": [{"genres": ["x:y", "x:y"]}, {}]},
        {"inputs": [{"a": {"a": {"a": [{"a": 1}, {"a": ":"}]}}}]},
        {"a": 10**30, "b": 1.5e300, "c": ":" * 50},
    ],
)  # fmt: skip
def test_colons_and_names_that_only_look_repeated_are_taken(value: Any) -> None:
    body = json.dumps(value).encode()
    assert parse_json(Body(body)).keys() == value.keys()


def test_depth_and_long_numbers_are_no_fault_of_ours(open_app: Open) -> None:
    ask = open_app("recommend")
    for depth in (10, 500, 1000, 1100):
        deep = b'{"a":' * depth + b'":"' + b"}" * depth
        response = ask.post("/v1/recommend", content=deep, headers=JSON)
        assert code_of(response, 422 if depth < 900 else 400) == {10: "missing", 500: "missing"}.get(
            depth, "too_deep" if depth == 1000 else "not_json"
        )
        for field, word in ((b"user", "user must be one value"), (b"age", "age must be a finite number")):
            body = b'{"inputs": [{"%s": %s}]}' % (field, b"[" * depth + b"]" * depth)
            response = ask.post("/v1/recommend", content=body, headers=JSON)
            if depth < 1024:
                code_of(response, 422)
                assert word in response.text
            else:
                assert code_of(response, 400) == "not_json"
    long = b'{"inputs": [{"age": %s, "user": ":"}]}' % (b"9" * 5000)
    response = ask.post("/v1/recommend", content=long, headers=JSON)
    assert response.status_code in (400, 422)
    problem = ask.post("/v1/recommend", content=b"{}", headers={"content-length": "9" * 5000})
    assert code_of(problem, 413) == "too_large"


def code_of_parse(body: bytes) -> str:
    try:
        parse_json(Body(body))
    except Problem as problem:
        return problem.code
    return ""


def test_the_cheap_check_and_the_exact_one_agree() -> None:
    """Every document of a small grammar, written by hand so that names may repeat."""
    seen = 0
    leaves = ['"x"', '":"', "1", "[]", "{}"]
    for first in ("a", "b"):
        for second in ("a", "b"):
            for one in [*leaves, '{"a":1}', '{"a":1,"a":2}', '[{"a":1,"a":1}]', '["x",{"b":":"}]', '[[{"a":1,"a":1}]]']:
                for two in leaves:
                    text = f'{{"{first}":{one},"{second}" : {two}}}'
                    twice = first == second or one.count('"a"') == 2
                    assert code_of_parse(text.encode()) == ("duplicate_key" if twice else ""), text
                    seen += 1
    assert seen == 200


GOOD_ROW: dict[str, Any] = {
    "text": TEXTS[0],
    "image": base64.b64encode(picture(1)).decode(),
    "recommend": {"user": "1", "item": "10", "age": 20},
}
BAD_ROWS: dict[str, list[Any]] = {
    "text": ["", "\t\x1c", 0, 1.5, True, None, [], {}, [CANARY], {"text": CANARY}],
    "image": ["", CANARY, "=", "AAAA", None, 7, [], {}, base64.b64encode(b"GIF89a" + CANARY.encode()).decode(),
              base64.b64encode(picture(1)[:-30]).decode()],
    "recommend": [CANARY, None, [], 5, {CANARY: 1}, {"age": CANARY}, {"age": True}, {"age": []}, {"age": 1e300},
                  {"user": [CANARY]}, {"item": {CANARY: 1}}],
}  # fmt: skip


@pytest.mark.parametrize(("task", "row"), [(task, row) for task, rows in BAD_ROWS.items() for row in rows])
def test_a_bad_row_is_pointed_at_alone_and_among_good_ones(open_app: Open, task: str, row: Any) -> None:
    ask = open_app(task)
    for rows, place in (([row], 0), ([GOOD_ROW[task], GOOD_ROW[task], row, GOOD_ROW[task]], 2)):
        response = ask.post(WORD[task], json={"inputs": rows})
        code_of(response, 422)
        assert [fault["pointer"] for fault in response.json()["errors"]] == [f"/inputs/{place}"]
    assert ask.post(WORD[task], json={"inputs": [GOOD_ROW[task]] * 3}).status_code == 200


def tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


RECORD = [tensor("user", "INT64", [2], [1, 0]), tensor("item", "INT64", [2], [0, 3]),
          tensor("age", "FP32", [2], [0.0, 1.0])]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "change", "code"),
    [
        (0, {"shape": [2, 1]}, "wrong_shape"),
        (0, {"shape": [1], "data": [1]}, "wrong_shape"),
        (1, {"shape": [], "data": 1}, "wrong_shape"),
        (1, {"shape": [2.0]}, "wrong_shape"),
        (1, {"data": [[0], [3]]}, "wrong_type"),
        (1, {"data": [0, [3]]}, "wrong_type"),
        (1, {"data": [0, 2**70]}, "wrong_type"),
        (1, {"data": {"0": 1}}, "wrong_size"),
        (0, {"data": [0, -5]}, "out_of_range"),
        (2, {"data": [0.0, 1e39]}, "non_finite"),
        (2, {"data": [None, None]}, "wrong_type"),
        (2, {"data": [CANARY, CANARY]}, "wrong_type"),
        (2, {"datatype": "FP16"}, "wrong_datatype"),
        (2, {"datatype": CANARY}, "wrong_datatype"),
        (2, {"name": "user"}, "unknown_input"),
        (2, {"name": {CANARY: 1}}, "unknown_input"),
    ],
)
def test_a_bad_tensor_is_refused(open_app: Open, place: int, change: dict[str, Any], code: str) -> None:
    ask = open_app("recommend")
    assert ask.post("/v2/models/films/infer", json={"inputs": RECORD}).status_code == 200
    inputs = [entry | (change if i == place else {}) for i, entry in enumerate(RECORD)]
    assert code_of(ask.post("/v2/models/films/infer", json={"inputs": inputs}), 422) == code


def test_a_shape_of_the_same_size_is_not_reshaped(open_app: Open) -> None:
    ask = open_app("image")
    for shape in ([2, 32], [1, 64], [2, 1, 4, 8], [1, 8, 8], [1, 1, 8, 8, 1]):
        body = {"inputs": [tensor("pixels", "FP32", shape, [0.0] * 64)]}
        assert code_of(ask.post("/v2/models/shapes/infer", json=body), 422) == "wrong_shape"


def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(open_app: Open) -> None:
    body = b'{"inputs": ["Who wrote Hamlet ?"]}'
    for limit, status in ((len(body), 200), (len(body) - 1, 413)):
        ask = open_app(max_body_bytes=limit)
        assert ask.post("/v1/classify", content=body, headers=JSON).status_code == status
    rows = open_app(max_rows=3)
    assert rows.post("/v1/classify", json={"inputs": TEXTS[:3]}).status_code == 200
    assert code_of(rows.post("/v1/classify", json={"inputs": TEXTS[:4]}), 422) == "too_many_rows"


def test_compressed_bytes_are_refused_and_never_unpacked(open_app: Open) -> None:
    ask = open_app()
    bomb = gzip.compress(bytes(50 << 20))
    assert (
        code_of(ask.post("/v1/classify", content=bomb, headers=JSON | {"content-encoding": "gzip"}), 415) == "encoded"
    )
    assert code_of(ask.post("/v1/classify", content=bomb, headers=JSON), 400) == "not_json"
    assert code_of(ask.post("/v1/classify", content=b"{}", headers=JSON | {"content-encoding": CANARY}), 415)


CONTENT_TYPES = ["", " ", ";", "application", "application/jsonx", "text/json", "application/xml", "*/*",
                 "image/svg+xml", "multipart/mixed; boundary=B", "multipart/form-data; boundary=",
                 "multipart/form-data; boundary=\"",
                 "multipart/form-data; boundary=" + "x" * 3000, "multipart/form-data; boundary*=utf-8''%ff",
                 f"application/{CANARY}", "application/x-pickle", "application/octet-stream"]  # fmt: skip


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_no_other_content_type_is_taken(open_app: Open, content_type: str) -> None:
    for task, path in WORD.items():
        response = open_app(task).post(path, content=b'{"inputs": ["a"]}', headers={"content-type": content_type})
        form = task == "image" and content_type.startswith("multipart/form-data")
        code_of(response, 400 if form else 415)


def exchange(running: Running, request: bytes, *, shut: bool = False) -> bytes:
    """What a real server says to raw bytes, until it closes or is silent."""
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=1.0) as connection:
        try:
            connection.sendall(request)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except OSError:
            pass
    return bytes(answer)


def alive(running: Running) -> bool:
    answer = httpx.post(f"{running.server.url}/v1/classify", json={"inputs": TEXTS[:1]})
    return answer.status_code == 200


TRICKS = [
    "//v1/classify", "/v1//classify", "/v1/./model", "/v1/../v1/model", "/v1/model/", "/V1/MODEL", "/v1/model%00",
    "/v1%2Fmodel%00", "/%2e%2e/%2e%2e/etc/passwd", "/../../etc/passwd", "/static_content/../../../../../etc/passwd",
    "/static_content/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/static_content/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/v1/model;a=b", "/v2/models/../models/other", "/v2/models/%F0%9F%98%80/infer", "/%ff%fe", "/v1/model%0d%0aX: y",
    "/" + "a" * 20000, "/" + "../" * 500, "*", "http://evil/v1/nothing",
]  # fmt: skip


def test_path_tricks_find_nothing(running: Running) -> None:
    for path in TRICKS:
        answer = exchange(running, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert status_of(answer) in (400, 404, 405, 414, 431), (path, answer[:80])
        assert b"root:" not in answer
        assert b"Traceback" not in answer
    raw = exchange(running, b"GET /\xff\xfe/\x80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw == b"" or status_of(raw) in (400, 404)
    assert alive(running)


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    return int(answer[9:12])


def test_framing_that_lies_is_refused_or_left(running: Running) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    body = b'{"inputs": ["a"]}'
    short = exchange(running, head + b"Content-Length: 500\r\n\r\n" + body, shut=True)
    assert short == b"" or status_of(short) >= 400
    assert b"200 OK" not in short
    smuggled = exchange(running, head + b"Content-Length: 17\r\n\r\n" + body + b"GARBAGE / x\r\n\r\n")
    assert smuggled.count(b"200 OK") <= 1
    for lie in (b"Content-Length: -1", b"Content-Length: 1e3", b"Content-Length: 0x11",
                b"Content-Length: " + b"9" * 5000, b"Content-Length: 17\r\nContent-Length: 3",
                b"Content-Length: 17\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: gzip, identity"):  # fmt: skip
        answer = exchange(running, head + lie + b"\r\n\r\n" + body, shut=True)
        assert answer == b"" or status_of(answer) >= 400, (lie[:40], answer[:80])
    chunked = exchange(running, head + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n" + body, shut=True)
    assert chunked == b"" or status_of(chunked) >= 400
    assert alive(running)


def test_huge_headers_do_no_harm(running: Running) -> None:
    for headers in (
        b"X-A: " + b"a" * (1 << 20),
        b"\r\n".join(b"X-%d: a" % i for i in range(20000)),
        b"X" * (1 << 20) + b": a",
    ):
        answer = exchange(
            running, b"GET /v1/model HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n\r\n"
        )
        assert answer == b"" or status_of(answer) in (200, 400, 431)
    assert alive(running)


# ----------------------------------------------------------------------------------------------- canaries


def marked_picture(kind: str) -> bytes:
    """A good picture with the canary in its text or EXIF."""
    image, buffer = Image.new("L", (8, 8), 90), io.BytesIO()
    if kind == "PNG":
        text = PngInfo()
        text.add_text(CANARY, CANARY)
        image.save(buffer, "PNG", pnginfo=text)
    else:
        exif = image.getexif()
        exif[0x010E] = CANARY
        image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def canary_requests(task: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The canary in every field that a client can fill: (method, path, options of httpx)."""
    path, infer = WORD[task], f"/v2/models/{NAME[task]}/infer"
    yield "GET", f"/{CANARY}", {}
    yield "GET", f"/v2/models/{CANARY}/versions/{CANARY}", {}
    yield "GET", f"/docs.json/{CANARY}?{CANARY}={CANARY}#{CANARY}", {}
    yield "POST", f"{path}?{CANARY}={CANARY}", {"json": {"inputs": [GOOD_ROW[task]]}}
    yield "POST", f"{path}?top={CANARY}", {"json": {"inputs": [GOOD_ROW[task]]}}
    yield CANARY.upper().replace("-", ""), path, {"content": CANARY}
    for name in ("x-note", "user-agent", "host", "cookie", "authorization", "traceparent", "x-request-id", "accept",
                 "referer", "x-forwarded-for", "forwarded", "content-encoding", "content-type", CANARY):  # fmt: skip
        yield "POST", path, {"json": {"inputs": [GOOD_ROW[task]]}, "headers": {name: CANARY}}
    rows = [CANARY, [CANARY], {CANARY: CANARY}, {"age": CANARY}, {"user": CANARY}, {"item": [CANARY]},
            {"age": {CANARY: 1}}, base64.b64encode(CANARY.encode()).decode()]  # fmt: skip
    for row in rows:
        yield "POST", path, {"json": {"inputs": [row]}}
        yield "POST", path, {"json": {"inputs": [GOOD_ROW[task], row]}}
    for body in ({"inputs": CANARY}, {CANARY: 1}, {"inputs": [], CANARY: CANARY}, [CANARY], CANARY):
        yield "POST", path, {"json": body}
        yield "POST", infer, {"json": body}
    yield "POST", path, {"content": f'{{"inputs": ["{CANARY}", "{CANARY}'.encode(), "headers": JSON}
    yield "POST", path, {"content": f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode(), "headers": JSON}
    good = {"name": "age", "datatype": "FP32", "shape": [1], "data": [1.0]}
    for change in ({"name": CANARY}, {"datatype": CANARY}, {"shape": [CANARY]}, {"data": [CANARY]}, {"data": CANARY},
                   {"parameters": {CANARY: CANARY}}, {CANARY: CANARY}):  # fmt: skip
        yield "POST", infer, {"json": {"id": CANARY, "inputs": [good | change], "outputs": [{"name": CANARY}]}}
        yield "POST", infer, {"json": {"id": CANARY, "inputs": [good | change]}}
    yield "POST", path, {"files": {CANARY: (CANARY, CANARY.encode(), f"image/{CANARY}")}}
    yield "POST", path, {"files": {CANARY: (CANARY, b"\x89PNG\r\n\x1a\n" + CANARY.encode(), "image/png")}}
    yield "POST", path, {"data": {CANARY: CANARY}}
    form = f'--B\r\nContent-Disposition: form-data; name="{CANARY}"\r\n\r\n{CANARY}\r\n--B--\r\n'.encode()
    for boundary in ("B", CANARY):
        yield "POST", path, {"content": form, "headers": {"content-type": f"multipart/form-data; boundary={boundary}"}}
    for kind in ("PNG", "JPEG"):
        whole = marked_picture(kind)
        for content in (whole, whole[:-20], CANARY.encode() + whole):
            yield "POST", path, {"content": content, "headers": {"content-type": f"image/{kind.lower()}"}}
            yield "POST", path, {"json": {"inputs": [base64.b64encode(content).decode()]}}


def forms() -> tuple[bytes, ...]:
    """The canary as it is, in capitals, quoted, in hex, and in base64 at each of its three places."""
    raw = CANARY.encode()
    coded = [base64.b64encode(b"x" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return (
        raw,
        raw.upper(),
        raw.upper().replace(b"-", b""),
        quote(CANARY, safe="").encode(),
        raw.hex().encode(),
        *coded,
    )


def leaks(places: dict[str, bytes]) -> list[str]:
    """Where the canary is, in whichever form."""
    return [f"{form!r} in {name}" for name, content in places.items() for form in forms() if form in content]


def error_bodies(send: Callable[..., httpx.Response], task: str) -> tuple[dict[str, bytes], int]:
    """The bodies and headers of all answers that are no 200, and how many requests were sent."""
    found: dict[str, bytes] = {}
    count = 0
    for method, path, options in canary_requests(task):
        response = send(method, path, **options)
        count += 1
        assert response.status_code < 500, (method, count)
        if response.status_code != 200:
            found[f"answer {count}"] = response.content + repr(response.headers).encode()
    return found, count


def test_canaries_are_found_nowhere_on_a_real_server(running: Running) -> None:
    with httpx.Client(base_url=running.server.url) as client:
        places, count = error_bodies(client.request, "text")
        assert count > 70
        assert len(places) > 50
        places["metrics"] = client.get("/metrics").content
        places["model"] = client.get("/v1/model").content
        places["contract"] = client.get("/openapi.json").content
    places["log, with stdout and stderr"] = running.server.log.read_bytes()
    assert b'toolkit_problems_total{code="missing"' in places["metrics"]
    assert b"initialized" in places["log, with stdout and stderr"]
    assert leaks(places) == []


class Recorder(logging.Handler):
    """All that any logger says, its arguments and its tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{logging.Formatter().format(record)} {record.args!r}")


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Every logger turned up, those of the client left out: they are not the server's."""
    root, found = logging.getLogger(), Recorder()
    found.addFilter(lambda record: not record.name.startswith(("httpx", "httpcore", "asyncio")))
    level = root.level
    root.addHandler(found)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(found)
    root.setLevel(level)


@pytest.mark.parametrize("task", ["image", "recommend"])
def test_canaries_in_pictures_and_records_are_found_nowhere(
    open_app: Open, task: str, recorder: Recorder, capfd: pytest.CaptureFixture[str]
) -> None:
    ask = open_app(task)
    observed: list[Any] = []
    ask.app.observe = lambda *facts: observed.append(facts)
    places, count = error_bodies(ask, task)
    assert count == len(observed) > 70
    written = capfd.readouterr()
    places |= {"log": "\n".join(recorder.lines).encode(), "stdout": written.out.encode(),
               "stderr": written.err.encode(), "metrics": repr(observed).encode()}  # fmt: skip
    assert leaks(places) == []


class Talkative:
    """The application, sabotaged: it logs what it is asked, and lets errors quote it."""

    def __init__(self, app: App, quote_in: str) -> None:
        self._app, self._quote_in = app, quote_in

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        async def heard() -> Any:
            message = await receive()
            if self._quote_in == "log":
                logging.getLogger("talkative").warning("refused: %r", message.get("body"))
            if self._quote_in == "stderr":
                print(message.get("body"))  # noqa: T201
            return message

        async def said(message: Any) -> None:
            if self._quote_in == "answer" and message["type"] == "http.response.body":
                message = message | {"body": message["body"] + scope["path"].encode()}
            elif message["type"] == "http.response.start" and self._quote_in == "answer":
                headers = [(k, v) for k, v in message["headers"] if k != b"content-length"]
                message = message | {"headers": headers}
            await send(message)

        await self._app(scope, heard, said)


@pytest.mark.parametrize("place", ["log", "stderr", "answer"])
def test_a_talkative_server_is_caught(
    open_app: Open, recorder: Recorder, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    talkative = Client(Talkative(open_app().app, place))  # type: ignore[arg-type]
    places, _ = error_bodies(talkative, "text")
    written = capfd.readouterr()
    places |= {"log": "\n".join(recorder.lines).encode(), "stderr": (written.out + written.err).encode()}
    found = leaks(places)
    assert any(place in words for words in found), found
    for name in {"log", "stderr"} - {place}:
        assert not any(f"in {name}" in words for words in found)


def test_the_scan_knows_the_canary_in_every_form() -> None:
    raw = CANARY.encode()
    for shift in range(3):
        assert leaks({"x": base64.b64encode(b"#" * shift + raw + b"###")})
    assert leaks({"x": raw.hex().encode()})
    assert leaks({"x": b"clean"}) == []
