"""`toolkit serve`."""

from __future__ import annotations

import click

from toolkit.commands.options import threads_option


@click.command()
@click.argument("target", metavar="DIR|BENTO")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on.")
@threads_option
def command(*, target: str, host: str, port: int, threads: int) -> None:
    """Serve an artifact folder or a bento over HTTP until it is stopped.

    \b
    Example:
      toolkit serve runs/trec-int8
      curl -s localhost:3000/v1/classify -H 'content-type: application/json' \\
           -d '{"inputs": ["Who wrote Hamlet ?"]}'
    """
    from toolkit.serving.serve import serve

    serve(target, host=host, port=port, threads=threads)
