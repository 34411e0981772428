"""Which net is to learn, what it reads and how large it is."""

from __future__ import annotations

from typing import Any

import pytest
from compress_samples import Sample

from toolkit.compress.student import choose_student, spread
from toolkit.compress.student_sizes import sizes_of_words
from toolkit.compress.teachers import digest_of_weights
from toolkit.encoders import encoder_files
from toolkit.errors import RecipeError
from toolkit.nets import describe_net
from toolkit.predictor import Predictor


def _sizes(net: Any) -> dict[str, Any]:
    sizes: dict[str, Any] = describe_net(net)["sizes"]
    return sizes


def test_layers_alone_are_the_teachers_own(transformer: Sample) -> None:
    chosen = choose_student(transformer.classifier, transformer.data, net="transformer", layers=2)
    assert chosen.from_teacher
    assert chosen.inherited == {"layers": [0, 2], "all": "copied"}
    assert _sizes(chosen.net) == {
        **_sizes(transformer.classifier.net), "heads": (4, 4), "feed_forward": (128, 128),
    }  # fmt: skip


def test_a_narrow_student_keeps_what_is_not_said(transformer: Sample) -> None:
    sizes = {"width": 32, "feed_forward": 64, "heads": 2}
    chosen = choose_student(transformer.classifier, transformer.data, net="transformer", layers=2, sizes=sizes)
    found = _sizes(chosen.net)
    assert (found["width"], found["heads"], found["feed_forward"]) == (32, (2, 2), (64, 64))
    assert found["head_width"] == 16
    assert found["positions"] == transformer.classifier.encoder.limits["length"][1]
    assert chosen.from_teacher
    assert chosen.inherited is not None
    assert chosen.inherited["layers"] == [0, 2]
    assert chosen.encoder is transformer.classifier.encoder


@pytest.mark.parametrize("net", ["lstm", "textcnn", "transformer"])
def test_a_new_net_reads_the_teachers_tokens(net: str, transformer: Sample) -> None:
    chosen = choose_student(transformer.classifier, transformer.data, net=net, sizes={"width": 16}, seed=3)
    again = choose_student(transformer.classifier, transformer.data, net=net, sizes={"width": 16}, seed=3)
    assert encoder_files(chosen.encoder) == encoder_files(transformer.classifier.encoder)
    assert _sizes(chosen.net)["vocabulary"] == _sizes(transformer.classifier.net)["vocabulary"]
    assert _sizes(chosen.net)["width"] == 16
    assert chosen.inherited is not None
    assert "16 principal components of 64" in (chosen.inherited.get("tokens"), chosen.inherited.get("stream"))
    assert digest_of_weights(chosen.net) == digest_of_weights(again.net)


def test_an_exported_teacher_lends_its_tokens_and_has_no_weights_to_give(transformer: Sample) -> None:
    with Predictor.load(transformer.artifact) as teacher:
        chosen = choose_student(teacher, transformer.data, net="textcnn", sizes={"filters": 8, "kernels": (2, 5)})
        deep = choose_student(teacher, transformer.data, net="transformer", layers=3, sizes={"heads": 1})
    assert encoder_files(chosen.encoder) == encoder_files(transformer.classifier.encoder)
    assert _sizes(chosen.net)["filters"] == (8, 8)
    assert chosen.inherited is None
    assert _sizes(deep.net)["heads"] == (1, 1, 1)
    assert _sizes(deep.net)["feed_forward"] == (512, 512, 512)
    assert not deep.from_teacher


def test_a_vocabulary_of_its_own_and_a_start_bring_another_tokenizer(transformer: Sample) -> None:
    teacher = transformer.classifier
    own = choose_student(teacher, transformer.data, net="lstm", sizes={"vocabulary": 400})
    assert _sizes(own.net)["vocabulary"] == 400
    assert own.inherited is None
    grams = choose_student(teacher, transformer.data, net="mlp", sizes={"hidden": (8,)})
    assert grams.encoder.kind == "ngrams"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"net": "lstm", "layers": 2}, "layers are of a transformer, and the student is of kind lstm"),
        ({"net": "transformer", "layers": 4}, "layers is 4; the teacher has 3: allowed 1 to 3"),
        ({"net": "transformer", "layers": 1, "start": "minilm"}, "starts from its teacher; leave --from out"),
        ({"net": "transformer", "layers": 2, "sizes": {"heads": (1, 2, 3)}}, "has 2 of them: one number, or one for"),
        ({"net": "transformer", "layers": 2, "sizes": {"depth": 2}}, "has no size 'depth'; allowed: width, heads"),
        ({"net": "textcnn", "sizes": {"hidden": 2}}, "has no size 'hidden'; allowed: width, filters, kernels"),
        ({"net": "cnn"}, "net is 'cnn'; for text data allowed: mlp, lstm, textcnn, transformer"),
        ({"net": "lstm", "sizes": {"width": 0}}, "the sizes of an lstm are 1 or more"),
    ],
)
def test_what_a_net_does_not_have_is_refused(transformer: Sample, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        choose_student(transformer.classifier, transformer.data, **settings)


def test_words_of_the_command_are_sizes_of_the_net() -> None:
    words = {"width": 64, "hidden_size": 32, "feed_forward": None, "heads": None}
    assert sizes_of_words("mlp", words) == {"width": 64, "hidden": (32,)}
    assert sizes_of_words("lstm", words) == {"width": 64, "hidden": 32}
    assert sizes_of_words("textcnn", words) == {"width": 64, "filters": 32}
    assert sizes_of_words("cnn", dict.fromkeys(words)) == {}
    with pytest.raises(RecipeError, match=r"a transformer has no hidden-size; leave --hidden-size out, it is of: mlp"):
        sizes_of_words("transformer", words)
    with pytest.raises(RecipeError, match=r"a cnn has no width; leave --width out"):
        sizes_of_words("cnn", words)
    with pytest.raises(RecipeError, match=r"a lstm has no feed-forward; .* it is of: transformer"):
        sizes_of_words("lstm", {"feed_forward": 8})


@pytest.mark.parametrize(("count", "depth", "layers"), [(1, 6, [5]), (3, 6, [1, 3, 5]), (6, 6, [0, 1, 2, 3, 4, 5])])
def test_layers_are_spread_to_the_last(count: int, depth: int, layers: list[int]) -> None:
    assert spread(count, depth) == layers
