"""Sample the inputs that the activations of a model get, over which fits have to be good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from raft.hf.loading import NO_REMOTE_CODE
from raft.hf.positions import max_positions
from raft.hf.recording import record_inputs
from raft.hf.sites.find import Site

MAX_SAMPLES = 200_000
"""Inputs kept of each site, drawn uniformly from all that it gets; the extremes are kept besides."""

MAX_TEXT_TOKENS = 512
"""Tokens that a text is cut to where a model has no limit of positions."""

Calibration = Iterable[Any]


@dataclass
class InputSample:
    """A uniform sample of the inputs of one site.

    Attributes:
        low: the smallest input.
        high: the largest.
        count: how many there were.
    """

    low: float = float("inf")
    high: float = float("-inf")
    count: int = 0
    _kept: list[Tensor] = field(default_factory=list)
    _share: float = 1.0
    _generator: torch.Generator = field(default_factory=lambda: torch.Generator("cpu").manual_seed(0))

    def add(self, values: Tensor) -> None:
        """Take in values of any shape; those that are not finite are left out."""
        values = values.detach().flatten()
        values = values[torch.isfinite(values)]
        if not values.numel():
            return
        self.low, self.high = min(self.low, values.min().item()), max(self.high, values.max().item())
        self.count += values.numel()
        self._kept.append(self._draw(values.to("cpu", torch.float32), self._share))
        while sum(kept.numel() for kept in self._kept) > MAX_SAMPLES:
            self._share /= 2
            self._kept = [self._draw(torch.cat(self._kept), 0.5)]

    def _draw(self, values: Tensor, share: float) -> Tensor:
        if share == 1:
            return values
        return values[torch.rand(values.shape, generator=self._generator, device="cpu") < share]

    def values(self) -> Tensor:
        """The sample with both extremes, ``[samples]`` in float32."""
        return torch.cat([*self._kept, torch.tensor([self.low, self.high], device="cpu")])


class _Call(nn.Module):
    """A module of its own for one site: functions take no hooks, and sites may share one activation."""

    def __init__(self, activation: Callable[..., Any]) -> None:
        super().__init__()
        self.activation = (activation,)  # in a tuple, so that it is not registered

    def forward(self, x: Tensor) -> Any:
        return self.activation[0](x)


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
    calls = {site: _Call(site.activation) for site in sites}
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
    modes, has_run = {module: module.training for module in model.modules()}, False
    model.eval()
    try:
        with torch.no_grad():
            for batch in iter_batches(model, texts, tokenizer):
                first = batch.pop("", None)
                model(*([] if first is None else [first]), **batch)
                has_run = True
    finally:
        for module, is_training in modes.items():
            module.training = is_training
    if not has_run:
        raise ValueError(f"{name} is empty: give at least one batch or text")


def iter_batches(
    model: PreTrainedModel, calibration: Calibration, tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[dict[str, Any]]:
    """Arguments of a model from texts or batches, on its device, without labels; ``""`` is the first one."""
    if isinstance(calibration, (str, Mapping, Tensor)):  # one text or batch
        calibration = [calibration]
    parts = iter(calibration)
    first = next(parts, None)
    if isinstance(first, str):
        yield from _tokenize(model, chain([first], parts), tokenizer)
        return
    for batch in parts if first is None else chain([first], parts):
        if isinstance(batch, Mapping):
            if not any(isinstance(value, Tensor) for value in batch.values()):
                raise TypeError(
                    f"a batch of calibration holds no tensors, but {', '.join(batch)}: give texts, such as a "
                    "data set's column, or batches with return_tensors='pt'"
                )
            moved = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            yield _drop_labels(model, moved)
        elif isinstance(batch, Tensor):
            yield {"": batch.to(model.device)}
        elif isinstance(batch, (list, tuple)) and batch and isinstance(batch[0], Tensor):
            yield {"": batch[0].to(model.device)}
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
    missing = (
        "calibration with texts needs the model's tokenizer, which was not found at "
        f"{model.name_or_path!r}: give it as tokenizer=…, or calibrate with batches"
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
