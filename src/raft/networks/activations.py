"""What an activation is."""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional as F

from raft.learned_activation import is_learned

MODULES = (nn.GELU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Mish, nn.ELU, nn.CELU, nn.SELU, nn.Tanh,
           nn.Sigmoid, nn.Softplus, nn.Hardswish)  # fmt: skip
FUNCTIONS = (F.gelu, F.relu, F.silu, F.mish, F.elu, F.leaky_relu, F.softplus, F.tanh, F.sigmoid, F.hardswish,
             torch.relu, torch.tanh, torch.sigmoid, F.relu6, F.celu, F.selu)  # fmt: skip
NAMES = re.compile(r"gelu|relu|silu|swish|mish|activation", re.IGNORECASE)
"""Class names of custom activations: modules without children."""

GATES = ("sigmoid", "tanh", "softplus", "hardsigmoid", "hardtanh", "logsigmoid")
"""Lower-case names of functions that are chosen for their range."""


def is_activation(value: object) -> bool:
    """Whether a module, or a function held by a module, is a fixed or learned activation.

    Other activations with parameters are left to the model.
    """
    if not isinstance(value, nn.Module):
        return any(value is function for function in FUNCTIONS)
    if is_learned(value):
        return True
    return _looks_like_activation(value) and next(value.parameters(), None) is None


def is_parametrised(value: object) -> bool:
    """Whether a module is an activation with parameters of its own, which is no learned one of raft's."""
    if not isinstance(value, nn.Module) or is_learned(value):
        return False
    return _looks_like_activation(value) and next(value.parameters(), None) is not None


def is_gate(value: object) -> bool:
    """Whether an activation is one whose range matters: sigmoid, tanh, softplus and their hard forms.

    They weigh channels or states (squeeze-and-excitation, LSTMs), or bound an output (probabilities, pixels,
    scales); another function there changes what the network can mean. All others (ReLU, GELU, SiLU, …) shape
    features between layers. Softmax is no activation here, as it is not elementwise.
    """
    name = getattr(value, "__name__", type(value).__name__)
    return name.lower().replace("_", "") in GATES


def _looks_like_activation(module: nn.Module) -> bool:
    if isinstance(module, (*MODULES, nn.PReLU)) or type(module).__module__ == "transformers.activations":
        return True
    return next(module.children(), None) is None and NAMES.search(type(module).__name__) is not None
