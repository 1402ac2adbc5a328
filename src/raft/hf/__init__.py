"""Rational activations in Hugging Face models; ``raft`` itself has ``convert`` and what belongs to it."""

from raft.hf.conversion_report import ConversionReport
from raft.hf.foreign.load import ConvertedCheckpoint, convert_checkpoint, rational_from_state, read_checkpoint
from raft.hf.fsdp import shard_rationals
from raft.hf.histogram import count_inputs
from raft.hf.saving.hooks import install, uninstall
from raft.hf.sites.find import Site, find_sites, rationals

__all__ = [
    "ConversionReport",
    "ConvertedCheckpoint",
    "Site",
    "convert_checkpoint",
    "count_inputs",
    "find_sites",
    "install",
    "rational_from_state",
    "rationals",
    "read_checkpoint",
    "shard_rationals",
    "uninstall",
]
