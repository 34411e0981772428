"""The house: imports run one way, serving never meets torch, heavy libraries are imported where used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# a module may import modules of an earlier row or of its own row, never of a later one
ORDER = (
    ("errors",),
    ("spec", "lineage", "machine", "progress", "staging", "routing"),
    ("sealing", "wire_format", "onnx_messages", "graph_policy"),
    ("data", "encoders"),
    ("core", "golden"),
    ("artifact",),
    ("signing", "copies"),
    ("nets", "classifier"),
    ("engines",),
    ("runners",),
    ("predictor", "cascade"),
    ("judge", "measure"),
    ("report", "table", "card", "bench_table"),
    ("pages",),
    ("train", "export"),
    ("compress",),
    ("comparison", "stages"),
    ("optimize",),
    ("package", "serving", "kubernetes", "doctor"),
    ("served_check", "ladder"),
    ("demo",),
    ("terminal",),
    ("commands", "cli", "__main__"),
)
RANK = {name: rank for rank, row in enumerate(ORDER) for name in row}
WITHOUT_TORCH = ("errors", "spec", "lineage", "machine", "progress", "staging", "routing", "data", "encoders",
                 "core", "golden", "sealing", "wire_format", "onnx_messages", "graph_policy", "artifact", "signing",
                 "copies", "engines", "predictor", "cascade", "judge", "measure", "report", "table", "card",
                 "bench_table", "pages", "comparison", "package", "serving", "kubernetes", "served_check", "ladder",
                 "doctor")  # fmt: skip
# runners picks its module by name: the one exception, and toolkit.runners.torch is the torch world's
TORCH_RUNNER = "runners/torch.py"


def modules() -> list[Path]:
    return sorted(path for path in (ROOT / "toolkit").rglob("*.py") if path != ROOT / "toolkit/__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "toolkit").parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "toolkit" else [f"toolkit.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("toolkit.")}
    return parts - {"__version__"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    part = part_of(path)
    assert part in RANK, f"{part} has no place in the order; give it one here and in docs/architecture.md"
    later = {name for name in imported_parts(path) if RANK[name] > RANK[part]}
    assert not later, f"{path} imports {sorted(later)}, which come after {part}"


def test_every_part_in_the_order_exists() -> None:
    found = {part_of(path) for path in modules()}
    assert set(RANK) - found == set()


def test_the_serving_world_imports_without_torch() -> None:
    names = []
    for path in modules():
        relative = path.relative_to(ROOT)
        if part_of(path) in WITHOUT_TORCH and relative.as_posix() != f"toolkit/{TORCH_RUNNER}":
            names.append(".".join(relative.with_suffix("").parts).removesuffix(".__init__"))
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'transformers', 'optimum', 'onnx'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_package_itself_imports_nothing() -> None:
    tree = ast.parse((ROOT / "toolkit/__init__.py").read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in found] == ["import os"], "and os is there in any case"


def test_nothing_is_unpickled() -> None:
    """pickle may be named for the error that torch raises; nothing of it may be called, nor its relatives imported."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not {"cloudpickle", "joblib", "dill"} & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle":
                assert node.attr == "UnpicklingError", path
            if isinstance(node, ast.keyword) and node.arg in ("weights_only", "allow_pickle"):
                safe = node.arg == "weights_only"
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is safe, path
