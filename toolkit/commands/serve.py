"""`toolkit serve`."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.commands.options import threads_option

PROVIDERS = ["cpu", "cuda", "tensorrt", "tensorrt-rtx", "gpu", "gpu-or-cpu"]
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("target", metavar="DIR|BENTO")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on.")
@threads_option
@click.option("--provider", type=click.Choice(PROVIDERS), default="cpu", show_default=True,
              help="What runs it; gpu: TensorRT where an engine fits, else CUDA while one is built "
              "beside; gpu-or-cpu: and the CPU where there is no GPU.")  # fmt: skip
@click.option("--keys", type=FILE, help="File of API keys (toolkit key add); only their holders may ask.")
@click.option("--tls-cert", type=FILE, help="Certificate (chain) in PEM: HTTPS by TLS 1.3; with --tls-key.")
@click.option("--tls-key", type=FILE, help="Private key of the certificate, in PEM.")
def command(
    *, target: str, host: str, port: int, threads: int, provider: str, keys: Path | None, tls_cert: Path | None,
    tls_key: Path | None,
) -> None:  # fmt: skip
    """Serve an artifact folder or a bento over HTTP until it is stopped.

    \b
    Example:
      toolkit serve runs/trec-int8
      toolkit serve runs/trec-fp16 --provider gpu
      curl -s localhost:3000/v1/classify -H 'content-type: application/json' \\
           -d '{"inputs": ["Who wrote Hamlet ?"]}'
    """
    from toolkit.serving.serve import Access, serve

    serve(target, host=host, port=port, threads=threads, provider=provider, access=Access(keys, tls_cert, tls_key))
