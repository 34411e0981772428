"""Our text classifier in Hugging Face's terms: BERT, the mean over what is not padding, one linear head.

Copied into the converted folder as remote code (`auto_map`), since transformers' own BERT head takes the first
token's state through a tanh: other weights and other answers. Without `toolkit`, since the peers' environments
import it through transformers. The type table is zero: `checkpoint` leaves the segment in the positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPooledBertForSequenceClassification(BertPreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """input_ids and attention_mask (batch, length) to logits (batch, labels)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """One text a row; whatever else a trainer would pass is not looked at."""
        states = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
        kept = attention_mask.unsqueeze(-1).to(states.dtype)
        return SequenceClassifierOutput(logits=self.classifier((states * kept).sum(dim=1) / kept.sum(dim=1)))
