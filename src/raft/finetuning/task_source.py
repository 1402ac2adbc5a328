"""Where tasks come from: GLUE, SNLI, SQuAD, or a data set of the user's own; each is read once a process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from transformers import AutoModel
from transformers.utils.peft_utils import find_adapter_config_file

from raft.bounds import check_numbers
from raft.data.files import stem_of
from raft.data.splits import TrainOrValidation
from raft.data.squad.questions import Question, SquadVersion, load_squad
from raft.data.tasks.glue import GLUE, load_glue
from raft.data.tasks.nli import load_snli
from raft.data.tasks.table_dataset import load_table
from raft.data.tasks.task import Task
from raft.data.text.tokens import read_tokenizer
from raft.errors import InputError, suggest
from raft.hf.loading import load_config
from raft.hf.positions import max_positions

SQUADS: dict[str, SquadVersion] = {"squad": "1.1", "squad_v2": "2.0"}
HUB_SQUADS = {"squad": "rajpurkar/squad", "squad_v2": "rajpurkar/squad_v2"}
SNLI = "snli"
RESULT = "finetuning.json"
"""In the folder of a fine-tuning that is done."""
TASKS = (*GLUE, SNLI, *SQUADS)
Kept = TypeVar("Kept")


@dataclass
class TaskOptions:
    """Which task, and where it is read from."""

    folder_option: ClassVar[str] = "--data_dir"
    """What the folder is called on the command line."""

    task: str = field(
        default="cola",
        metadata={"help": f"One of {', '.join(TASKS)}; with --dataset, any name."},
    )
    data_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder in the official layout, with CoLA/train.tsv and so on; the hub without it."
        },
    )
    dataset: str | None = field(
        default=None,
        metadata={
            "help": "Your own data: a file or folder of csv, tsv, jsonl, parquet or arrow, or a hub name."
        },
    )
    text: str = field(default="text", metadata={"help": "Column of --dataset with the text."})
    second_text: str | None = field(
        default=None, metadata={"help": "Column of --dataset with the second text of a pair."}
    )
    label: str = field(default="label", metadata={"help": "Column of --dataset with the class or score."})
    regression: bool = field(default=False, metadata={"help": "The labels of --dataset are scores."})
    metric: str | None = field(
        default=None,
        metadata={
            "help": "Metric of --dataset: accuracy, matthews, accuracy_and_f1 or pearson_and_spearman."
        },
    )
    predict: bool = field(
        default=False,
        metadata={
            "help": "Write predictions for tests without labels too: GLUE's as its server takes them, and "
            "those of --dataset."
        },
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Tokens of an input (default: 128; SQuAD 384)."}
    )

    def __post_init__(self) -> None:
        if self.dataset is not None and self.task == TaskOptions.task:
            self.task = name_of(self.dataset)

    @property
    def is_squad(self) -> bool:
        """Whether the task is to answer questions."""
        return self.dataset is None and self.task in SQUADS

    def check_task(self) -> None:
        """Raise ``InputError`` for a task that there is not, or a number out of its bounds, before anything
        is read."""
        check_numbers(self)
        if self.dataset is None and self.task not in TASKS:
            raise InputError(
                f"unknown task {self.task!r}; known are {', '.join(TASKS)}, or give --dataset"
                f"{suggest(self.task, TASKS)}"
            )
        if self.dataset is None:
            for name in ("text", "second_text", "label", "regression", "metric"):
                if getattr(self, name) != getattr(TaskOptions, name):
                    raise InputError(f"--{name} is of --dataset, which is not given")
            if self.predict and self.task not in GLUE:
                raise InputError(f"{self.task} has no test set without labels that --predict could be of")


def name_of(dataset: str) -> str:
    """What a data set of the user's own is called where no name is given: ``mine`` of ``data/mine.csv``."""
    return stem_of(Path(dataset.partition(":")[0]))


class Sources:
    """Tasks and tokenizers, read once a process."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def task(self, options: TaskOptions) -> Task:
        """A classification or regression task."""
        names = ("task", "data_dir", "dataset", "text", "second_text", "label", "regression", "metric",
                 "predict")  # fmt: skip
        return self._once(str([getattr(options, name) for name in names]), lambda: _task(options))

    def questions(self, options: TaskOptions, split: TrainOrValidation) -> tuple[Question, ...]:
        """Of a SQuAD."""
        folder = Path(options.data_dir).expanduser() if options.data_dir else None
        source = _squad_folder(folder) if folder else HUB_SQUADS[options.task]
        version = SQUADS[options.task]
        return self._once(f"{options.task} {source} {split}", lambda: load_squad(source, split, version))

    def tokenizer(self, name: str) -> Any:
        """Of a model."""

        return self._once(f"tokenizer {name}", lambda: _tokenizer(name))

    def _once(self, key: str, read: Callable[[], Kept]) -> Kept:
        if key not in self._kept:
            self._kept[key] = read()
        kept: Kept = self._kept[key]
        return kept


def _tokenizer(name: str) -> Any:
    """One that pads, and cuts inputs to what the model has positions for."""
    folder = Path(name).expanduser()
    if (folder / RESULT).is_file() and not (folder / "config.json").is_file():
        raise InputError(f"{name} holds a fine-tuning without its model: run it again with --save_model true")
    tokenizer = read_tokenizer(name)
    if tokenizer.pad_token is None:  # as of most decoders
        if tokenizer.eos_token is None:
            raise InputError(
                f"the tokenizer of {name} has no token to pad with: set its pad_token and save it"
            )
        tokenizer.pad_token = tokenizer.eos_token
    positions = _positions(name)
    if positions is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def _positions(name: str) -> int | None:
    """Tokens that a model takes; None where there is no limit, and of what is no model, which its loading
    tells of."""
    try:
        adapter = find_adapter_config_file(name)
        if adapter is not None:  # its folder holds no other configuration
            name = json.loads(Path(adapter).read_text(encoding="utf-8"))["base_model_name_or_path"]
        with torch.device("meta"):
            return max_positions(AutoModel.from_config(load_config(name)))
    except Exception:  # each class fails in its own way
        return None


def _task(options: TaskOptions) -> Task:
    if options.dataset is not None:
        metric: Any = options.metric
        task = load_table(
            options.dataset, options.text, options.second_text, options.label,
            regression=options.regression, metric=metric,
        )  # fmt: skip
        return task if options.predict else replace(task, hidden={})
    if options.task == SNLI:
        return load_snli(options.data_dir, option=options.folder_option)
    return load_glue(options.data_dir, options.task, options.predict, option=options.folder_option)


def _squad_folder(folder: Path) -> Path:
    return folder / "squad" if (folder / "squad").is_dir() else folder
