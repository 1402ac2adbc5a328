"""A RAFT and its FAFT: pretrained on the same batches, fine-tuned on the same examples, compared."""

from __future__ import annotations

import math
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from raft.bounds import check_numbers
from raft.coefficients.functions import canonical_name
from raft.data.tasks.glue import load_glue
from raft.data.tasks.sampling import sample_split
from raft.data.tasks.sentence_tasks import sentence_tasks
from raft.data.tasks.task import Task
from raft.data.text.corpora import load_corpus
from raft.data.text.masking import MaskedSequences
from raft.data.text.tokens import pack, train_tokenizer
from raft.data.text.unigram import UnigramModel
from raft.errors import InputError
from raft.experiments.results import Results, Row, machine
from raft.experiments.statistics import compare_seeds, compare_sequences
from raft.finetuning.data import sentence_data
from raft.finetuning.train import finetune
from raft.hf.config import RafConfig
from raft.models import RaftBertConfig
from raft.models.configuration_raft_bert import NEIGHBOURS
from raft.pretraining.train import Pretrained, build_model, pretrain, save
from raft.training.arguments import RaftTrainingArguments
from raft.training.losses import find_head, masked_lm_loss
from raft.training.optimizer import param_groups

SEEDS = (2022, 202206, 20220602, 2259, 5309, 1046, 622, 320, 53, 49)
"""The paper's seeds."""

KINDS = ("faft", "raft")
GLUE_TASKS = ("cola", "mrpc", "rte")
PROBE_STEPS = 12
FINETUNE_BATCH = 32
MOST_SEQUENCES = 400_000

Report = Callable[[str], None]


@dataclass
class ComparisonSettings:
    """What is compared, at which size, for how long."""

    corpus: str = field(
        default="pydocs",
        metadata={
            "help": "Text: 'pydocs' (docstrings of the installed packages), a file or folder of parquet, "
            "jsonl or txt, or a hub dataset ('owner/name' or 'owner/name:configuration')."
        },
    )
    glue_dir: str | None = field(
        default=None,
        metadata={"help": "Folder with CoLA, MRPC and RTE in the GLUE layout, to fine-tune on too."},
    )
    minutes: float = field(
        default=6.0, metadata={"help": "Time that the whole run should take on this machine."}
    )
    steps: int | None = field(
        default=None, metadata={"help": "Pretraining steps, instead of as many as the minutes allow."}
    )
    seeds: int = field(default=5, metadata={"help": "Fine-tuning seeds, 2 to 10."})
    train_examples: int = field(default=100, metadata={"help": "Training examples of each fine-tuning."})
    seed: int = field(default=2022, metadata={"help": "Seed of the pretraining: weights, order and masks."})
    activation: str = field(
        default="gelu", metadata={"help": "Activation of the FAFT, which the RAFT starts from."}
    )
    version: str = field(default="A", metadata={"help": "Form of the RAFs' denominator: A, B, C, D or N."})
    degrees: list[int] = field(
        default_factory=lambda: [5, 4], metadata={"help": "Degrees of the RAFs' numerator and denominator."}
    )
    layers: int = field(default=2, metadata={"help": "Layers of the encoder."})
    hidden_size: int = field(
        default=64, metadata={"help": "Width of the encoder; feed-forward layers have 4 times it."}
    )
    sequence_length: int = field(default=32, metadata={"help": "Tokens of a sequence."})
    vocab_size: int = field(default=2048, metadata={"help": "Size of the WordPiece vocabulary."})
    batch_size: int = field(default=64, metadata={"help": "Sequences of a pretraining batch."})
    learning_rate: float = field(default=5e-3, metadata={"help": "Pretraining learning rate of both models."})
    raf_learning_rate: float = field(
        default=5e-3, metadata={"help": "Pretraining learning rate of the RAFs."}
    )
    finetune_learning_rate: float = field(
        default=5e-4, metadata={"help": "Fine-tuning learning rate of both."}
    )
    finetune_raf_learning_rate: float = field(
        default=5e-3, metadata={"help": "Fine-tuning learning rate of the RAFs."}
    )
    finetune_epochs: int = field(default=10, metadata={"help": "Epochs of each fine-tuning."})

    def check(self) -> None:
        """Raise ``InputError`` for a value that cannot work, before anything is read or trained."""
        check_numbers(self)
        for arguments in (
            lambda: pretraining_arguments(self, self.steps or 1, Path()),
            lambda: finetuning_arguments(self, self.seed, Path()),
        ):
            arguments()  # which check their rates
        try:
            RafConfig(degrees=tuple(self.degrees), version=self.version)  # type: ignore[arg-type]
            canonical_name(self.activation)
        except ValueError as error:
            raise InputError(str(error)) from error
        if not self.learning_rate:
            raise InputError(f"--learning_rate must be above 0, not {self.learning_rate}")
        if not 2 <= self.seeds <= len(SEEDS):
            raise InputError(
                f"--seeds must be from 2 to {len(SEEDS)}, not {self.seeds}: an interval needs two"
            )
        if self.hidden_size % 32:
            raise InputError(f"--hidden_size must be a multiple of 32, not {self.hidden_size}")
        if self.sequence_length > 512:
            raise InputError(f"--sequence_length must be at most 512, not {self.sequence_length}")

    def command(self) -> str:
        """The command line that gives these settings."""
        words = ["raft", "demo"]
        for item in fields(self):
            value = getattr(self, item.name)
            default = item.default_factory() if callable(item.default_factory) else item.default
            if value != default and item.name not in ("minutes", "overwrite"):  # the steps say it exactly
                words += [
                    f"--{item.name}",
                    *(str(v) for v in (value if isinstance(value, list) else [value])),
                ]
        return shlex.join(words)


@dataclass(frozen=True)
class Comparison:
    """What a comparison leaves: numbers, and the models to look into."""

    results: Results
    tokenizer: PreTrainedTokenizerFast
    validation: MaskedSequences
    pretrained: dict[str, Pretrained]


def model_config(
    settings: ComparisonSettings, kind: str, tokenizer: PreTrainedTokenizerFast
) -> RaftBertConfig:
    """Configuration of one of both models; they differ in the ``raf`` block alone.

    No dropout, and weights drawn at the scale of a narrow model: runs this short are far from overfitting.
    Attention begins with neighbours, or they would end before the models learn from context.
    """
    raf = {"init": settings.activation, "degrees": list(settings.degrees), "version": settings.version}
    return RaftBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.hidden_size // 32,
        intermediate_size=4 * settings.hidden_size,
        hidden_act=settings.activation,
        max_position_embeddings=settings.sequence_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=settings.hidden_size**-0.5,
        attention_init=NEIGHBOURS,
        pad_token_id=tokenizer.pad_token_id,
        raf=raf if kind == "raft" else None,
    )


def training_set(
    settings: ComparisonSettings,
    sequences: NDArray[np.integer],
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
) -> MaskedSequences:
    """The draws that each model is trained on: a function of the settings, not of its kind."""
    return MaskedSequences(sequences, tokenizer, settings.seed, draws=steps * settings.batch_size)


def pretraining_arguments(settings: ComparisonSettings, steps: int, folder: Path) -> RaftTrainingArguments:
    """The recipe at a small scale."""
    return RaftTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=settings.learning_rate,
        raf_learning_rate=settings.raf_learning_rate,
        warmup_steps=max(1, steps // 20),
        weight_decay=0.01,
        adam_beta2=0.98,
        max_grad_norm=0.0,
        seed=settings.seed,
        eval_strategy="steps",
        eval_steps=max(1, steps // 8),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )


def finetuning_arguments(settings: ComparisonSettings, seed: int, folder: Path) -> RaftTrainingArguments:
    """The recipe of the low-data runs: linear decay, no warm-up, weight decay 0.1."""
    return RaftTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.finetune_epochs,
        per_device_train_batch_size=FINETUNE_BATCH,
        per_device_eval_batch_size=64,
        learning_rate=settings.finetune_learning_rate,
        raf_learning_rate=settings.finetune_raf_learning_rate,
        weight_decay=0.1,
        seed=seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def compare(settings: ComparisonSettings, say: Report, progress: Callable[[int, int], None]) -> Comparison:
    """Run the whole comparison.

    Args:
        settings: checked here.
        say: called with one line on each stage.
        progress: called with the numbers of finished and of all fine-tunings.

    Raises:
        InputError: for bad settings or data.
        TrainingError: where a training diverges.
    """
    settings.check()
    begun = time.perf_counter()
    glue = [load_glue(settings.glue_dir, name) for name in GLUE_TASKS] if settings.glue_dir else []
    say(f"Reading the corpus {settings.corpus}")
    corpus = load_corpus(settings.corpus)
    tasks: list[Task] = [*sentence_tasks(list(corpus.validation), settings.train_examples), *glue]
    tokenizer = train_tokenizer(corpus.train, settings.vocab_size, settings.sequence_length)
    sequences = pack(corpus.train, tokenizer, settings.sequence_length, most=MOST_SEQUENCES)
    held_out = pack(corpus.validation, tokenizer, settings.sequence_length, most=1000)
    if len(sequences) < settings.batch_size or len(held_out) == 0:
        raise InputError(
            f"corpus {corpus.name} fills {len(sequences)} training and {len(held_out)} validation "
            f"sequences of {settings.sequence_length} tokens, but one batch needs {settings.batch_size} and "
            "1; use more text"
        )
    validation = MaskedSequences(held_out, tokenizer, seed=0)
    unigram = UnigramModel.fit(sequences, validation).loss(validation)
    prepared = time.perf_counter()
    say(
        f"{len(corpus.train):,} documents; {len(sequences):,} training and {len(held_out):,} validation "
        f"sequences of {settings.sequence_length} tokens; vocabulary {len(tokenizer):,}; "
        f"unigram loss {unigram:.3f}"
    )

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runs = len(KINDS) * len(tasks) * settings.seeds
        steps = settings.steps or _affordable_steps(
            settings, tokenizer, sequences, runs, time.perf_counter() - begun
        )
        train = training_set(settings, sequences, tokenizer, steps)
        pretrained = {}
        for kind in KINDS:
            say(f"Pretraining the {kind.upper()}, {steps:,} steps of {settings.batch_size} sequences")
            config = model_config(settings, kind, tokenizer)
            arguments = pretraining_arguments(settings, steps, folder)
            pretrained[kind] = pretrain(config, train, validation, arguments)
            save(pretrained[kind].model, tokenizer, folder / kind)
            say(f"  validation loss {pretrained[kind].loss:.3f} after {pretrained[kind].seconds:.0f} s")
        trained = time.perf_counter()

        say(
            f"Fine-tuning both on {settings.train_examples} examples of {len(tasks)} tasks, "
            f"{settings.seeds} seeds"
        )
        scores: dict[str, dict[str, list[float]]] = {
            task.name: {kind: [] for kind in KINDS} for task in tasks
        }
        done = 0
        for task in tasks:
            for seed in SEEDS[: settings.seeds]:
                for kind in KINDS:
                    arguments = finetuning_arguments(settings, seed, folder)
                    examples = sample_split(task, seed, settings.train_examples).train
                    data = sentence_data(task, examples, None, tokenizer)
                    tuned = finetune(folder / kind, tokenizer, data, arguments)
                    scores[task.name][kind].append(tuned.tests[task.name].points)
                    done += 1
                    progress(done, runs)
    finished = time.perf_counter()

    results = Results(
        rows=_rows(pretrained, tasks, scores),
        unigram_loss=unigram,
        settings={item.name: getattr(settings, item.name) for item in fields(settings)},
        command=replace(settings, steps=steps).command(),
        setup={
            "steps": steps,
            "train_sequences": len(sequences),
            "train_documents": len(corpus.train),
            "validation_sequences": len(held_out),
            "test_examples": {task.name: len(task.test) for task in tasks},
            "parameters": {kind: pretrained[kind].model.num_parameters() for kind in KINDS},
            **machine(),
        },
        history={kind: [(step, loss) for step, _, loss in pretrained[kind].history] for kind in KINDS},
        scores=scores,
        seconds={
            "data": prepared - begun,
            "pretraining": trained - prepared,
            "fine-tuning": finished - trained,
        },
    )
    return Comparison(results, tokenizer, validation, pretrained)


def _affordable_steps(
    settings: ComparisonSettings,
    tokenizer: PreTrainedTokenizerFast,
    sequences: NDArray[np.integer],
    runs: int,
    spent: float,
) -> int:
    """Time a few steps of both models, and fill the minutes that data and fine-tuning leave."""
    draws = training_set(settings, sequences, tokenizer, PROBE_STEPS)
    seconds = []
    for kind in KINDS:
        model = build_model(model_config(settings, kind, tokenizer), settings.seed)
        optimizer = torch.optim.AdamW(param_groups(model, settings.learning_rate))
        head, times = find_head(model, draws.batch([0])[0]), []
        for step in range(PROBE_STEPS):
            started = time.perf_counter()
            places = range(step * settings.batch_size, (step + 1) * settings.batch_size)
            inputs, labels = draws.batch(places)
            masked_lm_loss(model, inputs, labels, head=head).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            times.append(time.perf_counter() - started)
        seconds.append(float(np.median(times[2:])))
    step_seconds = 1.1 * sum(seconds)  # the trainer's own work, and validation
    # a fine-tuning starts in about a second, has shorter sequences, and its test set costs about eight steps
    finetuning_steps = 8 + settings.finetune_epochs * math.ceil(settings.train_examples / FINETUNE_BATCH)
    reserved = runs * (1.0 + 0.7 * finetuning_steps * max(seconds) * FINETUNE_BATCH / settings.batch_size)
    left = 60.0 * settings.minutes - spent - reserved
    return max(50, 50 * int(left / step_seconds / 50))


def _rows(
    pretrained: dict[str, Pretrained], tasks: list[Task], scores: dict[str, dict[str, list[float]]]
) -> list[Row]:
    faft, raft = pretrained["faft"], pretrained["raft"]
    loss = compare_sequences(raft.loss_sums, faft.loss_sums, faft.loss_counts)
    rows = [
        Row("validation loss", "nats", faft.loss, raft.loss, difference=loss, lower_is_better=True),
        Row("perplexity", "", math.exp(faft.loss), math.exp(raft.loss), lower_is_better=True),
        Row("pretraining time", "s", faft.seconds, raft.seconds, lower_is_better=True),
    ]
    units = {"accuracy": "accuracy", "matthews": "Matthews", "accuracy_and_f1": "accuracy, F1"}
    for task in tasks:
        points = scores[task.name]
        rows.append(
            Row(
                task.name,
                units[task.metric],
                float(np.mean(points["faft"])),
                float(np.mean(points["raft"])),
                float(np.std(points["faft"], ddof=1)),
                float(np.std(points["raft"], ddof=1)),
                compare_seeds(points["raft"], points["faft"]),
                seeds=len(points["raft"]),
            )
        )
    return rows
