"""Rational activations in fully sharded models.

FSDP's mixed precision casts the parameters of all modules to bfloat16: RAFs keep float32 coefficients only as
units with a policy of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from raft.learned_activation import learned_activations

if TYPE_CHECKING:  # some builds of torch have no distributed package
    from torch.distributed.device_mesh import DeviceMesh


def shard_rationals(model: nn.Module, mesh: DeviceMesh | None = None, **options: Any) -> None:
    """Make every RAF of a model a float32 unit of FSDP2, in place.

    Call it before ``fully_shard`` of the layers and of the model, which skip existing units. A second call
    does nothing. With mixed precision, activations keep their dtype.

    Each RAF is a unit by itself, and can be called any number of times a step, in any order, or not at all.
    The coefficients stay gathered from the forward to the backward pass unless the options say otherwise.

    With accelerate (``fsdp_version=2``), call it before ``accelerator.prepare``, and set
    ``cpu_ram_efficient_loading=False``, which would send shards of a model as if they were whole.

    FSDP1 needs no call but a policy, ``MixedPrecision(param_dtype=torch.bfloat16,
    _module_classes_to_ignore=(raft.Rational,))`` with an ``auto_wrap_policy``; the inputs of RAFs are then
    float32, too. With its ``ignored_modules``, gradients would not be reduced over processes.

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
    acts = learned_activations(model)
    if not acts:
        raise ValueError(
            f"{type(model).__name__} has no rational activation; convert it with raft.convert first"
        )
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        raise RuntimeError("call torch.distributed.init_process_group before shard_rationals")
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    unsharded = {name: act for name, act in acts.items() if not isinstance(act, FSDPModule)}
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    sharded = {inner for unit in units for inner in unit.modules()}
    for name, act in unsharded.items():
        if act in sharded:
            raise ValueError(
                f"a module around {name} is sharded already; call shard_rationals before fully_shard"
            )
    float32 = MixedPrecisionPolicy(
        param_dtype=torch.float32, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for act in unsharded.values():
        fully_shard(act, mesh=mesh, mp_policy=float32, **{"reshard_after_forward": False, **options})
