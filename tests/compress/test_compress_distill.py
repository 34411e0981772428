"""Distilling from classifiers and from exported artifacts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compress_samples import Sample, short_recipe

from toolkit.classifier import load_classifier
from toolkit.compress.distill import distill
from toolkit.compress.imitate import Objective
from toolkit.compress.student import student_from_layers
from toolkit.compress.teachers import as_predictor, digest_of_weights
from toolkit.data import hash_rows
from toolkit.errors import DataError, InputError, RecipeError
from toolkit.export.onnx import export
from toolkit.nets import build_net
from toolkit.nets.transformer import Transformer
from toolkit.predictor import Predictor
from toolkit.progress import Progress, silent
from toolkit.train import Trained
from toolkit.train.logbook import read_log
from toolkit.train.saving import save_trained


def test_a_student_is_a_new_net_with_its_teachers_lineage(transformer: Sample) -> None:
    teacher = transformer.classifier
    student = student_from_layers(teacher, [0, 2])
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    recipe = short_recipe("transformer", epochs=1)
    made = distill(
        teacher,
        transformer.data,
        student=student,
        encoder=teacher.encoder,
        recipe=recipe,
        copies=1,
        objective=Objective(hidden=True),
    )
    assert all(torch.equal(tensor, student.state_dict()[name]) for name, tensor in before.items())
    assert made.classifier.net is not student
    assert [step.name for step in made.classifier.steps] == ["train", "distill"]
    settings = made.classifier.steps[-1].settings
    assert settings["copies"] == 1
    assert settings["hidden"] is True
    assert settings["student"]["sizes"]["heads"] == (4, 4)
    assert settings["student_start"] == digest_of_weights(student)
    assert settings["recipe"]["epochs"] == 1
    assert made.classifier.split == transformer.data.record()
    learned = made.classifier.training_rows
    assert learned is not None
    assert np.isin(hash_rows(transformer.data.split("train").examples), learned).all()
    assert not np.isin(hash_rows(transformer.data.split("test").examples), learned).any()


def test_a_distilled_student_agrees_with_its_teacher_saves_and_exports(transformer: Sample, tmp_path: Path) -> None:
    teacher = transformer.classifier
    student = student_from_layers(teacher, [0, 2])
    recipe = short_recipe("transformer", epochs=3, learning_rate=5e-4)
    made = distill(teacher, transformer.data, student=student, encoder=teacher.encoder, recipe=recipe)
    examples = transformer.data.split("test").examples
    answers = as_predictor(made.classifier, threads=1).logits(examples)
    told = as_predictor(teacher, threads=1).logits(examples)
    assert (answers.argmax(1) == told.argmax(1)).mean() > 0.75
    (tmp_path / "saved").mkdir()
    saved = load_classifier(save_trained(made.classifier, transformer.data, tmp_path / "saved"))
    assert as_predictor(saved, threads=1).logits(examples) == pytest.approx(answers, abs=1e-5)
    (tmp_path / "onnx").mkdir()
    artifact, parity = export(made.classifier, tmp_path / "onnx", examples=examples[:20])
    assert artifact.size_bytes < transformer.artifact.size_bytes
    assert parity.max_relative_difference < 1e-4


def test_an_exported_artifact_teaches_a_net_with_another_encoder(transformer: Sample, lstm: Sample) -> None:
    with Predictor.load(transformer.artifact) as teacher:
        student = build_net(
            "lstm", {"vocabulary": lstm.classifier.encoder.vocabulary_size, "width": 16, "hidden": 16, "labels": 6}
        )
        made = distill(
            teacher, transformer.data, student=student, encoder=lstm.classifier.encoder, recipe=short_recipe("lstm")
        )
    assert made.classifier.parent == transformer.artifact.digest
    assert [step.name for step in made.classifier.steps] == ["train", "distill"]
    assert made.classifier.steps[-1].settings["teacher"] == transformer.artifact.digest
    assert made.classifier.net.kind == "lstm"


def test_the_same_twice_gives_the_same_student(transformer: Sample) -> None:
    teacher = transformer.classifier
    nets = [
        distill(
            teacher, transformer.data, student=student_from_layers(teacher, [1]), encoder=teacher.encoder,
            recipe=short_recipe("transformer", epochs=1), copies=1,
        ).classifier.net
        for _ in range(2)
    ]  # fmt: skip
    assert all(torch.equal(*pair) for pair in zip(*(net.state_dict().values() for net in nets), strict=True))


def test_a_finished_run_is_found_again_and_another_objective_is_refused(transformer: Sample, tmp_path: Path) -> None:
    teacher, student = transformer.classifier, student_from_layers(transformer.classifier, [1])
    stages: list[str] = []

    def listen(stage: str, done: int, total: int, words: str = "") -> None:
        stages.append(stage)

    def run(temperature: float) -> Transformer:
        recipe = short_recipe("transformer", epochs=1)
        made = distill(
            teacher, transformer.data, student=student, encoder=teacher.encoder, recipe=recipe,
            objective=Objective(temperature), folder=tmp_path, progress=listen,
        )  # fmt: skip
        assert isinstance(made.classifier.net, Transformer)
        return made.classifier.net

    first = run(2.0).state_dict()
    assert {"teacher", "train"} <= set(stages)
    stages.clear()
    again = run(2.0).state_dict()
    assert not stages, "neither the teacher nor the training was asked again"
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    with pytest.raises(InputError):
        run(3.0)


def test_a_student_of_layers_has_their_weights(transformer: Sample) -> None:
    net = transformer.classifier.net
    assert isinstance(net, Transformer)
    student = student_from_layers(transformer.classifier, [0, 2])
    assert student.sizes == replace(net.sizes, heads=(4, 4), feed_forward=(128, 128))
    assert torch.equal(student.tokens.weight, net.tokens.weight)
    assert torch.equal(student.classifier.weight, net.classifier.weight)
    for own, theirs in ((0, 0), (1, 2)):
        taken = net.layers[theirs].state_dict()
        assert all(torch.equal(t, taken[name]) for name, t in student.layers[own].state_dict().items())
    student.tokens.weight.data.zero_()
    assert net.tokens.weight.abs().sum() > 0


def test_all_layers_answer_as_the_teacher(transformer: Sample) -> None:
    arrays = transformer.classifier.encoder.encode(transformer.data.split("test").examples[:8])
    whole = replace(transformer.classifier, net=student_from_layers(transformer.classifier, [0, 1, 2]))
    assert np.array_equal(whole.run(arrays), transformer.classifier.run(arrays))


@pytest.mark.parametrize("layers", [[], [0, 3], [2, 1], [1, 1], [-1]])
def test_layers_that_are_not_there_are_refused(transformer: Sample, layers: list[int]) -> None:
    with pytest.raises(RecipeError, match=r"allowed: rising numbers from 0 to 2, each once"):
        student_from_layers(transformer.classifier, layers)


def test_layers_of_another_net_are_refused_by_name(lstm: Sample) -> None:
    with pytest.raises(InputError, match="this is lstm"):
        student_from_layers(lstm.classifier, [0])


def test_data_of_other_labels_is_refused(transformer: Sample) -> None:
    teacher = transformer.classifier
    other = replace(transformer.data, labels=("A", "B", "C", "D", "E", "F"))
    with pytest.raises(InputError, match="the teacher answers ABBR"):
        distill(
            teacher, other, student=student_from_layers(teacher, [0]), encoder=teacher.encoder,
            recipe=short_recipe("transformer"),
        )  # fmt: skip


def test_another_split_of_the_same_data_is_refused(transformer: Sample) -> None:
    teacher = transformer.classifier
    splits = dict(transformer.data.splits)
    splits["train"], splits["test"] = splits["test"], splits["train"]
    with pytest.raises(DataError, match="use its split"):
        distill(
            teacher, replace(transformer.data, splits=splits), student=student_from_layers(teacher, [0]),
            encoder=teacher.encoder, recipe=short_recipe("transformer"),
        )  # fmt: skip


def test_a_student_of_other_labels_is_refused(transformer: Sample) -> None:
    teacher = transformer.classifier
    student = Transformer(replace(student_from_layers(teacher, [0]).sizes, labels=3))
    with pytest.raises(InputError, match="the student answers 3 labels and trec has 6"):
        distill(teacher, transformer.data, student=student, encoder=teacher.encoder, recipe=short_recipe("transformer"))


def test_copies_of_pictures_teach_a_cnn(cnn: Sample) -> None:
    small = replace(cnn.data, splits={**cnn.data.splits, "train": cnn.data.split("train").take(range(200))})
    student = build_net("cnn", {"channels": 1, "stages": (8,), "inner": ((8,),), "labels": 10})
    teacher = replace(cnn.classifier, split=None)
    made = distill(
        teacher, small, student=student, encoder=teacher.encoder, recipe=short_recipe("cnn", epochs=1), copies=2
    )
    assert made.classifier.steps[-1].settings["copies"] == 2
    assert made.fitted.log[-1].step == -(-3 * 200 // 64)


def test_unlabeled_rows_teach_unless_they_judge(transformer: Sample) -> None:
    teacher, data = transformer.classifier, transformer.data
    judges = [data.split("test").examples[0], data.split("validation").examples[0].upper()]
    texts = ["Where is the tower of a town that nobody has seen ?", *judges, data.split("train").examples[0]]
    made = distill(
        teacher, data, student=student_from_layers(teacher, [1]), encoder=teacher.encoder,
        recipe=short_recipe("transformer", epochs=1), unlabeled=texts, inherited={"layers": [1]},
    )  # fmt: skip
    settings = made.classifier.steps[-1].settings
    assert settings["unlabeled"] == 1
    assert settings["unlabeled_dropped"] == {"validation_or_test": 2, "repeated": 1}
    assert settings["inherited"] == {"layers": [1]}
    learned = made.classifier.training_rows
    assert learned is not None
    assert np.isin(hash_rows(texts[:1]), learned).all()
    assert not np.isin(hash_rows(texts[1:2]), learned).any()


def test_students_share_the_teachers_answers(transformer: Sample, tmp_path: Path) -> None:
    teacher, asked = transformer.classifier, []

    def listen(stage: str, done: int, total: int, words: str = "") -> None:
        if stage == "teacher":
            asked.append((done, total))

    nets = []
    for copies, answers in ((1, tmp_path), (2, tmp_path), (2, None)):
        made = distill(
            teacher, transformer.data, student=student_from_layers(teacher, [1]), encoder=teacher.encoder,
            recipe=short_recipe("transformer", epochs=1), copies=copies, answers_folder=answers, progress=listen,
        )  # fmt: skip
        nets.append(made.classifier.net)
    assert asked[:3] == [(700, 1400), (1400, 1400), (2100, 2100)], "the second student asks for its second copy alone"
    assert digest_of_weights(nets[1]) == digest_of_weights(nets[2])
    assert digest_of_weights(nets[0]) != digest_of_weights(nets[1])


class _Enough(Exception):  # noqa: N818  # it is no error: whoever watches has seen enough
    pass


def test_who_watches_may_end_a_run_and_it_goes_on_from_there(transformer: Sample, tmp_path: Path) -> None:
    teacher, threads = transformer.classifier, torch.get_num_threads()
    student = student_from_layers(teacher, [0, 2])

    def watch(stage: str, done: int, total: int, words: str = "") -> None:
        if stage == "train" and read_log(tmp_path):
            raise _Enough

    def run(progress: Progress, folder: Path | None) -> Trained:
        return distill(
            teacher, transformer.data, student=student, encoder=teacher.encoder,
            recipe=short_recipe("transformer", epochs=2), objective=Objective(hidden=True, relations=True),
            folder=folder, progress=progress,
        )  # fmt: skip

    with pytest.raises(_Enough):
        run(watch, tmp_path)
    assert torch.get_num_threads() == threads
    (first,) = read_log(tmp_path)
    assert first.epoch == 1
    resumed, whole = run(silent, tmp_path), run(silent, None)
    assert resumed.fitted.log[0] == first
    assert read_log(tmp_path) == resumed.fitted.log
    assert digest_of_weights(resumed.classifier.net) == digest_of_weights(whole.classifier.net)


def test_who_ends_it_while_the_teacher_answers_leaves_the_threads_alone(transformer: Sample, tmp_path: Path) -> None:
    teacher, threads = transformer.classifier, torch.get_num_threads()

    def watch(stage: str, done: int, total: int, words: str = "") -> None:
        raise _Enough

    with pytest.raises(_Enough):
        distill(
            teacher, transformer.data, student=student_from_layers(teacher, [0]), encoder=teacher.encoder,
            recipe=short_recipe("transformer", threads=threads + 1), folder=tmp_path, progress=watch,
        )  # fmt: skip
    assert torch.get_num_threads() == threads
