"""A cut in several rounds: how deep each goes, and how many of the epochs of recovery it gets.

Cubic: most goes early, while there is most to spare, and the last steps are small.

Source: Zhu and Gupta 2017 (arXiv:1710.01878).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolkit.compress.cut_transformer import width_block
from toolkit.compress.units import Target


def schedule_target(target: Target, sizes: Any, at: int, rounds: int) -> Target:
    """What is left after round `at` of `rounds`: 1 - (1 - at / rounds) ^ 3 of what goes is gone by then."""
    if at == rounds:
        return target
    gone = 1.0 - (1.0 - at / rounds) ** 3
    depth, width = target.layers, target.width
    if depth is not None:
        depth = len(sizes.heads) - int(gone * (len(sizes.heads) - depth))
    if width is not None and width < sizes.width:
        block = width_block(sizes.width)
        width = sizes.width - int(gone * (sizes.width - width) / block) * block
    # a token table is factorized in the first round, since all later ones train what is left of it;
    # times were measured at the last width: on the way there, units are weighed by their weights
    table = target.table if width == target.width else None
    return replace(target, keep=1.0 - gone * (1.0 - target.keep), layers=depth, width=width, table=table)


def share_epochs(recover: int, rounds: int) -> list[int]:
    """`recover` epochs over `rounds`: equal shares, and two of them and what is left for the last."""
    each = max(recover // (rounds + 1), 1 if recover else 0)
    return [each] * (rounds - 1) + [recover - each * (rounds - 1)]
