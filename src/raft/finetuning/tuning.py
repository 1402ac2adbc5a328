"""Which parameters a fine-tuning trains: all of them, biases, RAFs, an adapter."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn
from transformers import PreTrainedModel

import raft
from raft.errors import InputError, first_line, suggest
from raft.hf.conversion import freeze, unfreeze
from raft.hf.peft import peft_modules
from raft.learned_activation import LearnedActivation, learned_activations

PLAIN: dict[str, set[str]] = {
    "full": {"RAFs", "head", "biases", "weights"},
    "fixed": {"head", "biases", "weights"},
    "head": {"head"},
    "bitfit": {"head", "biases"},
    "bitfit-raf": {"RAFs", "head", "biases"},
    "norms": {"head", "norms"},
    "raf": {"RAFs", "head"},
}
"""Kinds of parameters that modes without an adapter train."""

RANK = 8
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoraConfig", {"r": RANK, "target_modules": "all-linear"}),
    "lora-raf": ("LoraConfig", {"r": RANK, "target_modules": "all-linear"}),
    "ia3": ("IA3Config", {}),
    "beft": ("BeftConfig", {}),
    "raf-adapter": ("RafAdapterConfig", {}),
    "raf-bottleneck": ("RafBottleneckConfig", {}),
}
"""Modes with one of PEFT's methods: its configuration, and what is set of it."""

RAF_ADAPTER = "raf-adapter"
RAF_BOTTLENECK = "raf-bottleneck"
NAMES = ("modules_to_save", "exclude_modules")
"""Fields of their configurations to which the head's modules are added."""

OURS = ("RafAdapterConfig", "RafBottleneckConfig")
TUNINGS = (*PLAIN, *ADAPTERS)

WITH_RAFS = ("full", "bitfit-raf", "raf", "lora-raf")
"""The modes in which a RAFT's coefficients are trained."""

WITHOUT_RAFS = {"fixed": "full", "bitfit-raf": "bitfit", "lora-raf": "lora"}
"""What modes are of a model that has no RAFs to train or to leave as they are."""


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of one kind.

    Attributes:
        name: ``RAFs``, ``head``, ``biases``, ``norms``, ``adapter`` or ``weights``.
        trained: how many numbers of them are trained.
        total: how many there are.
    """

    name: str
    trained: int
    total: int


def parse_tuning(text: str) -> tuple[str, dict[str, Any]]:
    """``("lora", {"r": 1})`` of ``"lora:r=1"``: a mode, and fields of its configuration, JSON or words.

    Raises:
        InputError: for an unknown mode, settings of one that has none, or what is no ``key=value``.
    """
    name, *words = text.split(":")
    if name not in TUNINGS:
        raise InputError(
            f"--tuning must be one of {', '.join(TUNINGS)}, not {name!r}{suggest(name, TUNINGS)}"
        )
    if words and name not in ADAPTERS:
        raise InputError(f"--tuning {text}: only {', '.join(ADAPTERS)} have settings")
    settings: dict[str, Any] = {}
    for word in words:
        key, is_set, value = word.partition("=")
        if not is_set:
            raise InputError(f"--tuning {text}: {word!r} must be key=value, such as lora:r=1")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError as error:
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", value):
                raise InputError(f"--tuning {text}: {word!r} must be key=value, such as lora:r=1") from error
            settings[key] = value
    return name, settings


def trains_rafs(text: str, has_rafs: bool) -> bool:
    """Whether a mode trains coefficients of RAFs, those of the model or an adapter's own."""
    name, settings = parse_tuning(text)
    if name == RAF_BOTTLENECK:
        return bool(settings.get("learned", True))
    return name == RAF_ADAPTER or (name in WITH_RAFS and has_rafs)


def check_tuning(text: str) -> None:
    """Raise ``InputError`` for a mode, or settings of its method, that cannot work."""
    name, settings = parse_tuning(text)
    if settings:
        _make_config(name, settings)


def set_tuning(
    model: PreTrainedModel, tuning: str, new: Collection[str] = ()
) -> tuple[Any, list[ParameterCount]]:
    """Let a model train what a mode trains.

    ``full``: everything; ``fixed``: everything but the RAFs; ``head``: the head alone, which all modes train;
    ``bitfit``: biases; ``bitfit-raf``: these and the RAFs; ``norms``: normalisation layers; ``raf``: RAFs;
    ``lora``: low-rank updates of the linear layers, scaled by 2; ``lora-raf``: these and the RAFs; ``ia3``
    and ``beft``: PEFT's methods; ``raf-adapter``: RAFs beside a model's fixed activations;
    ``raf-bottleneck``: bottleneck adapters with RAFs. A model without RAFs has none to train.

    Args:
        model: a ``…For<task>``; its head is what stands outside of ``base_model``.
        tuning: the mode; one with a method of PEFT can have fields of its configuration: ``"lora:r=1"``.
        new: names of parameters that no checkpoint held, such as a new pooler's: they count as the head.

    Returns:
        The model, within PEFT's wrapper for its methods, and what of it is trained.

    Raises:
        InputError: for an unknown mode, a method without ``peft``, or one that does not fit the model.

    Source: the modes of Fang et al. 2023, section 4; BitFit, Ben Zaken et al. 2022; LoRA, Hu et al. 2022.
    """
    name, settings = parse_tuning(tuning)
    kinds = _kinds(model, new, with_norms=name == "norms")
    (unfreeze if name in WITH_RAFS else freeze)(model)
    if name in ADAPTERS:
        return _with_adapter(model, name, settings, kinds)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(kinds[parameter_name] in PLAIN[name])
    return model, _parts(model, kinds)


def _kinds(model: PreTrainedModel, new: Collection[str], with_norms: bool) -> dict[str, str]:
    """The kind of each parameter by its name."""
    rafs = {id(parameter) for act in learned_activations(model).values() for parameter in act.parameters()}
    norms = {
        id(parameter)
        for module in (model.modules() if with_norms else ())
        if "norm" in type(module).__name__.lower()
        for parameter in module.parameters(recurse=False)
    }
    parts = dict(model.named_children())
    body = [model.base_model_prefix]
    if body[0] not in parts:  # T5 for questions has one layer beside its stacks, which is its head
        body = [part for part, module in parts.items() if not isinstance(module, nn.Linear)]
    kinds = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in rafs:
            kinds[name] = "RAFs"
        elif name in new or name.partition(".")[0] not in body:
            kinds[name] = "head"
        elif id(parameter) in norms:
            kinds[name] = "norms"
        else:
            kinds[name] = "biases" if name.endswith("bias") else "weights"
    return kinds


def _make_config(name: str, settings: Mapping[str, Any]) -> Any:
    try:
        import peft
    except ImportError as error:
        raise InputError(f"--tuning {name} needs peft: pip install peft") from error
    kind, defaults = ADAPTERS[name]
    config_class = getattr(raft if kind in OURS else peft, kind)
    values = {**defaults, **settings}
    of_class = {of.name: of.default for of in fields(config_class)}
    for key, value in settings.items():
        if key not in of_class:
            named = suggest(key, of_class) or f"; it has the fields of {kind}"
            raise InputError(f"--tuning {name} has no {key!r}{named}")
        default = of_class.get(key)
        kinds = {bool: (bool,), int: (int,), float: (int, float)}.get(type(default))
        if kinds is not None and type(value) not in kinds:
            raise InputError(f"--tuning {name}: {key} must be like {json.dumps(default)}, not {value!r}")
        if key in NAMES and not isinstance(value, list):
            raise InputError(f'--tuning {name}: {key} must be like ["dense"], not {value!r}')
    if kind == "LoraConfig" and "lora_alpha" not in values:
        values["lora_alpha"] = 2 * values["r"]
    try:
        return config_class(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"--tuning {name}: {first_line(error)}") from error


def _with_adapter(
    model: PreTrainedModel, tuning: str, settings: Mapping[str, Any], kinds: dict[str, str]
) -> tuple[Any, list[ParameterCount]]:
    config = _make_config(tuning, settings)
    from peft import get_peft_model

    if tuning == RAF_ADAPTER and learned_activations(model):
        raise InputError("--tuning raf-adapter is of models with fixed activations: --tuning raf trains RAFs")
    modules = dict(model.named_modules())
    # a module whose parameters are new is trained whole, and so is the head
    whole = {name.rpartition(".")[0] for name, kind in kinds.items() if kind == "head"}
    saved = [name for name in sorted(whole) if not isinstance(modules[name], LearnedActivation)]
    if tuning == "lora-raf" and learned_activations(model):
        saved += peft_modules(model)
    for field_name, of_head in zip(NAMES, (saved, sorted(whole)), strict=True):
        setattr(config, field_name, [*(getattr(config, field_name, None) or ()), *of_head])
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as error:  # no layers of a method are known for this architecture, say
        raise InputError(f"--tuning {tuning}: {first_line(error)}") from error
    wrapped_kinds: dict[str, str] = {}
    for name, _ in wrapped.named_parameters():
        plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
        for part in (".modules_to_save.default", ".original_module"):
            plain = plain.replace(part, "")
        wrapped_kinds[name] = "adapter" if f".{wrapped.base_model.prefix}" in name else kinds[plain]
    return wrapped, _parts(wrapped, wrapped_kinds, without="original_module")


def _parts(model: Any, kinds: dict[str, str], without: str | None = None) -> list[ParameterCount]:
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        if without is not None and without in name:
            continue  # PEFT keeps the modules that copies of its own replace
        numbers = counts.setdefault(kinds[name], [0, 0])
        numbers[0] += parameter.numel() * parameter.requires_grad
        numbers[1] += parameter.numel()
    order = ("RAFs", "head", "adapter", "biases", "norms", "weights")
    return [ParameterCount(name, *counts[name]) for name in order if name in counts]
