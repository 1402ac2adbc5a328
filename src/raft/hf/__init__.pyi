from .conversion import ConversionReport
from .foreign.load import ConvertedCheckpoint, convert_checkpoint, rational_from_state, read_checkpoint
from .fsdp import shard_rationals
from .histogram import count_inputs
from .saving.installation import install, uninstall
from .sites.find import Site, find_sites, learned_activations, rationals

__all__ = [
    "ConversionReport",
    "ConvertedCheckpoint",
    "Site",
    "convert_checkpoint",
    "count_inputs",
    "find_sites",
    "install",
    "learned_activations",
    "rational_from_state",
    "rationals",
    "read_checkpoint",
    "shard_rationals",
    "uninstall",
]
