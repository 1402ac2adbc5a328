"""Reading a model: its RAFs come back as the functions that were saved, or not at all."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import logging as transformers_logging

from raft.hf.config import RafConfig
from raft.hf.conversion import activation_name
from raft.hf.saving.saved_config import ORIGINALS
from raft.hf.sites.find import find_sites, rationals
from raft.modules import Rational

HUB_ARGUMENTS = (
    "cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder", "proxies",
)  # fmt: skip
PARTS = ("raf_form", "numerator_scale", "denominator_scale")
"""Tensors that only RAFs have."""
FREE = ("trainable", "scaled")
"""Keys of the block that change no function: they may be given beside a saved one."""


def load(original: Callable[..., Any], cls: type[PreTrainedModel], *args: Any, **kwargs: Any) -> Any:
    """``from_pretrained``, which gives RAFs as they were saved.

    Args:
        original: ``from_pretrained`` of ``transformers``, bound to the class.
        cls: that is loaded.
        args: of ``from_pretrained``.
        kwargs: of ``from_pretrained``.

    Raises:
        ValueError: where the RAFs of the checkpoint are not those that the arguments ask for, where it lacks
            some of their coefficients, has them in other shapes, or as complex numbers.
    """
    source, *others = args or [kwargs.pop("pretrained_model_name_or_path", None)]
    kwargs = with_saved_raf(cls, source, kwargs)
    asked = kwargs.pop("output_loading_info", False)
    try:
        model, info = original(source, *others, output_loading_info=True, **kwargs)
    except RuntimeError as error:
        message = None
        if "ignore_mismatched_sizes" in str(error):  # its report goes to a log that may be silent
            message = _mismatch(original, source, *others, **kwargs)
        if message is None:
            raise
        raise ValueError(message) from error
    _check_unexpected(model, source, info)
    if rationals(model):
        _check_missing(model, source, info)
        _check_real(model, source, kwargs)
        _check_scales(model, source)
    return (model, info) if asked else model


def with_saved_raf(cls: type[PreTrainedModel], source: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``from_pretrained``, whose ``raf`` block, if any, builds what was saved.

    Args:
        cls: that is loaded.
        source: folder or hub name.
        arguments: by name, with ``raf=…`` or a whole ``config=…`` perhaps.

    Raises:
        ValueError: where the checkpoint was saved with a block that makes other functions than the one given.
    """
    config: Any = arguments.get("config")
    is_given = "raf" in arguments or isinstance(config, PreTrainedConfig)
    if source is None or not is_given:
        return dict(arguments)
    saved = _saved_block(source, arguments, getattr(cls.config_class, "model_type", None))
    if saved is None:
        return dict(arguments)
    block = arguments["raf"] if "raf" in arguments else getattr(config, "raf", None)
    given = block if block is None or isinstance(block, RafConfig) else RafConfig.from_dict(block)
    if given is None:
        raise ValueError(
            f"{source} was saved with RAFs, and raf=None reads it without: load it as it is, and put the "
            "fixed functions back with raft.revert(model)"
        )
    names = [each.name for each in fields(RafConfig) if each.init and each.name not in FREE]
    other = [name for name in names if getattr(given, name) != getattr(saved, name)]
    if other:
        was, is_ = (", ".join(f"{name}={getattr(each, name)!r}" for name in other) for each in (saved, given))
        raise ValueError(
            f"{source} was saved with RAFs of {was}, and raf=… asks for {is_}, which makes other functions: "
            "leave raf out, or convert the model anew"
        )
    merged = replace(saved, trainable=given.trainable)
    if "raf" in arguments:
        return {**arguments, "raf": merged.to_dict()}
    config = copy.deepcopy(config)
    config.raf = merged.to_dict()
    return {**arguments, "config": config}


def _saved_block(source: Any, arguments: Mapping[str, Any], model_type: str | None) -> RafConfig | None:
    """Of a checkpoint's configuration, or of the part of it that is of this type."""
    try:
        whole, _ = PreTrainedConfig.get_config_dict(source, **_of_hub(arguments))
    except OSError:  # loading it says what is wrong
        return None
    parts = [whole, *(part for part in whole.values() if isinstance(part, dict))]
    own = next((part for part in parts if part.get("model_type") == model_type), whole)
    block = own.get("raf")
    if isinstance(block, dict):
        block = {key: value for key, value in block.items() if key != ORIGINALS}
    return None if block is None else RafConfig.from_dict(block)


def _mismatch(original: Callable[..., Any], source: Any, *args: Any, **kwargs: Any) -> str | None:
    """One line on coefficients of other shapes than the model's, where ``transformers`` refused shapes; None
    where they are of other weights."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        kwargs |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
        model, info = original(source, *args, **kwargs)
    finally:
        transformers_logging.set_verbosity(before)
    acts = rationals(model)
    for name, found, expected in sorted(info["mismatched_keys"]):
        if name.rpartition(".")[0] in acts:
            return (
                f"{name} has the shape {list(found)} in {source}, and {list(expected)} in the model that its "
                "configuration builds: degrees and groups of the raf block must be those of the checkpoint"
            )
    return None


def _check_missing(model: PreTrainedModel, source: Any, info: Mapping[str, Any]) -> None:
    """Look for RAFs that a checkpoint lacks, or a part of them, though it has the weights around them.

    Raises:
        ValueError: where it has others, and so should have these.
    """
    missing = set(info["missing_keys"])
    coefficients = {f"{name}.{part}" for name in rationals(model) for part in ("numerator", "denominator")}
    for site in find_sites(model) if coefficients & missing else ():
        act = site.activation
        lacking = [f"{site.name}.{part}" for part in ("numerator", "denominator")]
        lacking = [name for name in lacking if name in missing]
        around = [name for name in _parameters(model, site.parent) if name.rpartition(".")[0] != site.name]
        if not isinstance(act, Rational) or not lacking or missing.issuperset(around):
            continue  # a new pooler's RAF is as new as its weights
        if coefficients - missing:
            raise ValueError(
                f"{source} has no {lacking[0]}, though it has the weights around it and other coefficients "
                "of RAFs: it is damaged, or of another model"
            )
        if site.kind == "ffn":
            logging.getLogger("raft").warning(
                "%s is read from a checkpoint without RAFs: they begin as fits of %s over [%g, %g], beyond "
                "which pretrained models' inputs reach; load it without raf=…, and raft.convert(model, "
                "calibration=texts) fits them to what it gets",
                type(model).__name__, activation_name(act), *act.start.interval,
            )  # fmt: skip
            return


def _check_unexpected(model: PreTrainedModel, source: Any, info: Mapping[str, Any]) -> None:
    """Refuse a checkpoint with RAFs, or scales of them, where the model has a place and none of these.

    Raises:
        ValueError: naming the tensor.
    """
    modules = {name for name, _ in model.named_modules()}
    for name in sorted(info["unexpected_keys"]):
        site, _, part = name.removeprefix(f"{model.base_model_prefix}.").rpartition(".")
        places = {site, f"{model.base_model_prefix}.{site}"}
        holders = {place.rpartition(".")[0] for place in places}
        if part in PARTS and (places | holders) & modules:  # not of a layer or head that the model lacks
            if getattr(model, "_hf_peft_config_loaded", False):
                raise ValueError(
                    f"{source} holds RAFs for a model that has none: its adapter was trained on a converted "
                    "model; merge it (merge_and_unload) and save that"
                )
            raise ValueError(
                f"{source or 'the state'} holds {name}, and the model that its configuration builds has no "
                "such RAF: load it with its own configuration"
            )


def _parameters(model: PreTrainedModel, part: nn.Module) -> list[str]:
    """The names in the model of the parameters of a part of it."""
    inside = {id(parameter) for parameter in part.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in inside]


def _check_real(model: PreTrainedModel, source: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse coefficients that a checkpoint keeps as complex numbers: reading drops their imaginary parts.

    Args:
        model: that was read.
        source: folder or hub name.
        arguments: of ``from_pretrained``, by name.

    Raises:
        ValueError: naming the tensor.
    """
    parts = ("numerator", "denominator", "numerator_scale", "denominator_scale")
    names = {f"{site}.{part}" for site in rationals(model) for part in parts}
    folder = Path(str(source))
    if not folder.is_dir():
        options = {key: arguments[key] for key in ("cache_dir", "revision") if arguments.get(key)}
        cached = try_to_load_from_cache(str(source), "config.json", **options)
        folder = Path(cached).parent if isinstance(cached, str) else folder
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in names.intersection(tensors.keys()):
                dtype = tensors.get_slice(name).get_dtype()
                if dtype.startswith("C"):
                    raise ValueError(f"{file} holds {name} as {dtype}; coefficients are real numbers")


def _check_scales(model: PreTrainedModel, source: Any) -> None:
    """Raise ``ValueError`` for a scale that no coefficient can be in units of."""
    for site, act in rationals(model).items():
        for scale in (act.numerator_scale, act.denominator_scale):
            if scale is not None and not scale.is_meta and not bool(((scale > 0) & scale.isfinite()).all()):
                raise ValueError(f"{source} has scales of {site} that are not above zero: it is damaged")


def _of_hub(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: arguments[key] for key in HUB_ARGUMENTS if key in arguments}
