"""One fine-tuning as a folder: what was asked for, which examples were drawn, what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from raft.coefficients.functions import ALIASES, FUNCTIONS
from raft.data.tasks.sampling import sample_split
from raft.data.tasks.task import Score, Task
from raft.errors import InputError, first_line, suggest
from raft.files import read_json, save_pretrained, write_text
from raft.finetuning.data import question_data, sentence_data
from raft.finetuning.task_source import RESULT, SQUADS, TASKS, Sources, TaskOptions
from raft.finetuning.train import (
    ACTIVATIONS,
    KEEP,
    LEARNED,
    RAF,
    RESIDUAL,
    Finetuned,
    FinetuningData,
    finetune,
)
from raft.finetuning.transfer import check_transfer, score_transfer
from raft.finetuning.tuning import RAF_BOTTLENECK, TUNINGS, check_tuning, parse_tuning
from raft.hf.fixed_activations import check_fixed_activation
from raft.hf.loading import load_config
from raft.hf.saving.saved_config import activation_fields
from raft.networks.config import DEFAULT_SITES, SITES, RafConfig
from raft.pretraining.train import save
from raft.training.arguments import RaftTrainingArguments
from raft.training.monitoring import MetricsLog, append_snapshot, raf_metadata, write_inputs, write_snapshots

DRAWN = "drawn.json"
PREDICTIONS = "predictions"
ADAPTER = "adapter"
ADAPTER_CARD = """# Adapter of {model}

Trained by `raft finetune --tuning {tuning}`.

```python
import raft  # raft-transformers, without which PEFT does not know methods of RAFs
from peft import PeftModel
from {package} import {kind}

base = {kind}.from_pretrained({model!r}, num_labels={labels})
model = PeftModel.from_pretrained(base, "adapter")
```
"""
ALL = "all"
UNTRAINED = "→"
"""Before the name of a task that a model was judged on without training."""


class TransferOptions(TaskOptions):
    """A task that a tuned model is judged on untrained."""

    folder_option = "--transfer_data_dir"


@dataclass
class FinetuningRecipe(TaskOptions):
    """A pretrained model, a task, and how the one is tuned to the other."""

    model: str = field(
        default="google-bert/bert-base-uncased",
        metadata={"help": "Pretrained encoder: a folder or hub name."},
    )
    activation: str = field(
        default=KEEP,
        metadata={
            "help": "keep: the model's own. raf: convert it, with RAFs fitted to the training inputs. "
            f"raf-residual: add RAFs that start at zero. {', '.join(LEARNED)}: convert it to those."
        },
    )
    degrees: list[int] = field(
        default_factory=lambda: [5, 4], metadata={"help": "Degrees of a converted model's rational RAFs."}
    )
    version: str = field(default="A", metadata={"help": "Form of their denominator: A, B, C, D or N."})
    raf_sites: list[str] = field(
        default_factory=lambda: list(DEFAULT_SITES),
        metadata={"help": f"Where a converted model's RAFs are, from {', '.join(SITES)}."},
    )
    tuning: str = field(
        default="full",
        metadata={
            "help": f"What is trained: {', '.join(TUNINGS)}; fields of PEFT's after a colon: lora:r=1."
        },
    )

    train_examples: str = field(default=ALL, metadata={"help": "Training examples: a number, or 'all'."})
    split: str = field(
        default="paper",
        metadata={
            "help": "paper: train on 75 %% of the training set, choose the epoch on 25 %%, test on the "
            "development set. official: choose on the development set, also the test of GLUE and SQuAD."
        },
    )
    stratified: bool = field(
        default=False, metadata={"help": "Keep the share of each class in all that is drawn."}
    )
    patience: int | None = field(
        default=None, metadata={"help": "Stop after so many epochs without a better validation score."}
    )
    transfer: list[str] | None = field(
        default=None,
        metadata={"help": "Tasks that the tuned model is judged on as well, untrained: snli after rte."},
    )
    transfer_data_dir: str | None = field(
        default=None, metadata={"help": "Folder of those in the official layout; the hub without it."}
    )
    save_model: bool = field(
        default=False,
        metadata={
            "help": "Save the tuned model, with an adapter merged into it; the adapter also by itself, in "
            f"{ADAPTER}/, unless the model was converted."
        },
    )

    def check(self) -> None:
        """Raise ``InputError`` for a value that cannot work, before anything is read or trained."""
        self.check_task()
        unknown = next((name for name in self.transfer or () if name not in TASKS), None)
        if unknown is not None:
            tasks = f"{', '.join(TASKS)}{suggest(unknown, TASKS)}"
            raise InputError(f"unknown task {unknown!r} of --transfer; known are {tasks}")
        for name, known in (
            ("activation", ACTIVATIONS),
            ("split", ("paper", "official")),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"--{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        check_tuning(self.tuning)
        if self.save_model and self.activation != KEEP and not self.can_merge():
            raise InputError(
                f"--save_model: --tuning {RAF_BOTTLENECK} cannot be merged into a model that was converted"
            )
        if self.is_squad and self.stratified:
            raise InputError("--stratified draws classes alike, and questions have none")
        if self.is_squad and self.data_dir is not None and Path(self.data_dir).expanduser().is_file():
            raise InputError(
                f"--data_dir {self.data_dir} is one file, and a fine-tuning needs two: name the folder that "
                f"holds train-v{SQUADS[self.task]}.json and dev-v{SQUADS[self.task]}.json"
            )
        if not _is_count(self.train_examples):
            raise InputError(
                f"--train_examples must be a number above 0 or 'all', not {self.train_examples!r}"
            )
        try:
            self.raf_config()
        except ValueError as error:
            raise InputError(str(error)) from error

    def can_merge(self) -> bool:
        """Whether an adapter can be merged into the model."""
        return parse_tuning(self.tuning)[0] != RAF_BOTTLENECK

    def check_conversion(self) -> None:
        """Raise ``InputError`` for options of a conversion to rational RAFs where there is none."""
        for name in ("degrees", "version", "raf_sites"):
            default = getattr(FinetuningRecipe(), name)
            is_of = self.activation != KEEP if name == "raf_sites" else self.activation in (RAF, RESIDUAL)
            if not is_of and getattr(self, name) != default:
                raise InputError(f"--{name} is of a model that is converted: give --activation raf, say")

    def transfer_tasks(self) -> list[TransferOptions]:
        """The tasks that the tuned model is judged on untrained."""
        return [
            TransferOptions(task=name, data_dir=self.transfer_data_dir, max_length=self.max_length)
            for name in self.transfer or ()
        ]

    def raf_config(self) -> RafConfig:
        """Of a converted model."""
        return RafConfig(
            sites=self.raf_sites,
            degrees=tuple(self.degrees),  # type: ignore[arg-type]  # it checks them
            version=self.version,
        )

    @property
    def examples(self) -> int | Any:
        """``train_examples`` as a number, or ``"all"``."""
        return ALL if self.train_examples == ALL else int(self.train_examples)


def resolve_activation(activation: str, model: str) -> str:
    """``"keep"`` for the fixed function that a model has, by whose name a pretraining calls the baseline; any
    other choice as it is.

    Raises:
        InputError: for a model that has another function, has RAFs or cannot be read, or an unknown name.
    """
    if activation in ACTIVATIONS:
        return activation
    try:
        check_fixed_activation(activation)
    except ValueError as error:
        known = f"{', '.join(ACTIVATIONS)}, or the model's fixed function"
        close = suggest(activation, [*ACTIVATIONS, *FUNCTIONS])
        raise InputError(f"--activation must be one of {known}, not {activation!r}{close}") from error
    if is_raft(model):
        raise InputError(f"--activation {activation}: {model} has RAFs; give keep to train them as they are")
    fields = dict(activation_fields(load_config(model).to_dict()))
    had = {ALIASES.get(value, value) for value in fields.values()}
    if ALIASES.get(activation, activation) not in had:
        raise InputError(
            f"--activation {activation}: {model} has {', '.join(sorted(had)) or 'another function'}; give "
            "keep to train it as it is, or raf to convert it"
        )
    return KEEP


@cache
def is_raft(model: str) -> bool:
    """Whether a checkpoint has RAFs; ``InputError`` where it cannot be read."""
    config = load_config(model)
    try:
        return RafConfig.of(config) is not None
    except ValueError as error:
        raise InputError(f"cannot load {model}: {first_line(error)}") from error


def _is_count(examples: str) -> bool:
    try:
        return examples == ALL or int(examples) > 0
    except ValueError:
        return False


@dataclass(frozen=True)
class FinetuningResult:
    """What a fine-tuning found out; ``finetuning.json`` holds just this.

    Attributes:
        task: as asked for.
        seed: of draws, new weights and order.
        validation: points of the epoch that was kept; None where the last one was.
        tests: points by name; names of tasks that it was judged on untrained begin with an arrow.
        parts: each number of the metric, by test and name.
        constant: names of tests in which the model predicts one class for every input.
        single_class: most points that this could get, by test.
        epoch: that was kept.
        history: validation points after each epoch.
        trained: numbers that were trained, by kind.
        examples: how many were trained on, validated on, and are in each test (older results: without tests).
        seconds: of the training, and of all.
    """

    task: str
    seed: int
    validation: float | None
    tests: dict[str, float]
    parts: dict[str, dict[str, float]]
    constant: list[str]
    epoch: int
    history: list[float]
    trained: dict[str, int]
    examples: dict[str, int]
    seconds: dict[str, float]
    single_class: dict[str, float] = field(default_factory=dict)  # older results have none

    def __post_init__(self) -> None:
        lacks = [name for name in ("train", "validation") if name not in self.examples]
        if lacks or "all" not in self.seconds:
            raise ValueError(f"it has no {'examples' if lacks else 'seconds'} of {(lacks or ['all'])[0]!r}")
        if not self.tests or self.tests.keys() != self.parts.keys():
            raise ValueError("it has no tests, or not the parts of each")

    @property
    def points(self) -> float:
        """Of the first test."""
        return next(iter(self.tests.values()))

    @classmethod
    def read(cls, folder: Path) -> FinetuningResult:
        """Of a finished run's folder.

        Raises:
            InputError: for a file that holds other things.
        """
        return read_json(folder / RESULT, cls, "result of 'raft finetune'")


def read_data(recipe: FinetuningRecipe, seed: int, sources: Sources) -> tuple[FinetuningData, dict[str, Any]]:
    """The task as the recipe's model reads it, and which examples were drawn.

    Raises:
        InputError: for a task that cannot be read, or has too few examples.
    """
    tokenizer = sources.tokenizer(recipe.model)
    if recipe.is_squad:
        train, test = (sources.questions(recipe, part) for part in ("train", "validation"))
        # they are drawn as examples are, of which draws look at labels alone, and only where stratified
        task = Task("SQuAD", "accuracy", train, test, validation=test)  # type: ignore[arg-type]
    else:
        task = sources.task(recipe)
    split: Any = recipe.split
    chosen: Any = sample_split(task, seed, recipe.examples, split, recipe.stratified)
    if recipe.is_squad:
        data = question_data(
            chosen.train, chosen.validation, {task.name: test}, tokenizer, SQUADS[recipe.task],
            recipe.max_length or 384,
        )  # fmt: skip
    else:
        data = sentence_data(task, chosen.train, chosen.validation, tokenizer, recipe.max_length or 128)
    return data, chosen.record()


def run_finetuning(
    recipe: FinetuningRecipe,
    arguments: RaftTrainingArguments,
    folder: Path,
    sources: Sources,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[FinetuningResult, Finetuned]:
    """Fine-tune, and fill a folder: ``finetuning.json``, ``drawn.json``, ``metrics.jsonl``, ``predictions/``,
    and, where the model has RAFs, their coefficients before and after, ``rafs.safetensors``, and the inputs
    that they get, ``inputs.json``.

    Args:
        recipe: checked.
        arguments: of the training.
        folder: exists, and is empty.
        sources: of the process.
        callbacks: of ``transformers``.

    Raises:
        InputError: for a task or model that cannot be used, or a task that the tuned model cannot be
            split on.
        TrainingError: where the loss is not finite.
    """
    for other in recipe.transfer_tasks():
        check_transfer(recipe, other, sources)
    data, drawn = read_data(recipe, arguments.seed, sources)
    write_text(folder / DRAWN, json.dumps(drawn) + "\n")
    arguments = replace(arguments, output_dir=str(folder / "training"))
    tuned = finetune(
        recipe.model, sources.tokenizer(recipe.model), data, arguments, recipe.tuning, recipe.activation,
        recipe.raf_config(), recipe.patience, [MetricsLog(folder), *callbacks],
    )  # fmt: skip
    tests = {**tuned.tests, **_evaluate_untrained(recipe, tuned.model, sources)}
    result = FinetuningResult(
        task=recipe.task,
        seed=arguments.seed,
        validation=None if tuned.validation is None else tuned.validation.points,
        tests={name: score.points for name, score in tests.items()},
        parts={name: dict(score.parts) for name, score in tests.items()},
        constant=[name for name, score in tests.items() if score.constant],
        epoch=tuned.epoch,
        history=tuned.history,
        trained={part.name: part.trained for part in tuned.parts},
        examples={
            "train": len(drawn["train_rows"]),
            "validation": len(drawn["validation_rows"]),
            **{f"test ({name})": split.examples for name, split in data.tests.items()},
        },
        seconds=tuned.seconds,
        single_class={
            name: score.single_class for name, score in tests.items() if score.single_class is not None
        },
    )
    snapshots: dict[str, Tensor] = {}
    for step, rafs in tuned.rafs.items():
        snapshots = append_snapshot(snapshots, step, rafs)
    if snapshots:
        write_snapshots(folder, snapshots, raf_metadata(tuned.model))
    if tuned.inputs:
        write_inputs(folder, tuned.inputs)
    for name, split in data.tests.items():
        if split.write is not None:
            split.write(tuned.outputs[name], folder / PREDICTIONS)
    if recipe.save_model:
        tuned = _save(recipe, tuned, sources.tokenizer(recipe.model), folder)
    write_text(folder / RESULT, json.dumps(asdict(result), indent=1) + "\n")
    return result, tuned


def _save(recipe: FinetuningRecipe, tuned: Finetuned, tokenizer: Any, folder: Path) -> Finetuned:
    """Write the model, and its adapter by itself; returns what is there afterwards.

    Onto a checkpoint that was converted, an adapter alone would be loaded without the RAFs.
    """
    if hasattr(tuned.model, "peft_config") and recipe.activation == KEEP:
        (folder / ADAPTER).mkdir()
        base = tuned.model.get_base_model()
        text = ADAPTER_CARD.format(
            model=recipe.model,
            tuning=recipe.tuning,
            package="raft.models" if type(base).__module__.startswith("raft.") else "transformers",
            kind=type(base).__name__,
            labels=base.config.num_labels,
        )
        write_text(folder / ADAPTER / "README.md", text)  # to which PEFT adds tags
        save_pretrained(tuned.model, folder / ADAPTER)
    if recipe.can_merge():
        if hasattr(tuned.model, "merge_and_unload"):
            tuned = replace(tuned, model=tuned.model.merge_and_unload())
        save(tuned.model, tokenizer, folder)
    return tuned


def _evaluate_untrained(recipe: FinetuningRecipe, model: Any, sources: Sources) -> dict[str, Score]:
    tokenizer = sources.tokenizer(recipe.model)
    untrained = {}
    for task in recipe.transfer_tasks():
        scores = score_transfer(model, tokenizer, task, sources)
        for name, score in scores.items():
            untrained[f"{UNTRAINED}{task.task}{f' {name}' if len(scores) > 1 else ''}"] = score
    return untrained
