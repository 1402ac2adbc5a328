from . import hf, models, training
from .coefficients import Fit, fit, named_fit
from .conversion import convert, load, revert, save
from .functional import rational, rational_by_sample, rational_glu
from .hf.conversion import freeze, unfreeze
from .hf.peft import peft_modules
from .hf.raf_adapters import RafAdapterConfig
from .hf.raf_bottleneck import RafBottleneckConfig
from .modules import Rational, ResidualRational
from .networks.config import RafConfig
from .training.optimizer import param_groups

__version__: str
__all__ = [
    "Fit",
    "RafAdapterConfig",
    "RafBottleneckConfig",
    "RafConfig",
    "Rational",
    "ResidualRational",
    "convert",
    "fit",
    "freeze",
    "hf",
    "load",
    "models",
    "named_fit",
    "param_groups",
    "peft_modules",
    "rational",
    "rational_by_sample",
    "rational_glu",
    "revert",
    "save",
    "training",
    "unfreeze",
]
