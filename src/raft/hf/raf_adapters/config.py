"""What an adapter of RAFs is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raft.hf.peft_method import StructuralConfig, add_peft_type
from raft.networks.config import RafConfig

NAME = "raf_adapter"
RAF_ADAPTER = add_peft_type(NAME.upper())


@dataclass
class RafAdapterConfig(StructuralConfig):
    """Configuration of an adapter that trains activation functions, some hundred numbers in all.

    Beside each chosen activation f of the model stands a RAF that starts at zero: f(x) + P(x)/Q(x), so that
    the model is unchanged at the start, to the bit. On a model that has RAFs, ``residual=False`` trains a
    copy of each instead.

    Attributes:
        groups: groups of neighbouring channels with coefficients of their own.
        degrees: (m, n) of numerator and denominator.
        version: form of the denominator, see :func:`raft.rational`.
        sites: kinds of sites, as in :class:`raft.RafConfig`; those before projections are not among them.
        layers: ``"all"``, numbers and ranges such as ``"0-5,11"``, or a list of numbers.
        residual: whether RAFs stand beside the model's functions.
        target_modules: names of the activations, filled in by structure: leave it out.
        exclude_modules: names, or ends of names, of activations that are left as they are.
        modules_to_save: names of other modules that are trained whole and saved; a classifier's is added by
            PEFT for ``task_type="SEQ_CLS"``.

    Raises:
        ValueError: for what :class:`raft.RafConfig` refuses.

    Example::

        >>> import raft
        >>> from peft import get_peft_model
        >>> from transformers import BertConfig, BertModel
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> model = get_peft_model(BertModel(tiny), raft.RafAdapterConfig(groups=8))
        >>> model.get_nb_trainable_parameters()[0]
        160
    """

    groups: int = 8
    sites: Sequence[str] = ("ffn",)
    residual: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.residual, bool):
            raise ValueError(f"residual must be true or false, not {self.residual!r}")
        super().__post_init__()
        self.peft_type = RAF_ADAPTER
        self.sites = list(self.raf_config().sites)

    def raf_config(self) -> RafConfig:
        """The RAFs, as a model that is converted gets them."""
        return RafConfig(
            sites=tuple(self.sites),
            layers=self.layers,
            degrees=tuple(self.degrees),  # type: ignore[arg-type]  # which checks how many they are
            version=self.version,
            groups=self.groups,
            residual=self.residual,
            scaled=True,
        )
