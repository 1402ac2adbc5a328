"""Load a model with its RAFs as the functions that were saved, or not at all."""

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

from raft.hf.saving.saved_config import ORIGINALS
from raft.hf.sites.find import find_sites, rationals
from raft.hf.sites.input_activation import input_kind
from raft.learned_activation import LearnedActivation, learned_activations
from raft.networks.build import activation_name
from raft.networks.config import RafConfig

HUB_ARGUMENTS = (
    "cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder", "proxies",
)  # fmt: skip
RAF_TENSORS = ("raf_form", "numerator_scale", "denominator_scale")
"""Names of tensors that only RAFs have."""
OVERRIDABLE = ("trainable", "scaled")
"""Keys of the block that change no function, so that arguments may override the saved values."""


def load_rafs(original: Callable[..., Any], cls: type[PreTrainedModel], *args: Any, **kwargs: Any) -> Any:
    """Call ``from_pretrained``, and check that RAFs are loaded as they were saved.

    Args:
        original: ``from_pretrained`` of ``transformers``, bound to the class.
        cls: that is loaded.
        args: of ``from_pretrained``.
        kwargs: of ``from_pretrained``.

    Raises:
        ValueError: where the RAFs of the checkpoint are not those of the arguments, or where it lacks some
            of their coefficients, or has them in other shapes or as complex numbers.
    """
    source, *others = args or [kwargs.pop("pretrained_model_name_or_path", None)]
    kwargs = merge_saved_raf(cls, source, kwargs)
    returns_info = kwargs.pop("output_loading_info", False)
    try:
        model, info = original(source, *others, output_loading_info=True, **kwargs)
    except RuntimeError as error:
        message = None
        if "ignore_mismatched_sizes" in str(error):  # its report goes to a log that may be silent
            message = _explain_mismatch(original, source, *others, **kwargs)
        if message is None:
            raise
        raise ValueError(message) from error
    _check_unexpected(model, source, info)
    if learned_activations(model):
        _check_missing(model, source, info)
        _check_real(model, source, kwargs)
        _check_scales(model, source)
    return (model, info) if returns_info else model


def merge_saved_raf(cls: type[PreTrainedModel], source: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Set the ``raf`` block in the arguments of ``from_pretrained``, if any, to the saved one.

    Args:
        cls: that is loaded.
        source: folder or hub name.
        arguments: by name, perhaps with ``raf=…`` or ``config=…``.

    Raises:
        ValueError: where the checkpoint was saved with a block that makes other functions than the one given.
    """
    config: Any = arguments.get("config")
    is_given = "raf" in arguments or isinstance(config, PreTrainedConfig)
    if source is None or not is_given:
        return dict(arguments)
    saved = _read_saved_block(source, arguments, getattr(cls.config_class, "model_type", None))
    if saved is None:
        return dict(arguments)
    block = arguments["raf"] if "raf" in arguments else getattr(config, "raf", None)
    given = block if block is None or isinstance(block, RafConfig) else RafConfig.from_dict(block)
    if given is None:
        raise ValueError(
            f"{source} was saved with RAFs, and raf=None reads it without: load it as it is, and put the "
            "fixed functions back with raft.revert(model)"
        )
    names = [key.name for key in fields(RafConfig) if key.init and key.name not in OVERRIDABLE]
    changed = [name for name in names if getattr(given, name) != getattr(saved, name)]
    if changed:
        old, new = (", ".join(f"{name}={getattr(raf, name)!r}" for name in changed) for raf in (saved, given))
        raise ValueError(
            f"{source} was saved with RAFs of {old}, and raf=… asks for {new}, which makes other functions: "
            "leave raf out, or convert the model anew"
        )
    merged = replace(saved, trainable=given.trainable)
    if "raf" in arguments:
        return {**arguments, "raf": merged.to_dict()}
    config = copy.deepcopy(config)
    config.raf = merged.to_dict()
    return {**arguments, "config": config}


def _read_saved_block(source: Any, arguments: Mapping[str, Any], model_type: str | None) -> RafConfig | None:
    """The block in a checkpoint's configuration, or in the part of it that has this type."""
    try:
        whole, _ = PreTrainedConfig.get_config_dict(source, **_select_hub_arguments(arguments))
    except OSError:  # loading reports it
        return None
    parts = [whole, *(part for part in whole.values() if isinstance(part, dict))]
    own = next((part for part in parts if part.get("model_type") == model_type), whole)
    block = own.get("raf")
    if isinstance(block, dict):
        block = {key: value for key, value in block.items() if key != ORIGINALS}
    return None if block is None else RafConfig.from_dict(block)


def _explain_mismatch(original: Callable[..., Any], source: Any, *args: Any, **kwargs: Any) -> str | None:
    """One line on coefficients whose shapes ``transformers`` refused; None where it refused other weights."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        kwargs |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
        model, info = original(source, *args, **kwargs)
    finally:
        transformers_logging.set_verbosity(verbosity)
    acts = learned_activations(model)
    for name, saved, expected in sorted(info["mismatched_keys"]):
        if name.rpartition(".")[0] in acts:
            return (
                f"{name} has the shape {list(saved)} in {source}, and {list(expected)} in the model that its "
                "configuration builds: degrees, groups and settings of the raf block must be those of the "
                "checkpoint"
            )
    return None


def _check_missing(model: PreTrainedModel, source: Any, info: Mapping[str, Any]) -> None:
    """Check for RAFs that a checkpoint lacks, wholly or in part, though it has the weights around them.

    Raises:
        ValueError: where it has coefficients of other RAFs.
    """
    missing = set(info["missing_keys"])
    coefficients = set(_coefficient_names(model))
    for site in find_sites(model) if coefficients & missing else ():
        act = site.activation
        lacking = [name for name in _coefficient_names(model, site.name) if name in missing]
        parameters = _parameter_names(model, site.holder)
        nearby = [name for name in parameters if name.rpartition(".")[0] != site.name]
        if not isinstance(act, LearnedActivation) or not lacking or missing.issuperset(nearby):
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
    """Refuse a checkpoint with RAFs, or their scales, for modules where the model has none.

    Raises:
        ValueError: naming the tensor.
    """
    modules = {name for name, _ in model.named_modules()}
    for name in sorted(info["unexpected_keys"]):
        site, _, part = name.removeprefix(f"{model.base_model_prefix}.").rpartition(".")
        paths = {site, f"{model.base_model_prefix}.{site}"}
        parents = {path.rpartition(".")[0] for path in paths}
        if input_kind(site):  # older versions put some elsewhere
            parents |= {parent.rpartition(".")[0] for parent in parents} - {""}
        if part in RAF_TENSORS and (paths | parents) & modules:  # not of a layer or head that the model lacks
            if getattr(model, "_hf_peft_config_loaded", False):
                raise ValueError(
                    f"{source} holds RAFs for a model that has none: its adapter was trained on a converted "
                    "model; merge it (merge_and_unload) and save that"
                )
            raise ValueError(
                f"{source or 'the state'} holds {name}, and the model that its configuration builds has no "
                "such RAF: load it with its own configuration"
            )


def _coefficient_names(model: PreTrainedModel, site: str | None = None) -> list[str]:
    """The names of coefficients in the model: those of one site, or all."""
    return [
        f"{path}.{name}"
        for path, act in learned_activations(model).items()
        for name, _ in act.named_parameters()
        if site in (None, path)
    ]


def _parameter_names(model: PreTrainedModel, part: nn.Module) -> list[str]:
    """The names of a part's parameters in the model."""
    inside = {id(parameter) for parameter in part.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in inside]


def _check_real(model: PreTrainedModel, source: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse complex coefficients in a checkpoint, whose imaginary parts are lost in loading.

    Args:
        model: loaded from it.
        source: folder or hub name.
        arguments: of ``from_pretrained``, by name.

    Raises:
        ValueError: naming the tensor.
    """
    names = {
        f"{site}.{part}" for site, act in learned_activations(model).items() for part in act.state_dict()
    }
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
    """Raise ``ValueError`` for a scale that is not finite and positive."""
    for site, act in rationals(model).items():
        for scale in (act.numerator_scale, act.denominator_scale):
            if scale is not None and not scale.is_meta and not bool(((scale > 0) & scale.isfinite()).all()):
                raise ValueError(f"{source} has scales of {site} that are not above zero: it is damaged")


def _select_hub_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: arguments[key] for key in HUB_ARGUMENTS if key in arguments}
