"""A token table of few columns, and one product that lifts its rows to the width of the net.

Half of MiniLM is its table of 30,522 tokens by 384 columns. In 96 or 128 columns every token stays and the table is
three to four times smaller; a run pays one product for it. The columns are the principal components of the table, each
token weighted by how often the training rows use it; the mean, which the components leave out, goes into the position
table, of which every token gets one row. So nothing is lost but the variance outside the components.

Components are then turned among themselves by a fixed random rotation. That changes no vector, and the values of a row
become alike in size: left as they are, the first components are so much larger than the last ones that one scale in
8 bits serves neither (TREC, MiniLM, table in int8: logits moved by 0.005 instead of 0.007 at 128 columns).

TREC, MiniLM, nothing trained, 94.4 % of validation rows before: 94.1 at 192 columns, 93.1 at 128, 92.2 at 96, 90.0 at
64; at 128 columns that count every token alike, 78.7.
Limits: tokens that no training row holds are kept as well as their likeness to the others allows, and training around
the table moves them along with those. A table that is factorized already can be factorized further, not back.

Source: Lan et al. 2019, ALBERT (arXiv:1909.11942), for the factorized table; Mukherjee and Awadallah 2020,
XtremeDistil (arXiv:2004.05686), for starting it from the components of the whole one; Ashkboos et al. 2024, QuaRot
(arXiv:2404.00456), for rotations before rounding.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from toolkit.compress.narrow import principal_components
from toolkit.errors import RecipeError
from toolkit.nets.transformer import Transformer


def factorize(net: Transformer, counts: Tensor, embedding: int) -> tuple[Transformer, float]:
    """A new net with a token table of `embedding` columns, and the share from 0 to 1 of the table's variance in them.

    `counts` float32 (vocabulary,) weigh the tokens (`inherit.count_tokens`). `net` stays as it is; the new one
    is in evaluation mode. Raises `RecipeError` for more columns than the table has, or as many as the net is wide.
    """
    has = net.sizes.embedding
    if has is not None and embedding > has:
        raise RecipeError(f"embedding is {embedding}; the token table has {has} columns, allowed: 1 to {has}")
    small = Transformer(replace(net.sizes, embedding=embedding))  # refuses what is out of its range
    table = net.token_vectors().detach()
    components, share = principal_components(table, counts, embedding)
    basis = components.double() @ _rotation(embedding)
    mean = (table.double() * (counts / counts.sum()).double().unsqueeze(1)).sum(dim=0)
    state = dict(net.state_dict())
    state["tokens.weight"] = ((table.double() - mean) @ basis).float()
    state["lift.weight"] = basis.float()
    state["positions.weight"] = (net.positions.weight.detach().double() + mean).float()
    small.load_state_dict(state)  # copies
    return small.eval(), share


def _rotation(width: int) -> Tensor:
    """float64 (width, width), orthogonal and always the same."""
    chance = torch.Generator().manual_seed(0)
    rotation: Tensor = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64, generator=chance))[0]
    return rotation
