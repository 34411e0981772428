"""Text nets made ready: mlp on n-grams, lstm, textcnn and transformer on tokens, from scratch or from a checkpoint.

A checkpoint brings its tokenizer, and a tokenizer that does not know the script of the data turns most
of it into "unknown": that is measured on the training rows and reported. From scratch, the tokenizer is
trained on the training rows alone, so nothing of the test split reaches the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.encoders.ngrams import NgramEncoder
from toolkit.encoders.text import TokenEncoder, train_tokenizer
from toolkit.errors import ArtifactError, RecipeError
from toolkit.lineage import digest_of_file
from toolkit.nets import build_net
from toolkit.nets.checkpoints import Checkpoint, read_checkpoint
from toolkit.train.preparation import Prepared, choose_sizes, sample_rows

LONGEST = 128  # tokens of a text that are read, unless sizes say otherwise: attention costs their square
SHORTEST = 32
UNKNOWN_SHARE = 0.2
VOCABULARY = 8000
# kind of net that reads tokens -> its sizes when nothing is said of them
SIZES: dict[str, dict[str, Any]] = {
    "lstm": {"width": 128, "hidden": 128, "layers": 1},
    "textcnn": {"width": 128, "filters": (128, 128, 128), "kernels": (2, 3, 4)},
    "transformer": {"width": 128, "heads": (4, 4), "head_width": 32, "feed_forward": (512, 512)},
}
# kind of net that takes the token vectors of a checkpoint and nothing else of it -> its other sizes
READERS: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": 256, "layers": 1},
    "textcnn": {"filters": (128, 128, 128), "kernels": (2, 3, 4)},
}
SPREAD = 0.1  # standard deviation of the token vectors of a net that has no norm behind them


def prepare_text(
    kind: str,
    texts: Sequence[str],
    *,
    labels: int,
    start: str | Path | None,
    sizes: Mapping[str, Any] | None,
    dropout: float,
) -> Prepared:
    """A net of `kind` ("mlp", "lstm", "textcnn" or "transformer") for training `texts`.

    `start` is "minilm", a BERT-family folder, or None for random weights. Besides a net's own sizes,
    `sizes` takes "max_length" (tokens), "vocabulary" (of a tokenizer that is trained) and, for a
    transformer that starts from a checkpoint, "layers": so many of its layers are kept, evenly spaced.
    Raises `RecipeError` for what does not go together, `ArtifactError` for an unusable folder.
    """
    if kind == "mlp":
        if start is not None:
            raise RecipeError("an mlp reads n-grams and starts from nothing; start is for: lstm, textcnn, transformer")
        return _prepare_mlp(labels, sizes, dropout)
    if start is None:
        return _prepare_from_scratch(kind, texts, labels=labels, sizes=sizes, dropout=dropout)
    folder = find_checkpoint(start)
    checkpoint = read_checkpoint(folder)
    described = {"name": folder.name, "sha256": digest_of_file(folder / "model.safetensors")}
    if kind == "transformer":
        net, chosen = _transformer_from(checkpoint, labels, sizes, dropout)
    else:
        net, chosen = _reader_from(kind, checkpoint, labels, sizes, dropout)
    encoder = _encoder_for(_read_tokenizer(folder), texts, chosen, most=int(checkpoint.sizes["positions"]), kind=kind)
    warnings = []
    if (share := unknown_share(encoder, texts)) > UNKNOWN_SHARE:
        warnings.append(
            f"{share:.0%} of the tokens of the training rows are unknown to the tokenizer of {folder.name}; it may not "
            "know their script: leave out start to train a tokenizer on the data, or start from another checkpoint"
        )
    return Prepared(net, encoder, described, tuple(warnings))


def find_checkpoint(start: str | Path) -> Path:
    """The folder that `start` names: "minilm" out of its pinned archive, or a path."""
    if start == "minilm":
        from toolkit.data.archives import minilm_folder

        return minilm_folder()
    folder = Path(start)
    if not folder.is_dir():
        raise RecipeError(f"start is {str(start)!r}; allowed: minilm, or a folder with a BERT-family checkpoint")
    return folder


def unknown_share(encoder: TokenEncoder, texts: Sequence[str]) -> float:
    """The share of tokens that are the unknown one, on at most `SAMPLE` texts; 0 when there is no such token."""
    tokenizer = encoder.tokenizer
    unknown = next((found for name in ("[UNK]", "<unk>") if (found := tokenizer.token_to_id(name)) is not None), None)
    if unknown is None:
        return 0.0
    encodings = tokenizer.encode_batch_fast(sample_rows(texts), add_special_tokens=False)
    ids = [token for encoding in encodings for token in encoding.ids]
    return ids.count(unknown) / max(len(ids), 1)


def _prepare_mlp(labels: int, sizes: Mapping[str, Any] | None, dropout: float) -> Prepared:
    chosen = choose_sizes("mlp", {"buckets": 50_000, "max_length": 1024, "width": 64, "hidden": (64,)}, sizes)
    encoder = NgramEncoder(buckets=chosen.pop("buckets"), max_length=chosen.pop("max_length"))
    net = build_net("mlp", {**chosen, "vocabulary": encoder.vocabulary_size, "labels": labels, "dropout": dropout})
    return Prepared(net, encoder)


def _prepare_from_scratch(
    kind: str, texts: Sequence[str], *, labels: int, sizes: Mapping[str, Any] | None, dropout: float
) -> Prepared:
    defaults = {**SIZES[kind], "max_length": None, "vocabulary": VOCABULARY}
    chosen = choose_sizes(kind, defaults, sizes)
    tokenizer = train_tokenizer(texts, vocabulary_size=chosen.pop("vocabulary"))
    encoder = _encoder_for(tokenizer, texts, chosen, most=None, kind=kind)
    if kind == "transformer":
        chosen["positions"] = encoder.max_length
    net = build_net(kind, {**chosen, "vocabulary": encoder.vocabulary_size, "labels": labels, "dropout": dropout})
    return Prepared(net, encoder)


def _transformer_from(
    checkpoint: Checkpoint, labels: int, sizes: Mapping[str, Any] | None, dropout: float
) -> tuple[nn.Module, dict[str, Any]]:
    """Like `load_checkpoint`, with the layers that `sizes` keeps."""
    depth = len(checkpoint.sizes["heads"])
    chosen = choose_sizes("a transformer from a checkpoint", {"max_length": None, "layers": depth}, sizes)
    layers = chosen["layers"]
    if type(layers) is not int or not 1 <= layers <= depth:
        raise RecipeError(f"layers is {layers!r}; this checkpoint has {depth}, allowed: 1 to {depth}")
    kept = [(position + 1) * depth // layers - 1 for position in range(layers)]  # the last one always
    tensors: dict[str, Tensor] = {}
    for name, tensor in checkpoint.tensors.items():
        part, _, rest = name.partition(".")
        if part != "layers":
            tensors[name] = tensor
            continue
        number, _, rest = rest.partition(".")
        if int(number) in kept:
            tensors[f"layers.{kept.index(int(number))}.{rest}"] = tensor
    described = {
        **checkpoint.sizes,
        "heads": tuple(checkpoint.sizes["heads"][layer] for layer in kept),
        "feed_forward": tuple(checkpoint.sizes["feed_forward"][layer] for layer in kept),
    }
    net = build_net("transformer", {**described, "labels": labels, "dropout": dropout})
    head = {name: tensor for name, tensor in net.state_dict().items() if name.startswith("classifier.")}
    net.load_state_dict({**tensors, **head})
    return net, chosen


def _reader_from(
    kind: str, checkpoint: Checkpoint, labels: int, sizes: Mapping[str, Any] | None, dropout: float
) -> tuple[nn.Module, dict[str, Any]]:
    """An lstm or textcnn over the checkpoint's token vectors; everything behind them is new."""
    chosen = choose_sizes(f"a {kind} from a checkpoint", {"max_length": None, **READERS[kind]}, sizes)
    tokens = checkpoint.tensors["tokens.weight"]
    described = {name: chosen[name] for name in READERS[kind]}
    described.update(vocabulary=tokens.shape[0], width=tokens.shape[1], labels=labels, dropout=dropout)
    net = build_net(kind, described)
    table = net.get_parameter("tokens.weight")
    with torch.no_grad():
        # a vector of a checkpoint is scaled by the norm behind it, which these nets do not have
        table.copy_(tokens * (SPREAD / tokens.std()))
    return net, chosen


def _encoder_for(
    tokenizer: bytes, texts: Sequence[str], chosen: dict[str, Any], *, most: int | None, kind: str
) -> TokenEncoder:
    """An encoder whose `max_length` is `chosen`'s (taken out of it), else the longest training row's, rounded up."""
    wanted = chosen.pop("max_length")
    if wanted is None:
        lengths = TokenEncoder(tokenizer, max_length=LONGEST).encode(sample_rows(texts))["attention_mask"].sum(axis=1)
        wanted = min(max(-(-int(lengths.max()) // 16) * 16, SHORTEST), LONGEST, most or LONGEST)
    if type(wanted) is not int or not 4 <= wanted <= (most or 1 << 20):
        raise RecipeError(f"max_length is {wanted!r}; {kind} takes 4 to {most or 'any number of'} tokens")
    return TokenEncoder(tokenizer, max_length=wanted)


def _read_tokenizer(folder: Path) -> bytes:
    try:
        return (folder / "tokenizer.json").read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{folder / 'tokenizer.json'} cannot be read ({error.strerror}); save the checkpoint with a fast tokenizer"
        ) from None
