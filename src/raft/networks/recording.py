"""Record the inputs of a model's modules by forward hooks, without padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn


@contextmanager
def record_inputs(model: nn.Module, sinks: Mapping[nn.Module, Callable[[Tensor], None]]) -> Iterator[None]:
    """Call the sinks of modules with their inputs while the block runs the model.

    Padding is left out: positions that are zero in the ``attention_mask`` (in a decoder the
    ``decoder_attention_mask``) with which the model is called by name.
    """
    arguments: dict[str, Any] = {}

    def keep_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments.clear()
        arguments.update(kwargs)

    def record(mask: str, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        (x,) = args or kwargs.values()
        sinks[module](_without_padding(x, arguments.get(mask)))

    handles = [model.register_forward_pre_hook(keep_arguments, with_kwargs=True)]
    for module in sinks:
        hook = partial(record, _mask_argument(model, module))
        handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _without_padding(x: Tensor, mask: Any) -> Tensor:
    """The unmasked part of ``[batch, length, channels]``; all of it where the mask has another shape."""
    is_padded = isinstance(mask, Tensor) and x.dim() == 3 and mask.shape == x.shape[:2]
    return x[mask.to(x.device).bool()] if is_padded else x


def _mask_argument(model: Any, part: nn.Module) -> str:
    """The argument of a model that masks the padding in the inputs of one of its modules."""
    has_decoder = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    decoder = model.get_decoder() if has_decoder else model  # an encoder alone returns itself
    is_in_decoder = decoder is not model and any(module is part for module in decoder.modules())
    return "decoder_attention_mask" if is_in_decoder else "attention_mask"
