"""Rational activations in Hugging Face models: configured, built, converted, loaded."""

from raft.hf.config import RafConfig
from raft.hf.conversion import ConversionReport, convert, freeze, revert, unfreeze
from raft.hf.hooks import install
from raft.hf.sites import Site, rationals, sites

__all__ = [
    "ConversionReport",
    "RafConfig",
    "Site",
    "convert",
    "freeze",
    "install",
    "rationals",
    "revert",
    "sites",
    "unfreeze",
]
