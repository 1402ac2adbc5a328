"""What the page shows of one fine-tuning."""

from __future__ import annotations

from pathlib import Path

from raft.analysis.snapshots import read_inputs, read_snapshots
from raft.finetuning.run import FinetuningResult
from raft.report.page.blocks import Block, Fact, Facts, Prose, Tabular
from raft.report.page.page import Section
from raft.report.page.sections import build_learned_blocks, build_repeat_blocks, find_baselines, read_recipe
from raft.report.page.viewer import ViewerRun
from raft.report.tables.finetuning import tabulate_result
from raft.training.run_folder import RECIPE


def build_finetuning_section(folder: Path) -> Section:
    """Of a folder of ``raft finetune``.

    Raises:
        InputError: for files that cannot be read.
    """
    result = FinetuningResult.read(folder)
    recipe = read_recipe(folder)
    model = Path(str(recipe.get("model", "a model"))).name
    snapshots = read_snapshots(folder)
    runs = []
    if snapshots:
        inputs = read_inputs(folder)
        runs.append(ViewerRun({"task": result.task}, snapshots, find_baselines(snapshots), inputs))
    command = f"raft finetune --config {RECIPE} --output_dir NEW" if recipe else ""
    blocks: list[Block] = [
        Prose(_describe_run(result, model, str(recipe.get("activation", "keep"))), "lead"),
        Facts(_collect_facts(result)),
        Tabular(tabulate_result(result), _describe_constant(result)),
        *build_learned_blocks(runs),
        *build_repeat_blocks(command, {}, recipe),
    ]
    return Section(folder.resolve().name, f"Fine-tuning: {model} on {result.task}", blocks)


def _describe_run(result: FinetuningResult, model: str, activation: str) -> str:
    kinds = ", ".join(f"{count:,} of {name}" for name, count in result.trained.items() if count)
    became = "" if activation == "keep" else f", converted ({activation}),"
    return (
        f"{model}{became} tuned on {result.examples['train']:,} examples of {result.task} (seed "
        f"{result.seed}), with {result.examples['validation']:,} to choose the epoch on. Trained numbers: "
        f"{kinds}."
    )


def _collect_facts(result: FinetuningResult) -> list[Fact]:
    facts = [Fact(f"test, {name}", f"{points:.2f} points") for name, points in result.tests.items()]
    if result.validation is not None:
        epochs = f"best after epoch {result.epoch} of {len(result.history)}"
        facts.append(Fact("validation", f"{result.validation:.2f} points", epochs))
    return [*facts, Fact("time", f"{result.seconds['all']:,.0f} s")]


def _describe_constant(result: FinetuningResult) -> str:
    if not result.constant:
        return ""
    return f"The model says the same of every input of {', '.join(result.constant)}."
