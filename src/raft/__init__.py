"""Transformers with learnable (rational) activation functions."""

from raft import hf, models
from raft.coefficients import Fit, fit, named_fit
from raft.functional import rational, rational_glu
from raft.hf.config import RafConfig
from raft.hf.conversion import convert, freeze, revert, unfreeze
from raft.hf.peft import peft_modules
from raft.modules import Rational, ResidualRational
from raft.training.optimizer import clip_grad_norm_, param_groups

hf.install()

__version__ = "0.1.0"
__all__ = [
    "Fit",
    "RafConfig",
    "Rational",
    "ResidualRational",
    "clip_grad_norm_",
    "convert",
    "fit",
    "freeze",
    "hf",
    "models",
    "named_fit",
    "param_groups",
    "peft_modules",
    "rational",
    "rational_glu",
    "revert",
    "unfreeze",
]
