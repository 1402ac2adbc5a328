"""The score against the rate of RAFs in fine-tuning a converted model, in two coordinates, clipped two ways.

    python results/conditioning/finetune.py MINILM runs/conditioning/scores.csv --glue_dir GLUE

MiniLM, converted, on 1,000 examples of SST-2 (3 epochs) and of STS-B (10), 32 a step, in bfloat16; all
weights are trained, at 1e-4. "units" is what a conversion does: a step of any coefficient changes the
function by about one. "raw" leaves them out. Gradients are clipped to a norm of 1: those of RAFs "apart" from
all others, or "together" with them. The norms before that are root mean squares over the steps. A row a run
is added to the file; runs that are there are not made again.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
from torch import Tensor, nn

from raft.cli.main import main as raft_main
from raft.learned_activation import learned_activations
from raft.modules import Rational
from raft.training.trainer import RaftTrainer

FIELDS = (
    "task", "coordinates", "clipped", "rate", "seed", "validation", "test", "raf_norm", "other_norm"
)  # fmt: skip
EPOCHS = {"sst2": "3", "stsb": "10"}
"""With 3, STS-B ends at 14 or at 64 points, by the seed."""
WAYS = (("raw", "apart"), ("units", "apart"), ("units", "together"))


def run(
    model: str, glue: str, task: str, coordinates: str, clipped: str, rate: str, seed: str
) -> dict[str, float]:
    """Points on the validation set and the test set, and norms of gradients."""
    scale_to = Rational.scale_to
    squares: list[tuple[float, float]] = []

    def scale_by_one(act: Rational, inputs: Tensor | None = None) -> None:
        scale_to(act)

    def clip(trainer: RaftTrainer, network: nn.Module) -> Tensor:
        rafs = {id(p) for act in learned_activations(network).values() for p in act.parameters()}
        parts: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
        for parameter in network.parameters():
            if parameter.grad is not None:
                parts[id(parameter) not in rafs].append(parameter)
        sums = [sum(float(p.grad.square().sum()) for p in part if p.grad is not None) for part in parts]
        squares.append((sums[0], sums[1]))
        limit = trainer.args.max_grad_norm
        if clipped == "together":
            return nn.utils.clip_grad_norm_(parts[0] + parts[1], limit)
        nn.utils.clip_grad_norm_(parts[0], limit)
        return nn.utils.clip_grad_norm_(parts[1], limit)

    words = [
        "finetune", "--task", task, "--data_dir", glue, "--model", model, "--activation", "raf",
        "--train_examples", "1000", "--num_train_epochs", EPOCHS[task], "--per_device_train_batch_size", "32",
        "--learning_rate", "1e-4", "--raf_learning_rate", rate, "--seed", seed, "--bf16", "true",
        "--per_device_eval_batch_size", "64", "--disable_tqdm", "true",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        with (
            patch.object(Rational, "scale_to", scale_by_one if coordinates == "raw" else scale_to),
            patch.object(RaftTrainer, "_clip_grad_norm", clip),
        ):
            if raft_main([*words, "--output_dir", str(folder)]) == 2:
                raise SystemExit(2)  # it has said what is wrong
        if not (folder / "finetuning.json").is_file():  # the loss was not finite
            return dict.fromkeys(FIELDS[5:], float("nan"))
        result = json.loads((folder / "finetuning.json").read_text(encoding="utf-8"))
    raf, other = np.sqrt(np.mean(squares, axis=0))
    points = {"validation": result["validation"], "test": next(iter(result["tests"].values()))}
    return {**points, "raf_norm": raf, "other_norm": other}


def main() -> None:
    """Make the runs that the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--glue_dir", required=True)
    parser.add_argument("--rates", default="0,1e-4,3e-4,1e-3,3e-3,1e-2,3e-2,1e-1")
    parser.add_argument("--seeds", default="2021")
    parser.add_argument("--tasks", default=",".join(EPOCHS))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    is_new = not options.out.exists() or not options.out.stat().st_size
    done = [] if is_new else list(csv.DictReader(options.out.open()))
    known = {tuple(row[name] for name in FIELDS[:5]) for row in done}
    with options.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(FIELDS)
            file.flush()
        for seed in options.seeds.split(","):
            for rate in options.rates.split(","):
                for task in options.tasks.split(","):
                    for coordinates, clipped in WAYS:
                        key = (task, coordinates, clipped, rate, seed)
                        if key in known or (rate == "0" and coordinates == "units"):
                            continue
                        scores = run(options.model, options.glue_dir, *key)
                        writer.writerow([*key, *(f"{scores[name]:.4g}" for name in FIELDS[5:])])
                        file.flush()


if __name__ == "__main__":
    main()
