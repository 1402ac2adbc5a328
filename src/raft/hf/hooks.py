"""Make every ``transformers`` model class honour the ``raf`` block, when built and when loaded.

Two methods of ``PreTrainedModel`` are wrapped. ``post_init`` ends every constructor, before any weight is
loaded: the activations are replaced there. ``_initialize_weights`` gives values to whatever a checkpoint
lacks; it knows nothing of a ``Rational``, whose coefficients would stay uninitialised memory.
"""

from __future__ import annotations

import functools
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from raft.hf.config import RafConfig
from raft.hf.conversion import replace_activations
from raft.modules import Rational

COEFFICIENTS = r"\.(numerator|denominator)$"


def install() -> None:
    """Wrap the two methods; a second call does nothing."""
    if hasattr(PreTrainedModel.post_init, "__wrapped__"):
        return
    post_init, initialize = PreTrainedModel.post_init, PreTrainedModel._initialize_weights

    @functools.wraps(post_init)
    def post_init_with_raf(self: PreTrainedModel) -> None:
        config = RafConfig.of(self.config)
        if config is not None:
            replace_activations(self, config)
            # a checkpoint loaded in half precision must not round the coefficients
            strict = set(self._keep_in_fp32_modules_strict or ())
            self._keep_in_fp32_modules_strict = strict | {COEFFICIENTS}
        post_init(self)

    @functools.wraps(initialize)
    def initialize_with_raf(self: PreTrainedModel, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        if isinstance(module, Rational) and not getattr(module, "_is_hf_initialized", False):
            numerator, denominator = module.start_coefficients()
            init.copy_(module.numerator, numerator)
            init.copy_(module.denominator, denominator)
        initialize(self, module, *args, **kwargs)

    PreTrainedModel.post_init = post_init_with_raf  # type: ignore[method-assign]
    PreTrainedModel._initialize_weights = initialize_with_raf  # type: ignore[method-assign]
