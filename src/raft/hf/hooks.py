"""Make every ``transformers`` model class honour the ``raf`` block, when built and when loaded.

Three methods of ``PreTrainedModel`` are wrapped. ``post_init`` ends every constructor, before any weight is
loaded: the activations are replaced there. ``_initialize_weights`` gives values to whatever a checkpoint
lacks; it knows nothing of a ``Rational``, whose coefficients would stay uninitialised memory.
``save_pretrained`` sees to it that the configuration tells of the RAFs.

Three of ``PreTrainedConfig``: ``to_json_file`` and ``from_dict`` write and read a file that needs raft, see
``saved_config.py``; ``to_dict`` writes a ``RafConfig`` as what it holds.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import os
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from raft.files import replacing
from raft.hf.blocks import tell_of_rationals
from raft.hf.config import RafConfig
from raft.hf.conversion import activation_name, replace_activations
from raft.hf.saved_config import mark, unmark
from raft.hf.sites import sites
from raft.modules import Rational

INSTALLED = "_raft_is_installed"
"""Set on ``PreTrainedModel``; that a method is wrapped says nothing, as others wrap it too."""
WARNED = "_raft_has_warned"
"""Set on a model that was told once that its RAFs are not from its checkpoint."""
COEFFICIENTS = r"\.(numerator|denominator)$"


def install() -> None:
    """Wrap the methods; a second call does nothing."""
    if hasattr(PreTrainedModel, INSTALLED):
        return
    setattr(PreTrainedModel, INSTALLED, True)
    post_init, initialize = PreTrainedModel.post_init, PreTrainedModel._initialize_weights
    save_pretrained, to_dict = PreTrainedModel.save_pretrained, PreTrainedConfig.to_dict
    to_json_file, from_dict = PreTrainedConfig.to_json_file, PreTrainedConfig.from_dict.__func__  # type: ignore[attr-defined]

    @functools.wraps(post_init)
    def post_init_with_raf(self: PreTrainedModel) -> None:
        config = RafConfig.of(self.config)
        if config is not None:
            replace_activations(self, config)
            if not sites(self):
                raise ValueError(
                    f"{type(self).__name__} has a raf block, but no activation that can be replaced"
                )
        if any(isinstance(module, Rational) for module in self.modules()):
            keep_float32(self)
        post_init(self)

    @functools.wraps(initialize)
    def initialize_with_raf(self: PreTrainedModel, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        if isinstance(module, Rational) and not getattr(module, "_is_hf_initialized", False):
            numerator, denominator = module.start_coefficients()
            init.copy_(module.numerator, numerator.expand_as(module.numerator))
            init.copy_(module.denominator, denominator.expand_as(module.denominator))
            _warn_of_a_pretrained_model(self, module)
        if isinstance(module, Rational) and not module.trainable:
            module.requires_grad_(False)  # loading makes parameters anew
        initialize(self, module, *args, **kwargs)

    @functools.wraps(save_pretrained)
    def save_pretrained_with_raf(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        tell_of_rationals(self)
        return save_pretrained(self, *args, **kwargs)

    @functools.wraps(to_dict)
    def to_plain_dict(self: PreTrainedConfig) -> dict[str, Any]:
        values = to_dict(self)
        if isinstance(values.get("raf"), RafConfig):
            values["raf"] = values["raf"].to_dict()
        return values

    @functools.wraps(to_json_file)
    def to_marked_json_file(
        self: PreTrainedConfig, json_file_path: str | os.PathLike[str], use_diff: bool = True
    ) -> None:
        with replacing(Path(json_file_path)) as file:
            to_json_file(self, file, use_diff)
            config = json.loads(file.read_text(encoding="utf-8"))
            if mark(config):
                file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @functools.wraps(from_dict)
    def from_marked_dict(cls: type[PreTrainedConfig], config_dict: dict[str, Any], **kwargs: Any) -> Any:
        own = copy.deepcopy(config_dict)
        unmark(own)
        return from_dict(cls, own, **kwargs)

    PreTrainedModel.post_init = post_init_with_raf  # type: ignore[method-assign]
    PreTrainedModel._initialize_weights = initialize_with_raf  # type: ignore[method-assign]
    PreTrainedModel.save_pretrained = save_pretrained_with_raf  # type: ignore[method-assign]
    PreTrainedConfig.raf = None  # type: ignore[attr-defined] # a field that from_pretrained takes as an argument
    PreTrainedConfig.to_dict = to_plain_dict  # type: ignore[method-assign]
    PreTrainedConfig.to_json_file = to_marked_json_file  # type: ignore[method-assign]
    PreTrainedConfig.from_dict = classmethod(from_marked_dict)  # type: ignore[assignment, arg-type]


def _warn_of_a_pretrained_model(model: PreTrainedModel, act: Rational) -> None:
    """Where the weights beside a RAF come from a checkpoint, and its coefficients do not."""
    if _is_read(act.numerator) or hasattr(model, WARNED):
        return
    site = next((site for site in sites(model) if site.activation is act), None)
    if site is None or site.kind != "ffn" or not any(map(_is_read, site.parent.parameters())):
        return  # a new pooler's RAF is as new as its weights
    setattr(model, WARNED, True)
    logging.getLogger("raft").warning(
        "%s is read from a checkpoint without RAFs: they begin as fits of %s over [%g, %g], beyond which "
        "pretrained models' inputs reach; load it without raf=…, and raft.convert(model, calibration=texts) "
        "fits them to what it gets",
        type(model).__name__, activation_name(act), *act.start.interval,
    )  # fmt: skip


def _is_read(parameter: nn.Parameter) -> bool:
    """From a checkpoint: ``transformers`` says so while it gives values to what is missing."""
    return getattr(parameter, "_is_hf_initialized", False)


def keep_float32(model: PreTrainedModel) -> None:
    """A checkpoint loaded in half precision must not round the coefficients."""
    strict = set(model._keep_in_fp32_modules_strict or ())
    model._keep_in_fp32_modules_strict = strict | {COEFFICIENTS}
