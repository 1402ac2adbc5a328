"""Which parameters a fine-tuning trains: all of them, biases, RAFs, an adapter."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

from transformers import PreTrainedModel

from raft.errors import InputError
from raft.hf.conversion import freeze, unfreeze
from raft.hf.peft import peft_modules
from raft.learned_activation import LearnedActivation, learned_activations

Tuning = Literal["full", "fixed", "bitfit", "bitfit-raf", "raf", "lora", "lora-raf"]
TUNINGS: tuple[Tuning, ...] = get_args(Tuning)

WITH_RAFS = ("full", "bitfit-raf", "raf", "lora-raf")
"""The modes in which the coefficients are trained."""

WITHOUT_RAFS = {"fixed": "full", "bitfit-raf": "bitfit", "lora-raf": "lora"}
"""What modes are of a model that has no RAFs to train or to leave as they are."""

RANK = 8


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of one kind.

    Attributes:
        name: ``RAFs``, ``head``, ``biases``, ``adapter`` or ``weights``.
        trained: how many numbers of them are trained.
        total: how many there are.
    """

    name: str
    trained: int
    total: int


def set_tuning(
    model: PreTrainedModel, tuning: str, new: Collection[str] = (), rank: int = RANK
) -> tuple[Any, list[ParameterCount]]:
    """Let a model train what a mode trains.

    ``full``: everything; ``fixed``: everything but the RAFs; ``bitfit``: biases and the head;
    ``bitfit-raf``: these and the RAFs; ``raf``: RAFs and the head; ``lora``: low-rank updates of the linear
    layers, and the head; ``lora-raf``: these and the RAFs. A model without RAFs has none to train.

    Args:
        model: a ``…For<task>``; its head is what stands outside of ``base_model``.
        tuning: the mode.
        new: names of parameters that no checkpoint held, such as a new pooler's: they count as the head.
        rank: of LoRA's updates; they are scaled by 2.

    Returns:
        The model, for LoRA within PEFT's wrapper, and what of it is trained.

    Raises:
        InputError: for an unknown mode, or LoRA without ``peft``.

    Source: the modes of Fang et al. 2023, section 4; BitFit, Ben Zaken et al. 2022; LoRA, Hu et al. 2022.
    """
    if tuning not in TUNINGS:
        raise InputError(f"--tuning must be one of {', '.join(TUNINGS)}, not {tuning!r}")
    kinds = _kinds(model, new)
    (unfreeze if tuning in WITH_RAFS else freeze)(model)
    if tuning.startswith("lora"):
        return _with_adapter(model, tuning, kinds, rank)
    trained = {
        "full": {"RAFs", "head", "biases", "weights"},
        "fixed": {"head", "biases", "weights"},
        "bitfit": {"head", "biases"},
        "bitfit-raf": {"RAFs", "head", "biases"},
        "raf": {"RAFs", "head"},
    }[tuning]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(kinds[name] in trained)
    return model, _parts(model, kinds)


def _kinds(model: PreTrainedModel, new: Collection[str]) -> dict[str, str]:
    """The kind of each parameter by its name."""
    rafs = {id(parameter) for act in learned_activations(model).values() for parameter in act.parameters()}
    inside = model.base_model_prefix + "."
    kinds = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in rafs:
            kinds[name] = "RAFs"
        elif name in new or not name.startswith(inside):
            kinds[name] = "head"
        else:
            kinds[name] = "biases" if name.endswith("bias") else "weights"
    return kinds


def _with_adapter(
    model: PreTrainedModel, tuning: str, kinds: dict[str, str], rank: int
) -> tuple[Any, list[ParameterCount]]:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError(f"--tuning {tuning} needs peft: pip install peft") from error
    modules = dict(model.named_modules())
    # a module whose parameters are new is trained whole, and so is the head
    whole = {name.rpartition(".")[0] for name, kind in kinds.items() if kind == "head"}
    saved = [name for name in sorted(whole) if not isinstance(modules[name], LearnedActivation)]
    if tuning == "lora-raf" and learned_activations(model):
        saved += peft_modules(model)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", exclude_modules=sorted(whole),
        modules_to_save=saved,
    )  # fmt: skip
    wrapped = get_peft_model(model, config)
    wrapped_kinds: dict[str, str] = {}
    for name, _ in wrapped.named_parameters():
        plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
        for part in (".modules_to_save.default", ".original_module"):
            plain = plain.replace(part, "")
        wrapped_kinds[name] = "adapter" if ".lora_" in name else kinds[plain]
    return wrapped, _parts(wrapped, wrapped_kinds, without="original_module")


def _parts(model: Any, kinds: dict[str, str], without: str | None = None) -> list[ParameterCount]:
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        if without is not None and without in name:
            continue  # PEFT keeps the modules that copies of its own replace
        numbers = counts.setdefault(kinds[name], [0, 0])
        numbers[0] += parameter.numel() * parameter.requires_grad
        numbers[1] += parameter.numel()
    order = ("RAFs", "head", "adapter", "biases", "weights")
    return [ParameterCount(name, *counts[name]) for name in order if name in counts]
