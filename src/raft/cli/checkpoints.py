"""Models and tokenizers as a user names them: a folder or a name on the hub."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import snapshot_download
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from raft import models
from raft.data.text.tokens import check_folder, read_tokenizer
from raft.errors import InputError, first_line
from raft.files import writing
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

ADAPTER = "adapter_config.json"
PARTS = "modules.json"
SENTENCE_FILES, SENTENCE_PARTS = "*sentence*.json", "[0-9]*_*"
"""Settings beside it, and folders of parts, such as ``1_Pooling``."""

HEAD = r"\.(classifier|score|out_proj)\.weight$"
"""Names of the last projection of classifiers."""
TASKS_OF_ADAPTERS = {
    "SEQ_CLS": "sequence-classification",
    "SEQ_2_SEQ_LM": "seq2seq-lm",
    "CAUSAL_LM": "causal-lm",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "FEATURE_EXTRACTION": "base",
}
"""By the task types of PEFT."""


def load_model(
    source: str, task: str | None = None, keeps_adapter: bool = False, num_labels: int | None = None
) -> tuple[PreTrainedModel, list[str]]:
    """Load a model in evaluation mode, as the class that its ``config.json`` names.

    Args:
        source: a folder or a name on the hub; of an adapter of PEFT, its folder: it is merged into its base.
        task: one of ``TASKS``, to load it as another class.
        keeps_adapter: whether one that cannot be merged may be a part of the model.
        num_labels: of its classifier, where its configuration does not say it.

    Returns:
        The model, and the names of the weights that the checkpoint lacks, which are random.

    Raises:
        InputError: for an unknown task, and where nothing is found or it cannot be loaded.
    """
    if task is not None and task not in TASKS:
        raise InputError(f"--task must be one of {', '.join(TASKS)}, not {task!r}")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if (Path(source).expanduser() / ADAPTER).is_file():
        return _load_adapter(str(Path(source).expanduser()), task, keeps_adapter)
    _check_path(source)
    config = load_config(source, **({} if num_labels is None else {"num_labels": num_labels}))
    kind = getattr(transformers, TASKS[task]) if task else _find_architecture(config)
    model, loading = load_pretrained(kind, source, config=config)
    return model, sorted(loading["missing_keys"])


def _load_adapter(source: str, task: str | None, keeps_adapter: bool) -> tuple[Any, list[str]]:
    try:
        from peft import PeftConfig, PeftModel, load_peft_weights
    except ImportError as error:
        raise InputError(f"{source} is an adapter, which needs peft: pip install peft") from error
    try:
        config = PeftConfig.from_pretrained(source)
        saved = load_peft_weights(source, device="cpu")
    except Exception as error:  # a damaged file raises whatever its reader does
        raise InputError(f"cannot load {source}: {first_line(error)}") from error
    if not config.base_model_name_or_path:
        raise InputError(f"{source} is an adapter that does not name its base model")
    heads = [values for name, values in saved.items() if re.search(HEAD, name)]
    own = TASKS_OF_ADAPTERS.get(config.task_type) or _task_of_class(config.auto_mapping)
    base, missing = load_model(
        config.base_model_name_or_path,
        task or own,
        num_labels=len(heads[-1]) if heads and own == "sequence-classification" else None,
    )
    try:
        model = PeftModel.from_pretrained(base, source).eval()
    except Exception as error:
        raise InputError(f"cannot load {source}: {first_line(error)}") from error
    given = [name.removeprefix("base_model.model.") for name in saved]
    missing = [name for name in missing if name not in given]
    try:
        return model.merge_and_unload(), missing
    except (AttributeError, ValueError) as error:
        if not keeps_adapter:
            raise InputError(f"{source} cannot be merged into its base: {first_line(error)}") from error
        return model.get_base_model(), missing


def _task_of_class(auto_mapping: dict[str, str] | None) -> str | None:
    """The task of the class that an adapter without a task type was put on; None for other classes."""
    name = (auto_mapping or {}).get("base_model_class", "")
    heads = {auto.removeprefix("AutoModel"): task for task, auto in TASKS.items()}
    return next((task for head, task in heads.items() if head and name.endswith(head)), None)


def load_tokenizer(source: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a model, or beside an adapter's base; None where there is none."""
    try:
        return read_tokenizer(source)
    except InputError:
        config = Path(source).expanduser() / ADAPTER
        values = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
        base = values.get("base_model_name_or_path")
        return load_tokenizer(base) if base else None


def copy_sentence_parts(source: str, folder: Path) -> bool:
    """Copy what a sentence encoder has beside its transformer, such as its pooling.

    Args:
        source: a folder or a name on the hub.
        folder: to copy into.

    Returns:
        Whether there is any: a ``modules.json``, as sentence-transformers writes it.
    """
    local = Path(source).expanduser()
    if not local.is_dir():
        if cached_file(source, PARTS, _raise_exceptions_for_missing_entries=False) is None:
            return False
        patterns = [SENTENCE_FILES, f"{SENTENCE_PARTS}/*"]
        local = Path(snapshot_download(source, allow_patterns=[PARTS, *patterns]))
    if not (local / PARTS).is_file():
        return False
    with writing(folder):
        for file in (local / PARTS, *local.glob(SENTENCE_FILES)):
            shutil.copyfile(file, folder / file.name)
        for part in filter(Path.is_dir, local.glob(SENTENCE_PARTS)):
            shutil.copytree(part, folder / part.name)
    return True


def _check_path(source: str) -> None:
    check_folder(source, "model")
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "config.json").is_file():
        raise InputError(f"{source} holds no model: it has no config.json")


def _find_architecture(config: PreTrainedConfig) -> type:
    names = config.architectures or []
    architecture = getattr(transformers, names[0], None) or getattr(models, names[0], None) if names else None
    return architecture if isinstance(architecture, type) else transformers.AutoModel
