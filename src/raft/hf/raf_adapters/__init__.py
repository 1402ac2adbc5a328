"""RAFs as a method of PEFT, in the layout of its own tuners: ``config.py``, ``layer.py``, ``model.py``.

PEFT knows its methods by the members of an enumeration, and ``register_peft_method`` refuses other names:
nothing can be added from outside. So a member is added to it; the rest is registered as PEFT's own are.
"""

from peft.utils import register_peft_method

from raft.hf.raf_adapters.config import NAME, RafAdapterConfig
from raft.hf.raf_adapters.layer import PREFIX, RafAdapterLayer
from raft.hf.raf_adapters.model import RafAdapterModel

__all__ = ["RafAdapterConfig", "RafAdapterLayer", "RafAdapterModel"]

register_peft_method(name=NAME, config_cls=RafAdapterConfig, model_cls=RafAdapterModel, prefix=PREFIX)
