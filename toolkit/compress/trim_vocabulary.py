"""Leave out of a vocabulary what the data does not use: half of MiniLM is the table of its pieces.

Kept are the pieces that training rows (and unlabeled texts, where some are given) hold at least `floor` times, the
`common` first ones of the vocabulary, which tokenizers list by frequency or in the order of their merges, and
every single sign, so that a word that is not known is spelled in smaller pieces and does not become unknown. A row
of kept pieces only is answered bit for bit as before. It costs no training and makes training quicker, as the
optimizer walks through the whole table; a run gets no faster, since a table is looked up and not multiplied, and
a spelled word makes its row longer.
Limit: words that training rows never held are spelled, which the net has not learned to read. How many, and what
that costs, is measured on validation rows and stands in the step. The common pieces are what helps: TREC, MiniLM,
nothing trained, 94.4 % of validation rows with all 30,522 pieces; 93.5 with the 8,991 that training rows need, 94.2
with the first 12,000 beside them (15,262), 94.6 with the first 16,000 (18,514).

Source: Abdaoui et al. 2020 (arXiv:2010.05609) for languages left out of a vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from toolkit.classifier import Classifier
from toolkit.compress.distill import check_data
from toolkit.compress.teachers import as_predictor
from toolkit.data import Data, Split, hash_rows
from toolkit.encoders.text import TokenEncoder, check_texts
from toolkit.encoders.vocabulary import count_pieces, keep_pieces
from toolkit.errors import InputError, RecipeError
from toolkit.lineage import Step
from toolkit.nets import build_net, describe_net
from toolkit.progress import Progress, silent

TABLE = "tokens.weight"
JUDGES = ("validation", "test")
SAMPLE = 32  # validation rows that an export is traced and compared with


@dataclass(frozen=True)
class Coverage:
    """What validation rows, which were not counted, say of a trimmed vocabulary; shares from 0 to 1.

    `pieces_missing` is the share of their pieces that are no longer there: spelled in smaller ones, but for
    `pieces_unknown`, the share that became unknown. `rows_changed` is the share of rows that are read otherwise for
    it, `length` their mean number of pieces after over that before.
    """

    rows: int
    pieces_missing: float
    pieces_unknown: float
    rows_changed: float
    length: float
    accuracy_before: float
    accuracy_after: float


@dataclass(frozen=True)
class Trimmed:
    """The classifier with the smaller vocabulary, how many pieces it had and has, and what that costs."""

    classifier: Classifier
    pieces_before: int
    pieces: int
    coverage: Coverage


def trim_vocabulary(
    classifier: Classifier,
    data: Data,
    *,
    floor: int = 1,
    common: int = 0,
    texts: Sequence[str] = (),
    threads: int = 1,
    progress: Progress = silent,
) -> Trimmed:
    """Keep the pieces seen `floor` times in training rows of `data` and in `texts`, the first `common`, what must stay.

    Of `texts`, those that are validation or test rows are not counted; the others join the rows that the
    classifier has learned from. Raises `InputError` for a net without a table of pieces, a tokenizer that cannot be
    cut or a text that is none, `RecipeError` for a floor below 1 or a common below 0, `DataError` when `data` was
    split otherwise than when the net was trained, or has no validation rows.
    """
    if floor < 1:
        raise RecipeError(f"floor is {floor}; allowed: 1 or more, how often a piece must be seen to stay")
    if common < 0:
        raise RecipeError(f"common is {common}; allowed: 0 or more, how many of the first pieces stay")
    encoder = _encoder_of(classifier)
    check_data(classifier, data)
    train, validation = data.split("train"), data.split("validation")
    counted = _unjudged(data, texts)
    progress("trim", 0, 2, f"pieces of {len(train) + len(counted):,} texts")
    counts = count_pieces(encoder, [*train.examples, *counted])
    seen = {piece for piece, count in counts.items() if count >= floor}
    small, kept = keep_pieces(encoder, seen | set(range(min(common, encoder.vocabulary_size))))
    net = _with_rows(classifier.net, kept)
    progress("trim", 1, 2, f"{len(kept):,} of {encoder.vocabulary_size:,} pieces")
    learned = classifier.training_rows
    trimmed = replace(
        classifier,
        net=net,
        encoder=small,
        training_rows=None if learned is None else np.union1d(learned, hash_rows(counted)),
        sample=small.encode(validation.examples[:SAMPLE]),
    )
    coverage = _measure(classifier, trimmed, kept, validation, threads)
    settings: dict[str, Any] = {
        "floor": floor,
        "common": common,
        "unlabeled": len(counted),
        "unlabeled_dropped": len(texts) - len(counted),
        "pieces_before": encoder.vocabulary_size,
        "pieces": len(kept),
        "validation": asdict(coverage),
    }
    progress("trim", 2, 2, f"{coverage.pieces_missing:.2%} of the validation rows' pieces are spelled")
    # the answers are the old net's, so its temperature is right for them still
    made = replace(trimmed.after(Step("trim_vocabulary", settings), net), temperature=classifier.temperature)
    return Trimmed(made, encoder.vocabulary_size, len(kept), coverage)


def _encoder_of(classifier: Classifier) -> TokenEncoder:
    table = getattr(classifier.net, "tokens", None)
    if not isinstance(classifier.encoder, TokenEncoder) or not isinstance(table, nn.Embedding):
        raise InputError(
            f"a net of kind {describe_net(classifier.net)['kind']} over {classifier.encoder.kind} has no vocabulary of "
            "pieces to trim; allowed: transformer, lstm, textcnn, which read tokens"
        )
    return classifier.encoder


def _unjudged(data: Data, texts: Sequence[str]) -> list[str]:
    """The texts that judge nothing: a vocabulary counted on the rows that measure it would cover them too well."""
    check_texts(texts)
    judges = [hash_rows(data.splits[name].examples) for name in JUDGES if name in data.splits]
    known = np.isin(hash_rows(texts), np.concatenate(judges))
    return [text for text, judged in zip(texts, known.tolist(), strict=True) if not judged]


def _with_rows(net: nn.Module, kept: Sequence[int]) -> nn.Module:
    """The same net with these rows of its table."""
    described = describe_net(net)
    small = build_net(described["kind"], {**described["sizes"], "vocabulary": len(kept)})
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state[TABLE] = state[TABLE][list(kept)]
    small.load_state_dict(state)
    return small.eval()


def _measure(before: Classifier, after: Classifier, kept: Sequence[int], validation: Split, threads: int) -> Coverage:
    encoder = _encoder_of(before)
    read = _pieces(encoder, validation)
    read_again = [[kept[piece] for piece in row] for row in _pieces(_encoder_of(after), validation)]
    total, known = max(sum(map(len, read)), 1), set(kept)
    unknown = {encoder.tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")}
    became = [sum(piece in unknown for row in rows for piece in row) for rows in (read, read_again)]
    accuracies = [
        float((as_predictor(c, threads=threads).logits(validation.examples).argmax(axis=1) == validation.labels).mean())
        for c in (before, after)
    ]
    return Coverage(
        rows=len(validation),
        pieces_missing=sum(piece not in known for row in read for piece in row) / total,
        pieces_unknown=max(became[1] - became[0], 0) / total,
        rows_changed=float(np.mean([row != again for row, again in zip(read, read_again, strict=True)])),
        length=sum(map(len, read_again)) / total,
        accuracy_before=accuracies[0],
        accuracy_after=accuracies[1],
    )


def _pieces(encoder: TokenEncoder, split: Split) -> list[list[int]]:
    """The ids of each row, without those that every row begins and ends with."""
    rows = encoder.tokenizer.encode_batch_fast(list(split.examples))
    return [[i for i, special in zip(row.ids, row.special_tokens_mask, strict=True) if not special] for row in rows]
