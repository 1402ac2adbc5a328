"""Copy what is worth keeping of a demo or a pretraining: not its checkpoints, nor where the data lay.

python scripts/keep_run.py runs/wiki-demo results/wiki-demo --without faft raft --places WIKIPEDIA GLUE
python scripts/keep_run.py runs/cpu-pretraining-1hour results/cpu-pretraining-1hour --bf16 --places WIKIPEDIA
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

LEFT = ("checkpoint-*", "report.html", "*.svg", ".*")
"""Not kept: what a resumed run needs, pages that `raft report` makes again, what is there as png."""
TEXT = {".json", ".jsonl", ".md", ".yaml", ".csv"}


def main() -> None:
    """Copy; a folder that is there is replaced."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument(
        "--places", nargs="*", default=[], help="Where the data lay: files say its last part alone."
    )
    parser.add_argument(
        "--without",
        nargs="*",
        default=[],
        help="Names of files and folders that are left as well, or paths in the run's folder; with * and ?.",
    )
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="Matrices of models as bfloat16, all else as it is: half the size.",
    )
    arguments = parser.parse_args()
    keep(arguments.run, arguments.kept, arguments.places, arguments.without)
    if arguments.bf16:
        for file in arguments.kept.rglob("model.safetensors"):
            round_matrices(file)


def keep(run: Path, kept: Path, places: list[str], left: list[str]) -> None:
    """Copy one folder but for the files and folders that are ``left``."""
    if not run.is_dir():
        raise SystemExit(f"there is no folder {run}")
    clear(kept, run)
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns(*LEFT, *left))
    for file in [file for path in left if "/" in path for file in kept.glob(path)]:
        file.unlink()
    places = sorted((str(Path(place)) for place in places if Path(place).name), key=len, reverse=True)
    for file in kept.rglob("*"):
        if file.suffix in TEXT and file.is_file():
            text = file.read_text(encoding="utf-8")
            for place in places:
                whole = rf"(?<![\w./-]){re.escape(place)}(?![\w-])"
                text = re.sub(whole, Path(place).name, text)
            file.write_text(text, encoding="utf-8")


def clear(kept: Path, run: Path) -> None:
    """Remove what was kept before, unless it is what is to be kept, or holds what only a run has."""
    if kept.resolve() in (run.resolve(), *run.resolve().parents) or run.resolve() in kept.resolve().parents:
        raise SystemExit(f"{kept} and {run} hold each other")
    if next(kept.rglob("checkpoint-*"), None) or (kept / ".locks").is_dir():
        raise SystemExit(f"{kept} is a run itself: the run comes first, then where it is kept")
    shutil.rmtree(kept, ignore_errors=True)


def round_matrices(file: Path) -> None:
    """Store the matrices of a model as bfloat16, as a product under its autocast reads them.

    Biases, norms and coefficients of RAFs stay as they are.
    """
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if name.endswith(".weight") and tensor.ndim == 2:
            tensors[name] = tensor.to(torch.bfloat16)
    save_file(tensors, file, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
