"""Patch ``transformers`` so that every model class honours the ``raf`` block, when built, saved and loaded.

Four methods of ``PreTrainedModel`` are wrapped. ``post_init`` ends every constructor, before weights are
loaded: it replaces the activations. ``_initialize_weights`` initialises what a checkpoint lacks; without the
wrapper, coefficients would stay uninitialised memory. ``from_pretrained`` refuses to load RAFs as other
functions than those that were saved, and ``save_pretrained`` updates the configuration.

Three methods of ``PreTrainedConfig`` are wrapped: ``to_json_file`` and ``from_dict`` write and read a file
that needs raft, see ``saved_config.py``; ``to_dict`` converts a ``RafConfig``.

The patches are made while ``transformers`` is being imported, so the wrappers import what else they need.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from raft.files import atomic_write
from raft.hf.saving.saved_config import mark, unmark
from raft.learned_activation import LearnedActivation, learned_activations
from raft.networks.config import RafConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

PATCHES = "_raft_patches"
"""Attribute of a patched class: by name, the replacement, and the original or None."""
FORM = r"\.raf_form$"


def patch_models() -> None:
    """Patch ``PreTrainedModel``; once is enough."""
    from transformers.modeling_utils import PreTrainedModel

    post_init, initialize = PreTrainedModel.post_init, PreTrainedModel._initialize_weights
    from_pretrained = PreTrainedModel.from_pretrained.__func__  # type: ignore[attr-defined]
    save_pretrained = PreTrainedModel.save_pretrained

    @functools.wraps(post_init)
    def post_init_with_raf(self: PreTrainedModel) -> None:
        config = RafConfig.of(self.config)
        if config is not None:
            from raft.hf.blocks import SITE_NAMES, site_names
            from raft.hf.conversion import replace_activations
            from raft.hf.sites.find import find_sites

            if not isinstance(config.init, str):  # from now on without the file that it may come from
                self.config.raf = config.to_dict()
            replace_activations(self, config)
            sites = find_sites(self)
            if not sites:
                raise ValueError(
                    f"{type(self).__name__} has a raf block, but no activation that can be replaced"
                )
            setattr(self, SITE_NAMES, site_names(sites))
        keep_float32(self)
        post_init(self)

    @functools.wraps(initialize)
    def initialize_with_raf(self: PreTrainedModel, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        if isinstance(module, LearnedActivation):
            from transformers import initialization as init

            if not getattr(module, "_is_hf_initialized", False):
                for name, value in module.initial_state().items():
                    init.copy_(getattr(module, name), value)
            if _is_loaded(module.raf_form):
                scales = [module._buffers[name] for name in module._buffers if name.endswith("_scale")]
                has_scales = all(scale is not None and _is_loaded(scale) for scale in scales)
                module.check_form(module.raf_form, _find_name(self, module), has_scales)
            if not module.trainable:
                module.requires_grad_(False)  # loading makes parameters anew
        initialize(self, module, *args, **kwargs)

    @functools.wraps(from_pretrained)
    def from_pretrained_with_raf(cls: type[PreTrainedModel], *args: Any, **kwargs: Any) -> Any:
        from raft.hf.saving.saved_rafs import load_rafs

        return load_rafs(functools.partial(from_pretrained, cls), cls, *args, **kwargs)

    @functools.wraps(save_pretrained)
    def save_pretrained_with_raf(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        from raft.hf.blocks import sync_raf_config

        sync_raf_config(self)
        return save_pretrained(self, *args, **kwargs)

    _patch(
        PreTrainedModel,
        post_init=post_init_with_raf,
        _initialize_weights=initialize_with_raf,
        from_pretrained=classmethod(from_pretrained_with_raf),
        save_pretrained=save_pretrained_with_raf,
    )


def patch_configurations() -> None:
    """Patch ``PreTrainedConfig``; once is enough."""
    from transformers.configuration_utils import PreTrainedConfig

    to_dict, to_json_file = PreTrainedConfig.to_dict, PreTrainedConfig.to_json_file
    from_dict = PreTrainedConfig.from_dict.__func__  # type: ignore[attr-defined]

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
        with atomic_write(Path(json_file_path)) as file:
            to_json_file(self, file, use_diff)
            config = json.loads(file.read_text(encoding="utf-8"))
            if mark(config):
                file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @functools.wraps(from_dict)
    def from_marked_dict(cls: type[PreTrainedConfig], config_dict: dict[str, Any], **kwargs: Any) -> Any:
        own = copy.deepcopy(config_dict)
        unmark(own)
        return from_dict(cls, own, **kwargs)

    _patch(
        PreTrainedConfig,
        raf=None,  # a field that from_pretrained takes as an argument
        to_dict=to_plain_dict,
        to_json_file=to_marked_json_file,
        from_dict=classmethod(from_marked_dict),  # type: ignore[arg-type]
    )


def _patch(owner: type, **replacements: Any) -> None:
    if PATCHES in vars(owner):
        return
    setattr(owner, PATCHES, {name: (new, vars(owner).get(name)) for name, new in replacements.items()})
    for name, replacement in replacements.items():
        setattr(owner, name, replacement)


def restore() -> None:
    """Take all patches back; ``RuntimeError`` where other code has patched the same method since."""
    from transformers import PreTrainedConfig, PreTrainedModel

    patched: list[type] = [owner for owner in (PreTrainedModel, PreTrainedConfig) if PATCHES in vars(owner)]
    for owner in patched:
        for name, (replacement, _) in getattr(owner, PATCHES).items():
            if vars(owner).get(name) is not replacement:
                raise RuntimeError(
                    f"{owner.__name__}.{name} was patched by other code after raft; undo that first"
                )
    for owner in patched:
        for name, (_, original) in getattr(owner, PATCHES).items():
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        delattr(owner, PATCHES)


def _find_name(model: PreTrainedModel, act: LearnedActivation) -> str:
    return next((name for name, module in model.named_modules() if module is act), "a RAF")


def _is_loaded(tensor: Tensor) -> bool:
    """Whether a tensor is from a checkpoint; ``transformers`` knows while it initialises missing ones."""
    return getattr(tensor, "_is_hf_initialized", False)


def keep_float32(model: PreTrainedModel) -> None:
    """Keep coefficients in float32 when loading in half precision; older checkpoints may lack the form."""
    names = {
        rf"{re.escape(site.rpartition('.')[2])}\.{name}$"
        for site, act in learned_activations(model).items()
        for name, value in act.initial_state().items()
        if value.is_floating_point()
    }
    if names:
        strict = set(model._keep_in_fp32_modules_strict or ())
        model._keep_in_fp32_modules_strict = strict | names
        ignored = set(model._keys_to_ignore_on_load_missing or ())
        model._keys_to_ignore_on_load_missing = ignored | {FORM}
