"""Rational activations in Hugging Face models: configured, built, converted, loaded."""

from raft.hf.config import RafConfig
from raft.hf.conversion import convert
from raft.hf.hooks import install
from raft.hf.sites import Site, rationals, sites

__all__ = ["RafConfig", "Site", "convert", "install", "rationals", "sites"]
