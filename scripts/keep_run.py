"""Keep a demo or a pretraining: copy it without its checkpoints and the paths of its data.

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

IGNORED = ("checkpoint-*", "report.html", "*.svg", ".*")
"""Not kept: checkpoints, pages that `raft report` makes again, figures that exist as png."""
TEXT = {".json", ".jsonl", ".md", ".yaml", ".csv"}


def main() -> None:
    """Copy; an existing folder is replaced."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument(
        "--places", nargs="*", default=[], help="Paths of the data: of each, files keep the last part alone."
    )
    parser.add_argument(
        "--without",
        nargs="*",
        default=[],
        help="Names of further files and folders to ignore, or paths in the run's folder; with * and ?.",
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


def keep(run: Path, kept: Path, places: list[str], ignored: list[str]) -> None:
    """Copy one folder except for ``ignored`` files and folders."""
    if not run.is_dir():
        raise SystemExit(f"there is no folder {run}")
    remove_kept(kept, run)
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns(*IGNORED, *ignored))
    for file in [file for path in ignored if "/" in path for file in kept.glob(path)]:
        file.unlink()
    places = sorted((str(Path(place)) for place in places if Path(place).name), key=len, reverse=True)
    for file in kept.rglob("*"):
        if file.suffix in TEXT and file.is_file():
            text = file.read_text(encoding="utf-8")
            for place in places:
                pattern = rf"(?<![\w./-]){re.escape(place)}(?![\w-])"
                text = re.sub(pattern, Path(place).name, text)
            file.write_text(text, encoding="utf-8")


def remove_kept(kept: Path, run: Path) -> None:
    """Remove an earlier copy, unless the folder is, holds or lies in the run, or is a run itself."""
    if kept.resolve() in (run.resolve(), *run.resolve().parents) or run.resolve() in kept.resolve().parents:
        raise SystemExit(f"{kept} and {run} hold each other")
    if next(kept.rglob("checkpoint-*"), None) or (kept / ".locks").is_dir():
        raise SystemExit(f"{kept} is a run itself: the run comes first, then where it is kept")
    shutil.rmtree(kept, ignore_errors=True)


def round_matrices(file: Path) -> None:
    """Store the matrices of a model as bfloat16, as autocast casts them.

    Biases, norms and coefficients of RAFs stay as they are.
    """
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if name.endswith(".weight") and tensor.ndim == 2:
            tensors[name] = tensor.to(torch.bfloat16)
    save_file(tensors, file, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
