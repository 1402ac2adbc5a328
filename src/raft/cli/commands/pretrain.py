"""``raft pretrain``: one recipe, or variants of it side by side, from a laptop to many machines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from huggingface_hub import HfApi
from transformers import TrainerCallback

from raft.analysis.figure_style import write_figure
from raft.callbacks import RafCallback
from raft.cli.options import check_machine, parse_recipe
from raft.cli.pretraining_console import PretrainingConsole
from raft.cli.processes import ProcessOptions, say_if_busy, start_workers, without_worker
from raft.cli.quiet import print_plain, quieten
from raft.cli.slurm import ResumableJob, SlurmOptions, get_requeue_signal, is_job, submit
from raft.errors import InputError, TrainingError
from raft.experiments.pretraining import (
    COMPARISON,
    PlannedRun,
    PretrainingComparison,
    compare_pretraining,
    plan_runs,
)
from raft.files import find_write_error, write_text
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.run import run, run_folder_state
from raft.pretraining.zero_shot import open_tests
from raft.report.loss_figures import draw_loss_curves, draw_loss_differences
from raft.report.tables.pretraining import describe_numbers, summarize, tabulate_losses
from raft.training.arguments import CommandArguments, RaftTrainingArguments
from raft.training.distributed import destroy_process_group
from raft.training.run_folder import RECIPE, check_holds, hold
from raft.training.stopping import StopOnSignal

WITHOUT_EFFECT = {
    **dict.fromkeys(("label_smoothing_factor", "bf16_full_eval", "fp16_full_eval"), ""),
    **dict.fromkeys(("data_seed", "train_sampling_strategy"), ", whose order follows from --seed"),
}
"""Training arguments, and the reason; that of the first three is that the loss is one of the predicted
tokens, evaluated in the weights' dtype."""

INSTEAD = {"num_train_epochs": "max_steps"}
"""Options of ``transformers`` that a pretraining does not take, and those that stand for them."""

DESCRIPTION = """Pretrain a masked or causal language model with learned activations (RAFT) or fixed ones
(FAFT). The same command given again resumes; Ctrl-C and SIGTERM save a checkpoint first. For several
devices: torchrun -m raft.cli.main pretrain ..."""


def main(arguments: Sequence[str]) -> None:
    recipe, training, slurm, options = _parse(arguments)
    recipe.check()
    check_processes(options, training, is_comparison(recipe))
    if slurm.slurm and options.processes > 1:
        raise InputError("--slurm submits one job, which trains in one process a GPU: leave --processes out")
    check_folders(recipe, training, list(plan_runs(recipe, training)))
    if slurm.slurm:
        logs = training.folder.with_name(f"{training.folder.name}-jobs")
        job = submit(slurm, ResumableJob(run_here, arguments), training.folder.name, logs)
        print_plain(f"Submitted job {job.job_id}; its output is in {job.paths.stdout}")
    else:
        run_here(arguments)


def _parse(
    words: Sequence[str],
) -> tuple[PretrainingRecipe, RaftTrainingArguments, SlurmOptions, ProcessOptions]:
    quieten()  # before the arguments, of which transformers remarks things
    kinds = (PretrainingRecipe, CommandArguments, SlurmOptions, ProcessOptions)
    recipe, training, slurm, options = parse_recipe(kinds, "raft pretrain", DESCRIPTION, words, INSTEAD)
    return recipe, training, slurm, options


def run_here(words: Sequence[str]) -> None:
    """Run the command in this process, one of a job's perhaps."""
    recipe, training, _, options = _parse(words)
    command = shlex.join(["raft", "pretrain", *without_worker(words)])
    check_processes(options, training, is_comparison(recipe))
    if training.process_index == 0:
        say_if_busy(options)
    console = PretrainingConsole(recipe, training, is_quiet=options.worker)
    tests = open_tests(recipe.evaluate, recipe.evaluate_items, recipe.evaluate_along)
    text = console.read_text()
    callbacks: list[TrainerCallback] = [StopOnSignal(command, [get_requeue_signal()] if is_job() else [])]
    if training.report_to:
        callbacks.append(RafCallback(recipe.snapshot_steps))
    if not is_comparison(recipe):
        with hold(training.folder) as is_ours:
            if not is_ours:
                raise InputError(f"another process trains in {training.folder}: choose another --output_dir")
            result = run(recipe, training, text, callbacks, tests)
        console.finished(result, training.folder)
        console.say_whole(f"To look into it: raft report {training.folder}")
        if training.push_to_hub and training.process_index == 0:
            console.say_whole(f"Pushed to {_push(training)}")
        destroy_process_group()
        return
    with start_workers("pretrain", words, options, one_gpu_each=True):
        comparison = compare_pretraining(
            recipe, training, text, command, console.started, console.finished, callbacks, tests
        )
    if console.is_main:
        write_comparison(comparison, training.folder)
    console.print(tabulate_losses(comparison).console(), crop=False)
    console.say(describe_numbers(comparison))
    if answer := summarize(comparison):
        console.say(answer)
    console.say_whole(f"To look into it: raft report {training.folder}")
    destroy_process_group()


def is_comparison(recipe: PretrainingRecipe) -> bool:
    """Whether there are several runs, each in a folder of its own."""
    return recipe.compare is not None or recipe.seeds > 1


def check_processes(
    options: ProcessOptions, training: RaftTrainingArguments, has_several_runs: bool = True
) -> None:
    """Raise ``InputError`` where there is nothing that several processes could share."""
    if options.processes == 1:
        return
    if not has_several_runs:
        raise InputError("--processes share the runs of a comparison: give --compare or --seeds too")
    if training.world_size > 1:
        raise InputError("--processes are of one machine without torchrun: leave one of them out")


def check_folders(
    recipe: PretrainingRecipe, training: RaftTrainingArguments, runs: Sequence[PlannedRun]
) -> None:
    """Refuse what cannot work before anything is read.

    Args:
        recipe: of all runs.
        training: of them.
        runs: that are known already; a single one is in the folder of ``training``.
    """
    batches = recipe.accumulation(training.per_device_train_batch_size, training.world_size)
    if training.gradient_accumulation_steps not in (1, batches):
        raise InputError(
            "--gradient_accumulation_steps follows from --global_batch_size and "
            f"--per_device_train_batch_size: it is {batches}"
        )
    defaults = {one.name: one.default for one in fields(training)}
    for name, reason in WITHOUT_EFFECT.items():
        if getattr(training, name) != defaults[name]:
            raise InputError(f"--{name} has no effect on a pretraining{reason}: leave it out")
    if training.max_steps <= 0:
        raise InputError(
            "--max_steps must be given, or a recipe that has it, such as --config cpu-15min: 'raft recipes' "
            "lists them"
        )
    is_single = [one.folder for _, _, one in runs] == [training.folder]
    if training.push_to_hub and not is_single:
        raise InputError("--push_to_hub pushes one model; leave --compare and --seeds out")
    if training.process_index == 0:
        _check_writable(training.folder)
        if not is_single:
            _check_holds_runs(training.folder)
        for _, of_variant, one in runs:
            run_folder_state(one.folder, of_variant, one)
    check_machine(training)


def _check_holds_runs(folder: Path) -> None:
    """Refuse a folder with other things in it, over which a comparison would write."""
    is_one = (folder / COMPARISON).is_file() or any(folder.glob(f"**/{RECIPE}"))
    check_holds(folder, "comparison", is_one)


def _check_writable(folder: Path) -> None:
    existed = folder.exists()
    if reason := find_write_error(folder):
        raise InputError(f"cannot write to {folder}: {reason}")
    if not existed:
        folder.rmdir()  # nothing is left of a command that is refused


def write_comparison(comparison: PretrainingComparison, folder: Path) -> None:
    """Write its numbers, table and figures."""
    comparison.write(folder)
    write_text(folder / "table.md", tabulate_losses(comparison).markdown())
    results = [result for variant in comparison.variants for result in variant.results]
    for name, figure in (
        ("curves", draw_loss_curves(results)),
        ("differences", draw_loss_differences(comparison)),
    ):
        if figure is not None:
            for kind in ("png", "svg"):
                write_figure(figure, folder / f"{name}.{kind}")


def _push(training: RaftTrainingArguments) -> str:
    name = training.hub_model_id or training.folder.name
    try:
        api = HfApi(token=training.hub_token)
        url = api.create_repo(name, private=training.hub_private_repo, exist_ok=True)
        api.upload_folder(
            repo_id=url.repo_id, folder_path=training.folder, ignore_patterns=["checkpoint-*", ".*"]
        )
    except (OSError, ValueError) as error:  # of the network, of the hub
        raise TrainingError(
            f"the model is in {training.folder}, but the hub did not take it as {name}: {error}"
        ) from error
    return str(url)
