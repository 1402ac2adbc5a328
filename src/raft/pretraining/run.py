"""A pretraining run in a folder: claimed by its recipe, resumed by the same command, finished once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast, TrainerCallback

from raft.data.text.causal import CausalSequences, count_target_bytes
from raft.data.text.corpora import open_corpus
from raft.data.text.masking import MaskedSequences
from raft.data.text.sequences import TokenSequences
from raft.data.text.token_store import corpus_tokenizer, tokenize_corpus
from raft.data.text.tokens import CLM, load_tokenizer
from raft.data.text.unigram import UnigramModel
from raft.errors import InputError
from raft.files import read_json, write_text
from raft.pretraining.architectures import load_model
from raft.pretraining.recipe import DEFAULT_TOKENIZERS, TRAIN_TOKENIZER, PretrainingRecipe
from raft.pretraining.samples import write_samples
from raft.pretraining.train import Pretrained, pretrain, save
from raft.pretraining.zero_shot import ZeroShotTest, apply_tests, apply_unigram_tests, make_callbacks
from raft.training.arguments import RaftTrainingArguments
from raft.training.checkpoints import list_checkpoints
from raft.training.distributed import run_on_main_and_broadcast
from raft.training.monitoring import MetricsLog, RafSnapshots
from raft.training.run_folder import (
    RunState,
    recipe_defaults,
    recipe_options,
    removed_if_refused,
    run_state,
    write_recipe,
)

RESULT = "pretraining.json"
TEXT = "text.json"
UNIGRAM_SEQUENCES = 100_000

RESUME_IGNORED_KEYS = {
    "output_dir", "disable_tqdm", "report_to", "run_name", "project", "trackio_space_id", "logging_dir",
    "save_total_limit", "push_to_hub", "hub_model_id", "hub_token", "hub_private_repo", "local_rank",
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_pin_memory",
    "dataloader_persistent_workers", "use_cpu", "ddp_find_unused_parameters", "ddp_bucket_cap_mb",
    "log_level", "log_level_replica", "gradient_checkpointing", "gradient_checkpointing_kwargs",
    "activation_checkpointing", "activation_checkpointing_kwargs", "resume_from_checkpoint", "ddp_timeout",
    "streaming", "compare", "seeds", "evaluate", "evaluate_items", "evaluate_along",
}  # fmt: skip
"""Settings that may differ between a run and its resumption: the sequences and the model stay the same."""


@dataclass(frozen=True)
class PretrainingText:
    """Tokens of a corpus, and the tokenizer that made them.

    Attributes:
        tokenizer: of the models.
        sequences: ``[N, L]`` training tokens, memory-mapped.
        validation: as it is evaluated, the same for all models.
        documents: how many there are of ``train`` and ``validation``.
        fingerprint: of all tokens: of the corpus's content, the tokenizer and the length.
    """

    tokenizer: PreTrainedTokenizerFast
    sequences: NDArray[np.integer]
    validation: TokenSequences
    documents: dict[str, int]
    fingerprint: str

    @cached_property
    def unigram(self) -> UnigramModel:
        """Of the first training sequences."""
        return UnigramModel.fit(self.sequences[:UNIGRAM_SEQUENCES], self.validation)

    def draws(self, recipe: PretrainingRecipe, seed: int, steps: int) -> TokenSequences:
        """What a run reads: a function of the seed, not of the model."""
        return _dataset(recipe, self.sequences, self.tokenizer, seed, steps * recipe.global_batch_size)


def _dataset(
    recipe: PretrainingRecipe,
    sequences: NDArray[np.integer],
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    draws: int | None = None,
) -> TokenSequences:
    if recipe.objective == CLM:
        return CausalSequences(sequences, tokenizer, seed, draws, recipe.attention_within_documents)
    return MaskedSequences(sequences, tokenizer, seed, draws, recipe.mlm_probability)


def read_text(
    recipe: PretrainingRecipe, progress: Callable[[int, int], None] | None = None
) -> PretrainingText:
    """Tokenize the recipe's corpus, or find it tokenized.

    Args:
        recipe: checked.
        progress: called now and then with the numbers of documents and tokens.

    Raises:
        InputError: for a corpus or tokenizer that cannot be used.
    """
    corpus = open_corpus(recipe.corpus, recipe.text_column, streaming=recipe.streaming)
    if recipe.tokenizer == TRAIN_TOKENIZER:
        tokenizer = corpus_tokenizer(corpus, recipe.vocab_size, recipe.sequence_length, recipe.objective)
    else:
        tokenizer = load_tokenizer(recipe.tokenizer or DEFAULT_TOKENIZERS[recipe.objective], recipe.objective)
    store = tokenize_corpus(
        corpus,
        tokenizer,
        recipe.sequence_length,
        objective=recipe.objective,
        max_documents=recipe.max_documents,
        progress=progress,
    )
    held_out = store.validation[: recipe.validation_sequences]
    validation = _dataset(recipe, held_out, tokenizer, seed=0)
    return PretrainingText(tokenizer, store.train, validation, store.documents, store.folder.name)


@dataclass(frozen=True)
class PretrainingResult:
    """What a finished run found out; ``pretraining.json`` holds just this.

    Attributes:
        activation: ``"raf"``, or the fixed function's name.
        seed: of weights, order and masks.
        steps: that were made.
        loss: on the validation sequences at the end, in nats; ``perplexity`` is its exponential.
        unigram_loss: of predicting from token frequencies alone.
        seconds: of the training steps alone.
        tokens: that were read, padding never among them.
        parameters: of the model.
        history: ``[step, seconds of the steps so far, validation loss]``.
        bits_per_byte: ``loss`` for each UTF-8 byte of the text, in bits, which models of other tokenizers can
            be compared by; None for masked language models.
        accuracies: on minimal pairs, from 0 to 1, by name of the test.
        unigram_accuracies: those of predicting from token frequencies alone.
        pairs: how many pairs they are of, by name of the test; older results have none.
        digests: of the sentences of these pairs, by name of the test; older results have none.
        accuracy_history: ``[step, accuracy]`` on samples of them along the way.
    """

    activation: str
    seed: int
    steps: int
    loss: float
    unigram_loss: float
    seconds: float
    tokens: int
    parameters: int
    history: list[tuple[int, float, float]]
    bits_per_byte: float | None = None
    accuracies: dict[str, float] = field(default_factory=dict)
    unigram_accuracies: dict[str, float] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    accuracy_history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> PretrainingResult:
        """Of a finished run's folder.

        Raises:
            InputError: for a file that holds other things.
        """
        return read_json(folder / RESULT, cls, "result of 'raft pretrain'")


def run_folder_state(folder: Path, recipe: PretrainingRecipe, arguments: RaftTrainingArguments) -> RunState:
    """``"new"``, ``"begun"`` or ``"finished"``, for a run of this recipe.

    Raises:
        InputError: where the folder holds a run of another recipe, or anything else.
    """
    defaults = recipe_defaults(PretrainingRecipe)
    return run_state(folder, recipe_options(recipe, arguments), RESULT, RESUME_IGNORED_KEYS, defaults)


def run(
    recipe: PretrainingRecipe,
    arguments: RaftTrainingArguments,
    text: PretrainingText,
    callbacks: Sequence[TrainerCallback] = (),
    tests: Mapping[str, ZeroShotTest] | None = None,
) -> PretrainingResult:
    """Train the recipe's model in ``arguments.output_dir``, from where a run of it was left.

    The folder then holds the model and its tokenizer as ``from_pretrained`` reads them, ``recipe.yaml``,
    ``metrics.jsonl``, the RAFs along the way in ``rafs.safetensors``, a causal model's ``samples.json`` and,
    last, ``pretraining.json``.

    Args:
        recipe: with one activation.
        arguments: of the training; ``max_steps`` must be given.
        text: of ``read_text``.
        callbacks: of ``transformers``.
        tests: of ``open_tests``; a run that finished without them is tested now.

    Raises:
        InputError: for settings that cannot work, or a folder that holds another run.
        TrainingError: where the loss is not finite, or a checkpoint cannot be written.
        TrainingStopped: after a signal.
    """
    if arguments.max_steps <= 0:
        raise InputError("max_steps must be given; it is an upper bound beside time_budget_hours")
    folder = arguments.folder
    arguments = replace(arguments, push_to_hub=False)  # a copy, as Trainer changes it; the caller pushes
    if arguments.ddp_find_unused_parameters is None:
        arguments.ddp_find_unused_parameters = False  # the loss needs all of them
    arguments.gradient_accumulation_steps = recipe.accumulation(
        arguments.per_device_train_batch_size, arguments.world_size
    )
    config = recipe.model_config(recipe.activation, text.tokenizer)
    state = run_on_main_and_broadcast(partial(_claim, folder, recipe, arguments, text.fingerprint))
    tests = tests or {}
    if state == "finished":
        return run_on_main_and_broadcast(partial(_test_finished, folder, recipe, text, tests))
    watching = [MetricsLog(folder), RafSnapshots(folder, recipe.snapshot_steps)]
    watching += make_callbacks(tests, text.tokenizer, recipe.objective != CLM)
    with removed_if_refused(folder if state == "new" and arguments.process_index == 0 else None):
        train = text.draws(recipe, arguments.seed, arguments.max_steps)
        pretrained = pretrain(
            config, train, text.validation, arguments, [*watching, *callbacks], resume=state == "begun"
        )
    result = _result(recipe, arguments, text, pretrained)
    if arguments.process_index == 0:
        save(pretrained.model, text.tokenizer, folder)
        if recipe.objective == CLM:
            write_samples(pretrained.model, text.tokenizer, text.validation.sequences, folder)
        result = _with_tests(result, tests, lambda: pretrained.model, text, folder)
        write_text(folder / RESULT, json.dumps(asdict(result), indent=1) + "\n")
    return result


def _claim(
    folder: Path, recipe: PretrainingRecipe, arguments: RaftTrainingArguments, fingerprint: str
) -> RunState:
    """The folder's state; where it is new, it belongs to this recipe and this text from now on."""
    state = run_folder_state(folder, recipe, arguments)
    file = folder / TEXT  # runs of older versions have none
    text = {"fingerprint": fingerprint}
    if state != "new" and file.is_file() and read_json(file, dict[str, str], "fingerprint of a text") != text:
        raise InputError(
            f"{folder} was begun with another text or tokenizer: the corpus {recipe.corpus} has changed "
            "since; choose another --output_dir"
        )
    if state == "new":
        write_recipe(folder, recipe_options(recipe, arguments))
    if state == "new" or not (file.is_file() or list_checkpoints(folder)):  # a kill came between the two
        write_text(file, json.dumps(text) + "\n")
    return state


def _result(
    recipe: PretrainingRecipe,
    arguments: RaftTrainingArguments,
    text: PretrainingText,
    pretrained: Pretrained,
) -> PretrainingResult:
    steps = pretrained.history[-1][0]
    bits_per_byte = None
    if recipe.objective == CLM:
        size = count_target_bytes(text.validation.sequences, text.tokenizer)
        bits_per_byte = float(pretrained.loss_sums.sum()) / max(size, 1) / math.log(2)
    return PretrainingResult(
        activation=recipe.activation,
        seed=arguments.seed,
        steps=steps,
        loss=pretrained.loss,
        unigram_loss=text.unigram.loss(text.validation),
        seconds=pretrained.seconds,
        tokens=steps * recipe.global_batch_size * recipe.sequence_length,
        parameters=pretrained.model.num_parameters(),
        history=pretrained.history,
        bits_per_byte=bits_per_byte,
        accuracy_history=pretrained.accuracies,
    )


def _test_finished(
    folder: Path, recipe: PretrainingRecipe, text: PretrainingText, tests: Mapping[str, ZeroShotTest]
) -> PretrainingResult:
    before = PretrainingResult.read(folder)
    result = _with_tests(before, tests, partial(load_model, folder, recipe.objective), text, folder)
    if result != before:
        write_text(folder / RESULT, json.dumps(asdict(result), indent=1) + "\n")
    return result


def _with_tests(
    result: PretrainingResult,
    tests: Mapping[str, ZeroShotTest],
    load: Callable[[], PreTrainedModel],
    text: PretrainingText,
    folder: Path,
) -> PretrainingResult:
    """The result with those tests that it lacks, or has of other pairs, of the model and of unigrams."""
    pairs = {name: sum(len(paradigm.pairs) for paradigm in test.paradigms) for name, test in tests.items()}
    digests = {name: test.digest for name, test in tests.items()}
    other = {
        name
        for name in tests
        if result.pairs.get(name, pairs[name]) != pairs[name]
        or result.digests.get(name, digests[name]) != digests[name]
    }
    new = {name: test for name, test in tests.items() if name not in result.accuracies or name in other}
    added = apply_tests(new, load(), text.tokenizer, folder) if new else {}
    new = {
        name: test for name, test in tests.items() if name not in result.unigram_accuracies or name in other
    }
    of_unigrams = apply_unigram_tests(new, text.unigram, text.tokenizer) if new else {}
    return replace(
        result,
        accuracies={**result.accuracies, **added},
        unigram_accuracies={**result.unigram_accuracies, **of_unigrams},
        pairs={**result.pairs, **pairs},
        digests={**result.digests, **digests},
    )
