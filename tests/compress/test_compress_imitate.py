"""The loss that students and pruned nets share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compress_samples import Sample, short_recipe

from toolkit.compress.hidden import Matched, hidden_loss
from toolkit.compress.imitate import Objective, imitate
from toolkit.compress.student import student_from_layers
from toolkit.compress.teachers import as_predictor, digest_of_teacher, teacher_answers
from toolkit.data import Split
from toolkit.errors import InputError, RecipeError
from toolkit.nets import build_net
from toolkit.nets.transformer import Transformer
from toolkit.spec import Array, softmax


def _divergence(answers: Array, logits: Array) -> float:
    told, said = softmax(answers), softmax(logits)
    return float((told * (np.log(told) - np.log(said))).sum(axis=1).mean())


def test_student_answers_come_nearer_to_the_teachers_not_to_the_labels(transformer: Sample) -> None:
    """True labels are made wrong and alpha is 1: only the teacher's answers can teach."""
    train, held = transformer.data.split("train").take(range(400)), transformer.data.split("validation")
    wrong = Split(train.examples, (train.labels + 1) % 6)
    teacher = transformer.classifier
    student = student_from_layers(teacher, [0])
    answers = teacher_answers(teacher, train.examples)
    before = as_predictor(replace(teacher, net=student), threads=1).logits(held.examples)
    recipe = short_recipe("transformer", epochs=4, learning_rate=1e-3)
    fitted = imitate(
        teacher, student, teacher.encoder, wrong, held, recipe, answers=answers, objective=Objective(alpha=1.0)
    )
    after = as_predictor(replace(teacher, net=fitted.net), threads=1).logits(held.examples)
    told = teacher_answers(teacher, held.examples)
    assert _divergence(told, after) < 0.5 * _divergence(told, before)
    assert (after.argmax(1) == told.argmax(1)).mean() > 0.7


def test_alpha_zero_listens_to_labels_alone(transformer: Sample) -> None:
    train, held = transformer.data.split("train").take(range(64)), transformer.data.split("validation")
    teacher, recipe = transformer.classifier, short_recipe("transformer", epochs=1)
    found = []
    for sign in (1.0, -1.0):
        student = student_from_layers(teacher, [0])
        answers = sign * teacher_answers(teacher, train.examples)
        objective = Objective(alpha=0.0)
        imitate(teacher, student, teacher.encoder, train, held, recipe, answers=answers, objective=objective)
        found.append(student.classifier.weight.detach())
    assert torch.equal(*found)


def test_labels_of_copies_are_not_looked_at(transformer: Sample) -> None:
    train, held = transformer.data.split("train").take(range(64)), transformer.data.split("validation")
    teacher, recipe = transformer.classifier, short_recipe("transformer", epochs=1)
    answers, found = teacher_answers(teacher, train.examples), []
    for shift in (0, 1):
        labels = train.labels.copy()
        labels[32:] = (labels[32:] + shift) % 6
        student = student_from_layers(teacher, [0])
        imitate(
            teacher, student, teacher.encoder, Split(train.examples, labels), held, recipe,
            answers=answers, objective=Objective(alpha=0.5), true_rows=32,
        )  # fmt: skip
        found.append(student.classifier.weight.detach())
    assert torch.equal(*found)


def test_hidden_loss_pulls_states_to_the_teachers(transformer: Sample) -> None:
    train, held = transformer.data.split("train").take(range(256)), transformer.data.split("validation")
    teacher, recipe = transformer.classifier, short_recipe("transformer", epochs=3, learning_rate=1e-3)
    answers = teacher_answers(teacher, train.examples)
    arrays = teacher.encoder.encode(held.examples)
    inputs = tuple(torch.from_numpy(arrays[i.name]) for i in teacher.encoder.inputs)
    assert isinstance(teacher.net, Transformer)
    apart = {}
    for hidden in (False, True):
        student = student_from_layers(teacher, [0, 2])
        objective = Objective(hidden=hidden)
        imitate(teacher, student, teacher.encoder, train, held, recipe, answers=answers, objective=objective)
        with torch.no_grad():
            states, guides = student.eval().hidden(*inputs)[1], teacher.net.hidden(*inputs)[1]
            apart[hidden] = float(hidden_loss(states, guides, inputs[1]))
    assert apart[True] < 0.8 * apart[False]


def test_hidden_loss_leaves_padding_out_and_is_zero_for_the_same_states() -> None:
    states = [torch.randn(2, 3, 4) for _ in range(3)]
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert float(hidden_loss(states, states, mask)) == 0.0
    moved = [state.clone() for state in states]
    for state in moved:
        state[0, 2] += 100.0
    assert float(hidden_loss(moved, states, mask)) == 0.0
    moved[1][0, 1] += 1.0
    assert float(hidden_loss(moved, states, mask)) == pytest.approx(4 / (5 * 4) / 3, rel=1e-4)


def test_layers_are_compared_at_the_same_relative_depth() -> None:
    guides = [torch.full((1, 1, 1), float(depth)) for depth in range(7)]
    states = [torch.full((1, 1, 1), depth) for depth in (0.0, 2.0, 4.0, 6.0)]
    assert float(hidden_loss(states, guides, torch.ones(1, 1, dtype=torch.int64))) == 0.0


def test_a_narrower_student_gets_matrices_that_are_dropped_after(transformer: Sample) -> None:
    teacher = transformer.classifier
    assert isinstance(teacher.net, Transformer)
    sizes = replace(teacher.net.sizes, width=32, heads=(2, 2), feed_forward=(64, 64))
    student = Transformer(sizes)
    matched = Matched(student, teacher.net)
    assert [tuple(matrix.weight.shape) for matrix in matched.projections] == [(64, 32)] * 3  # type: ignore[union-attr]
    assert not len(Matched(teacher.net, teacher.net).projections)
    train, held = transformer.data.split("train").take(range(64)), transformer.data.split("validation")
    answers = teacher_answers(teacher, train.examples)
    recipe, objective = short_recipe("transformer", epochs=1, dropout=0.25), Objective(hidden=True)
    names = set(student.state_dict())
    fitted = imitate(teacher, student, teacher.encoder, train, held, recipe, answers=answers, objective=objective)
    assert fitted.net is student
    assert set(student.state_dict()) == names
    assert student.sizes.dropout == 0.25


def test_hidden_states_of_other_nets_are_refused_by_name(transformer: Sample, lstm: Sample) -> None:
    train, held = transformer.data.split("train").take(range(32)), transformer.data.split("validation")
    answers = np.zeros((32, 6), dtype=np.float32)
    recipe, objective = short_recipe("transformer", epochs=1), Objective(hidden=True)
    student = student_from_layers(transformer.classifier, [0])
    encoder = transformer.classifier.encoder
    with pytest.raises(InputError, match="got lstm to transformer; leave hidden out"):
        imitate(lstm.classifier, student, encoder, train, held, recipe, answers=answers, objective=objective)
    exported = as_predictor(transformer.classifier, threads=1)
    with pytest.raises(InputError, match="got an exported model to transformer"):
        imitate(exported, student, encoder, train, held, recipe, answers=answers, objective=objective)
    mlp = build_net("lstm", {"vocabulary": 2000, "width": 8, "hidden": 8, "labels": 6})
    with pytest.raises(InputError, match="got transformer to lstm"):
        imitate(transformer.classifier, mlp, encoder, train, held, recipe, answers=answers, objective=objective)


def test_hidden_states_of_another_tokenizer_are_refused(transformer: Sample, lstm: Sample) -> None:
    from toolkit.encoders.text import TokenEncoder, train_tokenizer

    other = TokenEncoder(train_tokenizer(["other words entirely"], vocabulary_size=60), max_length=32)
    train, held = transformer.data.split("train").take(range(32)), transformer.data.split("validation")
    student = student_from_layers(transformer.classifier, [0])
    with pytest.raises(InputError, match="a student that reads the teacher's tokens"):
        imitate(
            transformer.classifier, student, other, train, held, short_recipe("transformer"),
            answers=np.zeros((32, 6), dtype=np.float32), objective=Objective(hidden=True),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; allowed: above 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"alpha": 1.5}, "alpha is 1.5; allowed: 0 to 1"),
        ({"alpha": -0.1}, "alpha is -0.1"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Objective(**settings)  # type: ignore[arg-type]


def test_teacher_answers_once_and_is_found_again(transformer: Sample, tmp_path: Path) -> None:
    examples = transformer.data.split("test").examples[:50]
    calls: list[int] = []

    def listen(stage: str, done: int, total: int, words: str = "") -> None:
        calls.append(done)

    first = teacher_answers(transformer.classifier, examples, folder=tmp_path, progress=listen)
    again = teacher_answers(transformer.classifier, examples, folder=tmp_path, progress=listen)
    assert calls == [50]
    assert np.array_equal(first, again)
    assert first == pytest.approx(as_predictor(transformer.classifier, threads=1).logits(examples), abs=1e-5)
    teacher_answers(transformer.classifier, examples[:40], folder=tmp_path, progress=listen)
    assert calls == [50, 40]


def test_digest_of_a_teacher_follows_its_weights(transformer: Sample) -> None:
    teacher = transformer.classifier
    other = replace(teacher, net=student_from_layers(teacher, [0]))
    assert digest_of_teacher(teacher) == digest_of_teacher(replace(teacher, name="another"))
    assert digest_of_teacher(teacher) != digest_of_teacher(other)
