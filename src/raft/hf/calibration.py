"""See what inputs the activations of a model get: the places where a fit has to be good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from raft.hf.loading import NO_REMOTE_CODE
from raft.hf.positions import max_positions
from raft.hf.sites.find import Site

SAMPLES = 200_000
"""Inputs that are kept of each site, drawn alike from all that it sees; the extremes are kept besides."""

LONGEST_TEXT = 512
"""Tokens that a text is cut to where a model has no limit of positions."""

Calibration = Iterable[Any]


@dataclass
class Seen:
    """Inputs of one site.

    Attributes:
        low: the smallest.
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
        self._kept.append(self._drawn(values.to("cpu", torch.float32), self._share))
        while sum(kept.numel() for kept in self._kept) > SAMPLES:
            self._share /= 2
            self._kept = [self._drawn(torch.cat(self._kept), 0.5)]

    def _drawn(self, values: Tensor, share: float) -> Tensor:
        if share == 1:
            return values
        return values[torch.rand(values.shape, generator=self._generator, device="cpu") < share]

    def samples(self) -> Tensor:
        """What was kept, with both extremes, ``[samples]`` in float32."""
        return torch.cat([*self._kept, torch.tensor([self.low, self.high], device="cpu")])


class _Recorder(nn.Module):
    def __init__(
        self, activation: Callable[..., Any], seen: Seen, masks: Mapping[str, Any], which: str
    ) -> None:
        super().__init__()
        self.activation, self.seen, self.masks, self.which = (activation,), seen, masks, which

    def forward(self, x: Tensor) -> Any:
        self.seen.add(without_padding(x, self.masks.get(self.which)))
        return self.activation[0](x)


@contextmanager
def _recording(
    model: PreTrainedModel, found: Sequence[Site], masks: Mapping[str, Any]
) -> Iterator[dict[str, Seen]]:
    before = [site.activation for site in found]
    seen = {site.name: Seen() for site in found}
    for site, activation in zip(found, before, strict=True):
        site.put(_Recorder(activation, seen[site.name], masks, mask_name(model, site.parent)))
    try:
        yield seen
    finally:
        for site, activation in zip(found, before, strict=True):
            site.put(activation)


def without_padding(x: Tensor, mask: Any) -> Tensor:
    """What a mask leaves of ``[batch, length, channels]``; all, where the shapes tell no padding."""
    is_padded = isinstance(mask, Tensor) and x.dim() == 3 and mask.shape == x.shape[:2]
    return x[mask.bool()] if is_padded else x


def mask_name(model: Any, part: nn.Module) -> str:
    """The argument of a model that tells the padding of what a part of it gets."""
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        decoder = model.get_decoder()
        # an encoder alone says of itself that it is its decoder
        if decoder is not model and any(module is part for module in decoder.modules()):
            return "decoder_attention_mask"
    return "attention_mask"


def observe(
    model: PreTrainedModel,
    found: Sequence[Site],
    calibration: Calibration,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> dict[str, Seen]:
    """Run a model over ``calibration``, without gradients, and see what its sites get.

    Args:
        model: in any mode; it runs in evaluation mode on the device it is on.
        found: sites of the model.
        calibration: texts, or batches: mappings of the model's arguments, or tensors that are its first one.
        tokenizer: for texts; the model's own where it is None.

    Returns:
        By name of the site.

    Raises:
        ValueError: where ``calibration`` is empty, or holds texts and no tokenizer is to be had.
        TypeError: for a batch of another kind.
    """
    current: dict[str, Any] = {}

    def tell(batch: Mapping[str, Any]) -> None:
        current.clear()
        current.update(batch)

    with _recording(model, found, current) as seen:
        run_over(model, calibration, tokenizer, tell, "calibration")
    return seen


def run_over(
    model: PreTrainedModel,
    texts: Calibration,
    tokenizer: PreTrainedTokenizerBase | None,
    tell: Callable[[Mapping[str, Any]], None] = lambda batch: None,
    name: str = "texts",
) -> None:
    """Run a model over texts or batches, in evaluation mode and without gradients; its modes are as before.

    Args:
        model: on the device where it runs.
        texts: see :func:`observe`.
        tokenizer: for texts; the model's own where it is None.
        tell: is given each batch before the model.
        name: of ``texts``, for the message.

    Raises:
        ValueError: where there is nothing to run, or there are texts and no tokenizer is to be had.
    """
    modes, ran = {module: module.training for module in model.modules()}, False
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches(model, texts, tokenizer):
                tell(batch)
                first = batch.pop("", None)
                model(*([] if first is None else [first]), **batch)
                ran = True
    finally:
        for module, is_training in modes.items():
            module.training = is_training
    if not ran:
        raise ValueError(f"{name} is empty: give at least one batch or text")


def batches(
    model: PreTrainedModel, calibration: Calibration, tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[dict[str, Any]]:
    """Texts or batches as a model's arguments, on its device, without labels; the first argument, where it
    has no name, stands at ``""``."""
    if isinstance(calibration, (str, Mapping, Tensor)):  # one text or batch
        calibration = [calibration]
    parts = iter(calibration)
    first = next(parts, None)
    if isinstance(first, str):
        yield from _tokenized(model, chain([first], parts), tokenizer)
        return
    for batch in parts if first is None else chain([first], parts):
        if isinstance(batch, Mapping):
            if not any(isinstance(value, Tensor) for value in batch.values()):
                raise TypeError(
                    f"a batch of calibration holds no tensors, but {', '.join(batch)}: give texts, such as a "
                    "data set's column, or batches with return_tensors='pt'"
                )
            moved = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            yield _without_labels(model, moved)
        elif isinstance(batch, Tensor):
            yield {"": batch.to(model.device)}
        elif isinstance(batch, (list, tuple)) and batch and isinstance(batch[0], Tensor):
            yield {"": batch[0].to(model.device)}
        else:
            raise TypeError(f"calibration must give texts, mappings or tensors, not {type(batch).__name__}")


def _without_labels(model: PreTrainedModel, batch: dict[str, Any]) -> dict[str, Any]:
    """The arguments but for the labels; what an encoder-decoder's decoder reads is made of them."""
    labels = batch.pop("labels", None)
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if labels is not None and shift is not None and "decoder_input_ids" not in batch:
        batch["decoder_input_ids"] = shift(labels=labels)
    return batch


def _tokenized(
    model: PreTrainedModel, texts: Iterator[str], tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[dict[str, Any]]:
    tokenizer = tokenizer or _tokenizer_of(model)
    size = 16 if tokenizer.pad_token is not None else 1  # as decoders' tokenizers often have none
    longest = min(tokenizer.model_max_length, max_positions(model) or LONGEST_TEXT)
    has_decoder = hasattr(model, "prepare_decoder_input_ids_from_labels")
    while part := list(islice(texts, size)):
        encoded = tokenizer(
            part, padding=len(part) > 1, truncation=True, max_length=longest, return_tensors="pt"
        )
        batch = {key: value.to(model.device) for key, value in encoded.items()}
        # the decoder of a model from text to text reads the same texts
        yield _without_labels(model, {**batch, "labels": batch["input_ids"]} if has_decoder else batch)


def _tokenizer_of(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    missing = (
        "calibration with texts needs the model's tokenizer, which was not found at "
        f"{model.name_or_path!r}: give it as tokenizer=…, or calibrate with batches"
    )
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model.name_or_path, **NO_REMOTE_CODE)
    except (OSError, ValueError) as error:
        raise ValueError(missing) from error
    if not knows_words(found):
        raise ValueError(missing)
    return found


def knows_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it has more than special tokens: what ``transformers`` makes without files has not."""
    return len(tokenizer) > len(set(tokenizer.all_special_ids))
