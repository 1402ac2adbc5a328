"""Rational activations in fully sharded models.

FSDP's mixed precision hands a module bfloat16 copies of its parameters, whatever the module says of its own:
RAFs keep float32 coefficients only as units with a policy of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from raft.hf.sites.find import rationals

if TYPE_CHECKING:  # some builds of torch have no distributed package
    from torch.distributed.device_mesh import DeviceMesh


def shard_rationals(model: nn.Module, mesh: DeviceMesh | None = None, **options: Any) -> None:
    """Make every RAF of a model a float32 unit of FSDP2, in place.

    To be called before ``fully_shard`` of the layers and of the model, which leave finished units alone. A
    second call does nothing. With mixed precision, the activations keep the dtype that they come in.

    Each RAF is a unit by itself: it can then be called any number of times a step, in any order, or not at
    all. The coefficients stay gathered from the forward to the backward pass unless the options say
    otherwise.

    With accelerate (``fsdp_version=2``), call it before ``accelerator.prepare``, and set
    ``cpu_ram_efficient_loading=False``: that loading sends parts of a model sharded before as if they were
    whole.

    FSDP1 needs no call but a policy, ``MixedPrecision(param_dtype=torch.bfloat16,
    _module_classes_to_ignore=(raft.Rational,))`` beside an ``auto_wrap_policy``; RAFs then see float32
    activations, too. Its ``ignored_modules`` would leave the gradients of each process to itself.

    Args:
        model: with RAFs; with its PEFT adapters too, which cannot be added to a sharded model.
        mesh: the one that the rest of the model is sharded over; all processes where it is None.
        options: further arguments of ``fully_shard``, such as ``offload_policy``; not ``mp_policy``.

    Raises:
        RuntimeError: where ``torch.distributed`` is not initialised.
        ValueError: where the model has no RAF, or a module around a RAF has been sharded before it.

    Example (under ``torchrun``)::

        shard_rationals(model)
        bfloat16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
        for layer in model.bert.encoder.layer:
            fully_shard(layer, mp_policy=bfloat16)
        fully_shard(model, mp_policy=bfloat16)
    """
    found = rationals(model)
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no rational activation; convert it with raft.convert first"
        )
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        raise RuntimeError("call torch.distributed.init_process_group before shard_rationals")
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    waiting = {name: act for name, act in found.items() if not isinstance(act, FSDPModule)}
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    taken = {inner for unit in units for inner in unit.modules()}
    for name, act in waiting.items():
        if act in taken:
            raise ValueError(
                f"a module around {name} is sharded already; call shard_rationals before fully_shard"
            )
    float32 = MixedPrecisionPolicy(
        param_dtype=torch.float32, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for act in waiting.values():
        fully_shard(act, mesh=mesh, mp_policy=float32, **{"reshard_after_forward": False, **options})
