"""Models and tokenizers as a user names them: a folder or a name on the hub."""

from __future__ import annotations

from pathlib import Path

import transformers
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from raft import models
from raft.data.text.tokens import check_folder, read_tokenizer
from raft.errors import InputError
from raft.hf.loading import load_config, load_pretrained

TASKS = {
    "base": "AutoModel",
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
    "image-classification": "AutoModelForImageClassification",
}
"""Names of tasks, and the classes of ``transformers`` that load a model for them."""


def load_model(source: str, task: str | None = None) -> tuple[PreTrainedModel, list[str]]:
    """Load a model in evaluation mode, as the class that its ``config.json`` names.

    Args:
        source: a folder or a name on the hub.
        task: one of ``TASKS``, to load it as another class.

    Returns:
        The model, and the names of the weights that the checkpoint lacks, which are random.

    Raises:
        InputError: for an unknown task, and where nothing is found or it cannot be loaded.
    """
    if task is not None and task not in TASKS:
        raise InputError(f"--task must be one of {', '.join(TASKS)}, not {task!r}")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    _check_path(source)
    config = load_config(source)
    kind = getattr(transformers, TASKS[task]) if task else _find_architecture(config)
    model, loading = load_pretrained(kind, source, config=config)
    return model, sorted(loading["missing_keys"])


def load_tokenizer(source: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a model, or None where there is none."""
    try:
        return read_tokenizer(source)
    except InputError:
        return None


def _check_path(source: str) -> None:
    check_folder(source, "model")
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "config.json").is_file():
        raise InputError(f"{source} holds no model: it has no config.json")


def _find_architecture(config: PreTrainedConfig) -> type:
    names = config.architectures or []
    architecture = getattr(transformers, names[0], None) or getattr(models, names[0], None) if names else None
    return architecture if isinstance(architecture, type) else transformers.AutoModel
