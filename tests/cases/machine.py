"""Disks that are full, files that are damaged, code in files."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from raft.training import checkpoints
from tests.cases.options import REFUSED
from tests.cases.replay import case, change_json, command, finetune, grid, pretrain, take, take_run

ROOM = 8192


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond some kilobytes, as on a disk without room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


FULL = r"^status 1; raft: \S*(dst|out|report)\S*.*([Nn]o space|full|too large)"


@case("C", "a full disk in convert", FULL)
def _() -> str:
    take("base")
    with full_disk():
        return command("convert", "base", "dst")


@case("C", "a full disk in finetune --save_model", FULL)
def _() -> str:
    take("base")
    with full_disk():
        return finetune("--save_model", "true", model="base")


@case("C", "a full disk in report", FULL)
def _() -> str:
    take_run()
    with full_disk():
        return command("report", "out")


def write(name: str, content: bytes, folder: Path) -> None:
    """Change a file of a folder to this."""
    (folder / name).write_bytes(content)


def change(name: str, folder: Path, **values: Any) -> None:
    """Change keys of a JSON file of a folder."""
    change_json(str(folder / name), **values)


def ran(damage: Callable[[Path], object], *words: object) -> str:
    """Damage what is in the folder of a pretraining, and look at it again."""
    damage(take_run())
    return command(*words) if words else pretrain()


for name, text in (("emptied", ""), ("made a list", "- a\n")):
    case("C", f"recipe.yaml {name}", rf"{REFUSED}recipe\.yaml")(
        partial(ran, partial(write, "recipe.yaml", text.encode()))
    )
case("C", "a byte in metrics.jsonl", r"^status (0|[12]; raft: .*metrics\.jsonl)")(
    partial(ran, partial(write, "metrics.jsonl", b'{"step": \xff}\n'), "report", "out")
)
case("C", "a loss that is a string in pretraining.json", rf"{REFUSED}pretraining\.json")(
    partial(ran, partial(change, "pretraining.json", loss="low"), "report", "out")
)


class Payload:
    """Makes a folder where it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def resealed(damage: Callable[[Path], object]) -> str:
    """Change the newest checkpoint of a run that is not finished, seal it again, and go on."""
    folder = take_run()
    (folder / "pretraining.json").unlink()
    newest = checkpoints.list_checkpoints(folder)[0]
    damage(newest)
    checkpoints.seal(newest)
    outcome = pretrain()
    return f"{'EXECUTED ' if Path('executed').exists() else ''}{outcome}"


SHAPES = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}
ONE_LINE = r"^status (0|[12]; raft: \S)"
case("C", "a payload in optimizer.pt", ONE_LINE)(
    partial(resealed, partial(write, "optimizer.pt", pickle.dumps(Payload())))
)
case("C", "wrong shapes in optimizer.pt", ONE_LINE)(
    partial(resealed, lambda folder: torch.save(SHAPES, folder / "optimizer.pt"))
)
case("C", "raft_state.json a list", ONE_LINE)(partial(resealed, partial(write, "raft_state.json", b"[]")))
for step in ("x", -5):
    case("C", f"global_step {step!r}", ONE_LINE)(
        partial(resealed, partial(change, "trainer_state.json", global_step=step))
    )


@case("C", "a pickled pytorch_model.bin", r"^status 2; raft: (?!.*weights_only=False).*(pickle|safetensors)")
def _() -> str:
    folder = Path(take("base"))
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    outcome = command("convert", "base", "dst")
    return f"{'EXECUTED ' if Path('executed').exists() else ''}{outcome}"


@case("C", "a model with code of its own", r"^status 2; raft: (?!.*trust_remote_code=True)\S.*code")
def _() -> str:
    folder = Path(take("base"))
    change_json(
        str(folder / "config.json"),
        model_type="own",
        auto_map={"AutoConfig": "own.OwnConfig", "AutoModel": "own.Own"},
    )
    (folder / "own.py").write_text("import os\nos.mkdir('executed')\n")
    outcome = command("convert", "base", "dst")
    return f"{'EXECUTED ' if Path('executed').exists() else ''}{outcome}"


@case("C", "LaTeX in the name of a model", "^escaped$")
def _() -> str:
    name = r"\input{x}^~_&#%$"
    shutil.copytree(take("base"), name)
    done = grid(model=name)
    if not done.startswith("status 0"):
        return done
    text = Path("out/tables.tex").read_text()
    return "escaped" if r"\input{" not in text and "^~" not in text else text


@case("C", "a pretraining that was refused, then corrected", "^status 2; raft: .*; then status 0")
def _() -> str:
    refused = pretrain("--global_batch_size", 1_000_000_000)
    return f"{refused}; then {pretrain()}"


@case("C", "a grid that was refused, then corrected", "^status 1; raft: .*; then status 0")
def _() -> str:
    refused = grid("--sizes", 1_000_000)
    return f"{refused}; then {grid()}"
