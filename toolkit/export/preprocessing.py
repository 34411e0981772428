"""What stands before somebody else's classifier, as one of our encoders; or the reason why it cannot be.

A tokenizer is taken as transformers itself would build it from the folder, post-processor included. A
picture's preprocessor is taken when it is a plain resize (bilinear, to a fixed height and width), a division
by 255 and a normalization: that is all the serving image can do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.encoders.image import ImageEncoder
from toolkit.encoders.text import TokenEncoder
from toolkit.errors import ArtifactError, require

TEXT, IMAGE = "text", "image"
LONGEST = 512  # where neither tokenizer nor config says how long a text may be
_BILINEAR = 2  # PIL.Image.Resampling.BILINEAR, by number since configs say it so

# compared on when the caller gives no rows of his own: several lengths and scripts
TEXTS = (
    "Yes.",
    "Who wrote Hamlet?",
    "The delivery came two days late, and the box was open.",
    "I would buy it again!",
    "这部电影很好看。",
    "Der Zug nach Köln fährt heute von Gleis 7, nicht von Gleis 12.",
    "Quarterly revenue rose 4.2 % to $1.3 billion; the board proposes a dividend of 12 cents a share.",
    "Не работает.",
)


def token_encoder(path: Path) -> TokenEncoder:
    """The tokenizer of a folder; raises `ArtifactError` when it is slow, pads left, or marks segments."""
    transformers = require("transformers", extra="train")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:  # a dozen kinds; any of them means that there is no tokenizer to serve
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ArtifactError(f"{path} has no tokenizer that can be read: {reason}") from None
    if not tokenizer.is_fast:
        raise ArtifactError(f"{path} has a {type(tokenizer).__name__}; allowed: tokenizers with a tokenizer.json")
    if tokenizer.padding_side != "right":
        raise ArtifactError(f"{path} pads its texts on the {tokenizer.padding_side}; allowed: right")
    if any(tokenizer("one text")[0].type_ids):
        raise ArtifactError(f"{path} marks the segments of a single text; allowed: models that give it segment 0")
    encoder = TokenEncoder(tokenizer.backend_tokenizer.to_str().encode(), max_length=_longest(tokenizer, config))
    expected = [tokenizer(text, truncation=True, max_length=encoder.max_length)["input_ids"] for text in TEXTS]
    arrays = encoder.encode(TEXTS)
    found = [
        row[:size].tolist() for row, size in zip(arrays["input_ids"], arrays["attention_mask"].sum(1), strict=True)
    ]
    if found != expected or (tokenizer.pad_token_id is not None and tokenizer.pad_token_id != encoder.pad_id):
        raise ArtifactError(f"{path} has a tokenizer whose ids depend on more than its tokenizer.json; it is not taken")
    return encoder


def image_encoder(path: Path) -> ImageEncoder:
    """The preprocessor of a folder; raises `ArtifactError` naming the first setting that is not plain."""
    try:
        settings: dict[str, Any] = json.loads((path / "preprocessor_config.json").read_bytes())
        config: dict[str, Any] = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} has no readable preprocessor_config.json ({type(error).__name__})") from None
    size = settings.get("size")
    plain = {
        "do_resize": settings.get("do_resize", True) is True,
        "do_rescale": settings.get("do_rescale", True) is True,
        "do_normalize": settings.get("do_normalize", True) is True,
        "do_center_crop": not settings.get("do_center_crop"),
        "do_pad": not settings.get("do_pad"),
        "resample": settings.get("resample", _BILINEAR) == _BILINEAR,
        "rescale_factor": abs(settings.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-6,
        "size": isinstance(size, dict) and set(size) == {"height", "width"},
        "image_mean": isinstance(settings.get("image_mean"), list),
        "image_std": isinstance(settings.get("image_std"), list),
    }
    odd = [f"{name} {settings.get(name)!r}" for name, as_wanted in plain.items() if not as_wanted]
    if odd or not isinstance(size, dict):
        raise ArtifactError(
            f"{path} prepares pictures by {', '.join(odd)}; allowed: a bilinear resize to a height and width, "
            "a division by 255, and a normalization"
        )
    encoder = ImageEncoder(
        channels=int(config.get("num_channels", 3)),
        height=int(size["height"]),
        width=int(size["width"]),
        mean=settings["image_mean"],
        deviation=settings["image_std"],
    )
    pictures = sample_rows(IMAGE)
    try:
        loader = require("transformers", extra="train").AutoImageProcessor
        processor = loader.from_pretrained(path, local_files_only=True, use_fast=False)
        expected = np.asarray(processor(images=pictures, return_tensors="np")["pixel_values"])
    except Exception as error:  # a dozen kinds
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ArtifactError(f"{path} has a preprocessor that transformers cannot run: {reason}") from None
    found = encoder.encode(pictures)["pixels"]
    if found.shape != expected.shape or not np.allclose(found, expected, atol=1e-4):
        raise ArtifactError(f"{path} prepares pictures otherwise than its preprocessor_config.json says; not taken")
    return encoder


def sample_rows(task: str) -> list[Any]:
    """Raw rows of a task to trace and compare with: texts, or pictures of gradients and noise."""
    if task == TEXT:
        return list(TEXTS)
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 96)
    shades = [np.add.outer(ramp, ramp) / 2, np.abs(np.subtract.outer(ramp, ramp)), np.tile(ramp, (96, 1))]
    noise = [generator.integers(0, 256, (96, 96, 3), dtype=np.uint8) for _ in range(3)]
    return [np.stack([shade, shade[::-1], shade.T], axis=-1).astype(np.uint8) for shade in shades] + noise


def _longest(tokenizer: Any, config: Any) -> int:
    """The longest text in tokens: the least of what the tokenizer allows and the position table holds."""
    positions = getattr(config, "max_position_embeddings", None) or LONGEST
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer"):
        positions -= config.pad_token_id + 1  # their first position stands behind the padding's number
    said = tokenizer.model_max_length  # an absurd number when nobody said
    return int(min(positions, said if said < 1_000_000 else LONGEST))
