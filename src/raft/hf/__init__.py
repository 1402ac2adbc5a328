"""Rational activations in Hugging Face models: configured, built, converted, loaded."""

from raft.hf.config import RafConfig
from raft.hf.conversion import convert, freeze, revert, unfreeze
from raft.hf.conversion_report import ConversionReport
from raft.hf.foreign.load import ConvertedCheckpoint, convert_checkpoint, rational_from_state, read_checkpoint
from raft.hf.fsdp import shard_rationals
from raft.hf.peft import peft_modules
from raft.hf.saving.hooks import install, uninstall
from raft.hf.sites.find import Site, find_sites, rationals

__all__ = [
    "ConversionReport",
    "ConvertedCheckpoint",
    "RafConfig",
    "Site",
    "convert",
    "convert_checkpoint",
    "find_sites",
    "freeze",
    "install",
    "peft_modules",
    "rational_from_state",
    "rationals",
    "read_checkpoint",
    "revert",
    "shard_rationals",
    "unfreeze",
    "uninstall",
]
