"""A bidirectional LSTM with masked max-pooling: a student for transformers where a millisecond is too long.

It never sees its padding. The backward direction would start in it, and the same row would answer
differently in another batch (by 0.015 of a logit when tried), so sequences are packed by their lengths;
that leaves through the TorchScript exporter as the operator's own `sequence_lens`.

Source: Hochreiter and Schmidhuber 1997; Conneau et al. 2017 (arXiv:1705.02364) for the max-pooling.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from toolkit.errors import RecipeError
from toolkit.nets.pooling import masked_max


@dataclass(frozen=True)
class LstmSizes:
    """`width` of an embedding; `hidden` of one direction, in each of `layers`."""

    vocabulary: int
    width: int
    hidden: int
    labels: int
    layers: int = 1
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.vocabulary, self.width, self.hidden, self.labels, self.layers) < 1:
            raise RecipeError(f"the sizes of an lstm are 1 or more; got {self}")


class Lstm(nn.Module):
    """input_ids and attention_mask (right-padded), int64 (batch, length), to logits float32 (batch, labels)."""

    kind = "lstm"

    def __init__(self, sizes: LstmSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.width)
        nn.init.normal_(self.tokens.weight, std=0.1)
        self.lstm = nn.LSTM(
            sizes.width,
            sizes.hidden,
            num_layers=sizes.layers,
            batch_first=True,
            bidirectional=True,
            dropout=sizes.dropout if sizes.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.classifier = nn.Linear(2 * sizes.hidden, sizes.labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        lengths = attention_mask.sum(dim=1).cpu()
        states = self.dropout(self.tokens(input_ids))
        packed = pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=input_ids.shape[1])
        logits: Tensor = self.classifier(self.dropout(masked_max(output, attention_mask)))
        return logits
