"""A cascade is a predictor: each row gets the answer of the member that it belongs to, and no other is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cascade_models import make_cascade, unseen_rows

from toolkit.artifact import Artifact, write_cascade
from toolkit.card import model_card
from toolkit.cascade import Cascade
from toolkit.compress.teachers import digest_of_teacher, teacher_answers
from toolkit.errors import ArtifactError, InputError
from toolkit.golden import Golden
from toolkit.judge.parity import parity
from toolkit.judge.quality import judge
from toolkit.measure.footprint import measure_footprint
from toolkit.measure.latency import measure_interleaved
from toolkit.predictor import Predictor
from toolkit.report import Report
from toolkit.routing import Router, margins
from toolkit.runners import open_runner
from toolkit.spec import softmax


@pytest.fixture(scope="module", params=[False, True], ids=["fp32", "int8"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_cascade(tmp_path_factory.mktemp("cascade") / "c", int8=request.param)


def load(artifact: Artifact) -> Cascade:
    found = Predictor.load(artifact)
    assert isinstance(found, Cascade)
    return found


def test_every_row_is_answered_by_its_member(artifact: Artifact) -> None:
    pictures = unseen_rows().examples
    with load(artifact) as cascade:
        small, large = (part.logits(pictures) / part.temperature for part in cascade.parts)
        unsure = margins(softmax(small)) < cascade.router.threshold
        expected = np.where(unsure[:, None], large, small)
        assert 0 < unsure.sum() < len(pictures)
        assert np.array_equal(cascade.logits(pictures), expected)
        assert cascade.logits(pictures).dtype == np.float32
        assert np.array_equal(cascade.probabilities(pictures), softmax(expected))
        labels = [artifact.spec.labels[i] for i in expected.argmax(axis=1).tolist()]
        assert [answer.label for answer in cascade(pictures)] == labels
        assert [answer.score for answer in cascade(pictures)] == softmax(expected).max(axis=1).tolist()


def test_a_row_alone_and_among_others_gets_the_same_answer(artifact: Artifact) -> None:
    pictures = unseen_rows().examples
    with load(artifact) as cascade:
        together = cascade.logits(pictures)
        alone = np.concatenate([cascade.logits([picture]) for picture in pictures])
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
        assert np.array_equal(cascade.logits(pictures[::-1]), together[::-1])
        assert cascade([]) == []
        assert cascade.logits([]).shape == (0, 10)
        assert cascade.batch_size == (1 if artifact.depends_on_batch else 32)


def test_a_sure_row_never_reaches_the_large_member(artifact: Artifact) -> None:
    pictures = unseen_rows().examples
    with load(artifact) as cascade:
        margin = margins(cascade.small.probabilities(pictures))
        cascade.large.close()
        assert len(cascade([pictures[int(margin.argmax())]])) == 1
        with pytest.raises(InputError, match="closed"):
            cascade([pictures[int(margin.argmin())]])


def test_temperatures_are_the_members_own(artifact: Artifact) -> None:
    pictures = unseen_rows().examples
    with load(artifact) as cascade:
        cascade.small.temperature, cascade.large.temperature = 2.0, 3.0
        small = cascade.small.logits(pictures) / 2.0
        margin = margins(softmax(small))
        middle = float(np.median(margin))
        warmer = Cascade(cascade.small, cascade.large, Router(middle, 0.5, 0.9))
        unsure = margin < middle
        expected = np.where(unsure[:, None], cascade.large.logits(pictures) / 3.0, small)
        assert 0 < unsure.sum() < len(pictures)
        np.testing.assert_allclose(warmer.logits(pictures), expected, rtol=1e-6)
        assert warmer.temperature == 1.0


def test_the_runner_answers_encoded_rows_as_the_predictor_answers_raw_ones(artifact: Artifact) -> None:
    pictures = unseen_rows().examples
    with load(artifact) as cascade, open_runner(artifact) as runner:
        singles = [cascade.encoder.encode([picture]) for picture in pictures]
        assert artifact.spec.check(singles[0]) == 1
        assert np.array_equal(np.concatenate([runner.run(single) for single in singles]), cascade.logits(pictures))
        assert parity(cascade.runner, runner, singles).passed()
        facts = runner.facts()
    assert facts["precision"] in ("fp32+fp32", "int8+fp32")
    assert facts["router"]["threshold"] == artifact.core.router.threshold  # type: ignore[union-attr]
    assert facts["members"]["large"]["precision"] == "fp32"


def test_bad_input_is_an_input_error(artifact: Artifact) -> None:
    with load(artifact) as cascade:
        for ask in (cascade, cascade.encoder.encode):
            with pytest.raises(InputError, match="input 0"):
                ask([b"no picture"])


def test_it_is_judged_and_measured_like_any_predictor(artifact: Artifact) -> None:
    rows = unseen_rows()
    with load(artifact) as cascade:
        quality = judge(cascade.large, cascade, rows, max_drop=0.5, split_name="validation")
        right = (cascade.logits(rows.examples).argmax(axis=1) == rows.labels).mean()
        assert quality.candidate.accuracy.value == pytest.approx(right)
        measured = measure_interleaved([cascade, cascade.small], rows.examples, rounds=2, seconds=0.1, warmup=0.0)
    for latency in measured.latencies:
        assert latency.wrong == 0
        assert latency.to_json()["mean_ms"] > 0
    assert "router" in measured.latencies[0].facts
    footprint = measure_footprint(artifact.folder, rows.examples[0])
    assert footprint.load_ms > 0


def test_its_card_names_both_members_and_what_is_deferred(artifact: Artifact) -> None:
    with load(artifact) as cascade:
        report = Report.of(artifact, facts=cascade.runner.facts())
    text = model_card(artifact, report)
    assert report.is_cascade
    assert 'library_name: "onnx"' in text
    for role, member in artifact.members.items():
        assert f"- The {role} member: `{member.name}`, {member.core.precision}, " in text
        assert member.digest in text
    assert "of the rows it was tuned on went on to the large member" in text
    assert ("INT8 kernels differ" in text) is (artifact.members["small"].core.precision == "int8")


def test_it_can_teach(artifact: Artifact) -> None:
    pictures = unseen_rows(5).examples
    with load(artifact) as cascade:
        assert digest_of_teacher(cascade) == artifact.digest
        assert np.array_equal(teacher_answers(cascade, pictures), cascade.logits(pictures))


def test_another_routing_or_swapped_members_fail_the_cascades_own_self_test(tmp_path: Path) -> None:
    """Each member passes its own: only rows that go through the router can tell."""
    good = make_cascade(tmp_path / "good")
    golden = good.golden()
    assert len(golden.logits) == 4
    core = replace(good.core, router=Router(0.0, 0.0, 0.5))
    deaf = write_cascade(tmp_path / "deaf", core, good.members, golden=golden)
    assert deaf.digest != good.digest
    members = {"small": good.members["large"], "large": good.members["small"]}
    core = replace(good.core, members={name: member.digest for name, member in members.items()})
    swapped = write_cascade(tmp_path / "swapped", core, members, golden=golden)
    for bad in (deaf, swapped):
        with pytest.raises(ArtifactError, match="the self-test failed: logits differ"):
            Predictor.load(bad.folder)


def test_an_int8_cascade_must_give_the_same_labels(tmp_path: Path) -> None:
    good = make_cascade(tmp_path / "good", int8=True)
    golden = good.golden()
    for logits, passes in ((golden.logits + np.float32(0.5), True), (-golden.logits, False)):
        made = write_cascade(tmp_path / str(passes), good.core, good.members, golden=Golden(golden.arrays, logits))
        if passes:
            Predictor.load(made).close()
            continue
        with pytest.raises(ArtifactError, match="got another label"):
            Predictor.load(made)
