"""Sample the inputs that the activations of a model get, over which fits have to be good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from raft.hf.loading import NO_REMOTE_CODE
from raft.hf.positions import max_positions
from raft.hf.sites.find import Site
from raft.networks.calibration import Arguments, run_batches
from raft.networks.recording import record_inputs
from raft.networks.samples import Call, InputSample

MAX_TEXT_TOKENS = 512
"""Tokens that a text is cut to where a model has no limit of positions."""

Calibration = Iterable[Any]


def collect_inputs(
    model: PreTrainedModel,
    sites: Sequence[Site],
    calibration: Calibration,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> dict[str, InputSample]:
    """Run a model over ``calibration`` without gradients, and sample the inputs of its sites.

    Args:
        model: in any mode; it runs in evaluation mode on the device it is on.
        sites: of the model.
        calibration: texts, or batches: mappings of the model's arguments, or tensors that are its first one.
        tokenizer: for texts; the model's own where it is None.

    Returns:
        Samples by name of the site.

    Raises:
        ValueError: where ``calibration`` is empty, or holds texts and no tokenizer is to be had.
        TypeError: for a batch of another kind.
    """
    samples = {site.name: InputSample() for site in sites}
    calls = {site: Call(site.activation) for site in sites}
    for site, call in calls.items():
        site.set_activation(call)
    try:
        with record_inputs(model, {call: samples[site.name].add for site, call in calls.items()}):
            run_over(model, calibration, tokenizer, "calibration")
    finally:
        for site, call in calls.items():
            site.set_activation(*call.activation)
    return samples


def run_over(
    model: PreTrainedModel,
    texts: Calibration,
    tokenizer: PreTrainedTokenizerBase | None,
    name: str = "texts",
) -> None:
    """Run a model over texts or batches, in evaluation mode and without gradients, and restore its modes.

    Args:
        model: on the device where it runs.
        texts: see :func:`collect_inputs`.
        tokenizer: for texts; the model's own where it is None.
        name: of ``texts``, for the message.

    Raises:
        ValueError: where there is nothing to run, or there are texts and no tokenizer is to be had.
    """
    run_batches(model, _iter_arguments(model, texts, tokenizer), name)


def _iter_arguments(
    model: PreTrainedModel, calibration: Calibration, tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[Arguments]:
    """Arguments of a model from texts or batches, on its device, without labels."""
    if isinstance(calibration, (str, Mapping, Tensor)):  # one text or batch
        calibration = [calibration]
    parts = iter(calibration)
    first = next(parts, None)
    if isinstance(first, str):
        yield from (([], batch) for batch in _tokenize(model, chain([first], parts), tokenizer))
        return
    for batch in parts if first is None else chain([first], parts):
        if isinstance(batch, Mapping):
            if not any(isinstance(value, Tensor) for value in batch.values()):
                raise TypeError(
                    f"a batch of calibration holds no tensors, but {', '.join(batch)}: give texts, such as a "
                    "data set's column, or batches with return_tensors='pt'"
                )
            moved = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            yield [], _drop_labels(model, moved)
        elif isinstance(batch, Tensor):
            yield [batch.to(model.device)], {}
        elif isinstance(batch, (list, tuple)) and batch and isinstance(batch[0], Tensor):
            yield [batch[0].to(model.device)], {}
        else:
            raise TypeError(f"calibration must give texts, mappings or tensors, not {type(batch).__name__}")


def _drop_labels(model: PreTrainedModel, batch: dict[str, Any]) -> dict[str, Any]:
    """Remove the labels; an encoder-decoder gets its ``decoder_input_ids`` from them."""
    labels = batch.pop("labels", None)
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if labels is not None and shift is not None and "decoder_input_ids" not in batch:
        batch["decoder_input_ids"] = shift(labels=labels)
    return batch


def _tokenize(
    model: PreTrainedModel, texts: Iterator[str], tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[dict[str, Any]]:
    tokenizer = tokenizer or _load_tokenizer(model)
    size = 16 if tokenizer.pad_token is not None else 1  # as decoders' tokenizers often have none
    max_length = min(tokenizer.model_max_length, max_positions(model) or MAX_TEXT_TOKENS)
    has_decoder = hasattr(model, "prepare_decoder_input_ids_from_labels")
    while part := list(islice(texts, size)):
        encoded = tokenizer(
            part, padding=len(part) > 1, truncation=True, max_length=max_length, return_tensors="pt"
        )
        batch = {key: value.to(model.device) for key, value in encoded.items()}
        # the decoder of a model from text to text reads the same texts
        yield _drop_labels(model, {**batch, "labels": batch["input_ids"]} if has_decoder else batch)


def _load_tokenizer(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    where = f"was not found at {model.name_or_path!r}" if model.name_or_path else "a new model does not know"
    missing = (
        f"calibration with texts needs the model's tokenizer, which {where}: give it as tokenizer=…, or "
        "calibrate with batches"
    )
    try:
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model.name_or_path, **NO_REMOTE_CODE)
    except (OSError, ValueError) as error:
        raise ValueError(missing) from error
    if not knows_words(loaded):
        raise ValueError(missing)
    return loaded


def knows_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it has more than special tokens, which one made without files has not."""
    return len(tokenizer) > len(set(tokenizer.all_special_ids))
