"""Keep pretrainings: copy them without checkpoints and the paths of their data.

Of a pretraining its recipe, RAFs, log and result are kept. The model, its card and its figures are left out,
and so are log and result of a run without a model where the comparison has its losses.

python scripts/keep_run.py runs/decoders results/decoders --without raf* gelu* --places WIKIPEDIA
python scripts/keep_run.py runs/cpu-15min results/cpu-15min --models raf-20?? gelu-20?? --bf16
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from raft.experiments.pretraining import COMPARISON
from raft.files import WEIGHTS
from raft.pretraining.run import RESULT
from raft.training.monitoring import INPUTS, METRICS, RAFS
from raft.training.run_folder import RECIPE

KEPT = (RECIPE, RAFS, INPUTS)
MODEL = (WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json")
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
        "--models", nargs="*", default=[], help="Runs whose models are kept, by folder, with * and ?."
    )
    parser.add_argument(
        "--with",
        nargs="*",
        default=[],
        dest="others",
        help="Other files of runs to keep, as paths in the run's folder, with * and ?.",
    )
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="Matrices of models as bfloat16, all else as it is: half the size.",
    )
    arguments = parser.parse_args()
    keep(arguments.run, arguments.kept, arguments.places, arguments.without)
    for result in sorted(arguments.kept.rglob(RESULT)):
        strip_run(result.parent, arguments.kept, arguments.models, arguments.others)
    if arguments.bf16:
        for file in arguments.kept.rglob(WEIGHTS):
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


def strip_run(run: Path, kept: Path, models: list[str], others: list[str]) -> None:
    """Remove what is not kept of one pretraining.

    Args:
        run: its folder, in ``kept``.
        kept: folder of all.
        models: patterns of the folders whose models are kept.
        others: patterns of further files that are.
    """
    names = {*KEPT}
    has_model = any(run.match(pattern) for pattern in models)
    if has_model:
        names.update(MODEL)
    if has_model or not (run.parent / COMPARISON).is_file():  # grids read the pretraining of a model there
        names.update((RESULT, METRICS))
    for file in run.iterdir():
        path = file.relative_to(kept)
        if file.is_file() and file.name not in names and not any(path.match(other) for other in others):
            file.unlink()


def remove_kept(kept: Path, run: Path) -> None:
    """Remove an earlier copy, unless the folder is, holds or lies in the run, or is a run itself."""
    if kept.resolve() in (run.resolve(), *run.resolve().parents) or run.resolve() in kept.resolve().parents:
        raise SystemExit(f"{kept} and {run} hold each other")
    if next(kept.rglob("checkpoint-*"), None) or (kept / ".locks").is_dir():
        raise SystemExit(f"{kept} is a run itself: the run comes first, then where it is kept")
    if script := next(kept.rglob("*.py"), None):
        raise SystemExit(f"{kept} holds {script.name}, which would be lost: keep the run in a folder within")
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
