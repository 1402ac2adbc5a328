"""What a bottleneck adapter is."""

from __future__ import annotations

from dataclasses import dataclass

from raft.hf.peft_method import StructuralConfig, add_peft_type
from raft.modules import TORCH_FUNCTIONS
from raft.networks.config import RafConfig

NAME = "raf_bottleneck"
RAF_BOTTLENECK = add_peft_type(NAME.upper())


@dataclass
class RafBottleneckConfig(StructuralConfig):
    """Configuration of bottleneck adapters with learned activation functions.

    To the output y of each feed-forward block is added U f(D y): D projects to ``r`` channels, f is a RAF,
    and U projects back and starts at zero, so that the model is unchanged at the start, to the bit.

    Attributes:
        r: channels of the bottleneck.
        init: name of the function that f starts as, such as ``"gelu"``, ``"relu"`` or ``"identity"``.
        learned: whether f is trained; if not, it is the fixed function itself.
        degrees: (m, n) of numerator and denominator.
        version: form of the denominator, see :func:`raft.rational`.
        layers: ``"all"``, numbers and ranges such as ``"0-5,11"``, or a list of numbers.
        target_modules: names of the blocks' last projections, filled in by structure: leave it out.
        exclude_modules: names, or ends of names, of projections that are left as they are.
        modules_to_save: names of other modules that are trained whole and saved; a classifier's is added by
            PEFT for ``task_type="SEQ_CLS"``.

    Raises:
        ValueError: for what :class:`raft.RafConfig` refuses, an unknown ``init`` and r < 1.

    Source: Pfeiffer et al. 2021 for the place; Moosavi et al. 2022, *Adaptable Adapters*, for the RAF.

    Example::

        >>> import raft
        >>> from peft import get_peft_model
        >>> from transformers import BertConfig, BertModel
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> model = get_peft_model(BertModel(tiny), raft.RafBottleneckConfig(r=2))
        >>> model.get_nb_trainable_parameters()[0]
        104
    """

    r: int = 16
    init: str = "gelu"
    learned: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.r, int) or isinstance(self.r, bool) or self.r < 1:
            raise ValueError(f"r must be a whole number of at least 1, not {self.r!r}")
        if not isinstance(self.learned, bool):
            raise ValueError(f"learned must be true or false, not {self.learned!r}")
        if self.init not in TORCH_FUNCTIONS:
            raise ValueError(f"init must be one of {', '.join(TORCH_FUNCTIONS)}, not {self.init!r}")
        super().__post_init__()
        self.peft_type = RAF_BOTTLENECK

    def raf_config(self) -> RafConfig:
        """The activation functions, as a model that is converted gets them."""
        return RafConfig(
            layers=self.layers,
            init=self.init,
            degrees=tuple(self.degrees),  # type: ignore[arg-type]  # which checks how many they are
            version=self.version,
        )
