"""The nets of plans: what is cut by macs stands for itself before it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Digits

from toolkit.compress.prune import cut
from toolkit.nets.cnn import Cnn, CnnSizes
from toolkit.optimize.plan import Plan
from toolkit.optimize.students import Students
from toolkit.optimize.workshop import Workshop
from toolkit.predictor import Predictor
from toolkit.stages import Stages


@pytest.fixture
def students(digits: Digits, tmp_path: Path) -> Students:
    return Students(digits.artifact, digits.data, Stages(tmp_path), seed=0, threads=1)


def _sizes(net: torch.nn.Module) -> CnnSizes:
    assert isinstance(net, Cnn)
    return net.sizes


def test_plans_by_weights_and_by_macs_are_other_nets_with_stand_ins_of_their_own(
    students: Students, digits: Digits
) -> None:
    found = {}
    with Predictor.load(digits.artifact) as teacher:
        for by in ("weights", "macs"):
            plan = Plan.of("prune", keep=0.5, by=by)
            student, (net, encoder, kind) = students.choose(plan, teacher), students.stand_in(plan, teacher)
            expected = _sizes(cut(students.classifier, digits.data, keep=0.5, by=by).net)
            assert _sizes(student.net) == expected
            assert (kind, encoder) == ("cnn", students.classifier.encoder)
            found[by] = expected, _sizes(net), torch.equal(student.net.stem.weight, net.stem.weight)  # type: ignore[arg-type, union-attr]
    assert found["macs"][0] == found["macs"][1]
    assert not found["macs"][2], "the stand-in is untrained"
    assert found["weights"][:2] != found["macs"][:2]


def test_a_plan_by_macs_is_made_and_weighs_what_its_shape_did(digits: Digits, tmp_path: Path) -> None:
    shop = Workshop(digits.artifact, digits.data, tmp_path, seed=0, threads=1)
    plan = Plan.of("prune", keep=0.5, by="macs")
    product = shop.make(plan)
    assert [made.form for made in product.made][:2] == ["fp32", "int8"]  # others follow where 8 bits cost accuracy
    assert product.made[1].folder == "trials/prune-bymacs-keep0.5/short/int8"
    # how many golden rows there are depends on the answers
    assert shop.measure_shape(plan).size_bytes == pytest.approx(product.made[1].cost.size_bytes, rel=0.1)
