from .recipe import PretrainingRecipe
from .train import pretrain

__all__ = [
    "PretrainingRecipe",
    "pretrain",
]
