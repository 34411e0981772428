"""Text nets made ready: layers kept, tokenizers trained, scripts that a tokenizer does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trec_cases import minilm, trec_rows

from toolkit.encoders.text import TokenEncoder
from toolkit.errors import ArtifactError, RecipeError
from toolkit.nets.transformer import load_checkpoint
from toolkit.train.texts import find_checkpoint, prepare_text, unknown_share

TEXTS = trec_rows()[0].examples
AMHARIC = ["ሰላም ዓለም እንዴት ነህ", "ቡና በጣም ጥሩ ነው", "መጽሐፍ አነባለሁ ዛሬ", "ዝናብ ይዘንባል በአዲስ አበባ"] * 4


def _prepare(kind: str, texts: list[str], **changes: object) -> object:
    settings = {"labels": 6, "start": None, "sizes": None, "dropout": 0.1, **changes}
    return prepare_text(kind, texts, **settings)  # type: ignore[arg-type]  # one name at a time


def test_all_layers_of_a_checkpoint_are_what_load_checkpoint_reads() -> None:
    torch.manual_seed(0)
    ours = prepare_text("transformer", TEXTS, labels=6, start="minilm", sizes=None, dropout=0.1)
    theirs = load_checkpoint(find_checkpoint("minilm"), labels=6, dropout=0.1)
    for name, tensor in theirs.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(tensor, ours.net.state_dict()[name]), name
    assert ours.start is not None
    assert ours.start["name"] == "minilm"
    assert ours.warnings == ()


def test_kept_layers_are_spaced_evenly_and_end_with_the_last() -> None:
    whole = load_checkpoint(find_checkpoint("minilm"), labels=6, dropout=0.1).state_dict()
    two = minilm(2)[0].state_dict()
    for kept, original in ((0, 2), (1, 5)):
        name = "attention.qkv.weight"
        assert torch.equal(two[f"layers.{kept}.{name}"], whole[f"layers.{original}.{name}"])
    assert "layers.2.expand.weight" not in two


def test_the_longest_input_comes_from_the_data() -> None:
    assert minilm(2)[1].max_length == 48  # TREC's longest of these rows, in steps of 16
    long = prepare_text("lstm", [*TEXTS, "word " * 500], labels=6, start=None, sizes=None, dropout=0.1)
    assert long.encoder.limits == {"length": (1, 128)}
    asked = prepare_text("lstm", TEXTS, labels=6, start=None, sizes={"max_length": 20}, dropout=0.1)
    assert asked.encoder.limits == {"length": (1, 20)}


def test_a_script_that_the_tokenizer_does_not_know_is_reported() -> None:
    prepared = prepare_text("transformer", AMHARIC, labels=2, start="minilm", sizes={"layers": 1}, dropout=0.1)
    assert len(prepared.warnings) == 1
    assert "unknown to the tokenizer of minilm" in prepared.warnings[0]
    own = prepare_text("transformer", AMHARIC, labels=2, start=None, sizes=None, dropout=0.1)
    assert isinstance(own.encoder, TokenEncoder)
    assert unknown_share(own.encoder, AMHARIC) == 0.0
    assert own.warnings == ()


@pytest.mark.parametrize("kind", ["lstm", "textcnn", "transformer"])
def test_from_scratch_twice_is_the_same_tokenizer(kind: str) -> None:
    first, second = (
        prepare_text(kind, TEXTS, labels=6, start=None, sizes={"vocabulary": 500}, dropout=0.1) for _ in range(2)
    )
    assert first.encoder.files() == second.encoder.files()
    assert first.net.get_parameter("tokens.weight").shape[0] == 500


@pytest.mark.parametrize(("kind", "sizes"), [("lstm", {"hidden": 8}), ("textcnn", {"filters": (8,), "kernels": (3,)})])
def test_a_reader_takes_the_checkpoints_vectors(kind: str, sizes: dict[str, object]) -> None:
    prepared = prepare_text(kind, TEXTS, labels=6, start="minilm", sizes=sizes, dropout=0.1)
    tokens = load_checkpoint(find_checkpoint("minilm"), labels=6, dropout=0.1).get_parameter("tokens.weight")
    table = prepared.net.get_parameter("tokens.weight")
    torch.testing.assert_close(table / table.std(), tokens / tokens.std(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("mlp", {"start": "minilm"}, "start is for: lstm, textcnn, transformer"),
        ("mlp", {"sizes": {"depth": 2}}, "mlp has no size 'depth'; allowed: buckets, max_length, width, hidden"),
        ("lstm", {"start": "no-such-folder"}, "start is 'no-such-folder'; allowed: minilm, or a folder"),
        ("transformer", {"start": "minilm", "sizes": {"layers": 7}}, "this checkpoint has 6, allowed: 1 to 6"),
        ("transformer", {"start": "minilm", "sizes": {"max_length": 9999}}, "takes 4 to 512 tokens"),
    ],
)
def test_what_does_not_go_together_is_refused(kind: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        _prepare(kind, list(TEXTS), **changes)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"config\.json cannot be read"):
        _prepare("transformer", list(TEXTS), start=str(tmp_path))
