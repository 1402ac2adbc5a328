"""Pretraining of masked language models: what is pretrained on which text, and one run as a folder."""

from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.train import pretrain

__all__ = ["PretrainingRecipe", "pretrain"]
