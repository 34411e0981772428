"""A real HTTP server in a process of its own, with delays that are known: `python answering_server.py PORT`.

The body says what to do: `echo TEXT`, `sleep MS`, `refuse` (503 with Retry-After), `reset`, `close` (answer, then
close), `chunked`, `length-less` (ended by the connection's end), `noise` (not HTTP).
"""

from __future__ import annotations

import asyncio
import sys


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
            body = await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b"echo none"
            word, _, rest = body.partition(b" ")
            if word == b"reset":
                writer.transport.abort()
                return
            if word == b"noise":
                writer.write(b"this is no HTTP\r\n\r\n")
                continue
            if word == b"sleep":
                await asyncio.sleep(float(rest) / 1e3)
            if word == b"refuse":
                writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\ncontent-length: 0\r\n\r\n")
            elif word == b"chunked":
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            elif word == b"length-less":
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwhole")
                break
            else:
                close = b"connection: close\r\n" if word == b"close" else b""
                writer.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (close, len(rest), rest))
                if close:
                    break
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
