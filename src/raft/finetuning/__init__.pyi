from .train import finetune
from .tuning import set_tuning

__all__ = [
    "finetune",
    "set_tuning",
]
