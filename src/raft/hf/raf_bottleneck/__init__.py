"""Bottleneck adapters whose activation functions are learned, as a method of PEFT."""

from peft.utils import register_peft_method

from raft.hf.raf_bottleneck.config import NAME, RafBottleneckConfig
from raft.hf.raf_bottleneck.layer import PREFIX, RafBottleneckLayer
from raft.hf.raf_bottleneck.model import RafBottleneckModel

__all__ = ["RafBottleneckConfig", "RafBottleneckLayer", "RafBottleneckModel"]

register_peft_method(name=NAME, config_cls=RafBottleneckConfig, model_cls=RafBottleneckModel, prefix=PREFIX)
