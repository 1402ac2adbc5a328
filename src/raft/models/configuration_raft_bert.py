"""Configuration of the paper's encoder: BERT with DeepNorm residuals and rational activations."""

from __future__ import annotations

import copy
from dataclasses import field, fields
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import BertConfig

from raft.hf.config import RafConfig
from raft.hf.saving.saved_config import unmark

RANDOM, NEIGHBOURS = "random", "neighbours"
ATTENTION_INITS = (RANDOM, NEIGHBOURS)
NARROWEST_HEAD = 16
"""That begins with a neighbour: of fewer waves no position stands out."""


@strict
class RaftBertConfig(BertConfig):
    """The recipe of Fang et al.: BERT's sizes, DeepNorm, RAFs in every feed-forward layer and in the pooler.

    A BERT checkpoint's ``config.json`` is read as what it describes: residuals without DeepNorm, and fixed
    activations unless it has a ``raf`` block of its own.

    Attributes:
        deepnorm: scale residuals and initial weights by the number of layers; False is BERT's own post-LN.
        attention_init: what attention begins with: ``"random"`` as in BERT and the paper, or
            ``"neighbours"``: each head looks at one neighbour (see ``raft.models.neighbours``), which spares
            small models the plateau at the start of masked language modelling.
        embedding_layer_norm: normalise the sum of the embeddings, as BERT does; the official code does not.
        raf: the block of :class:`raft.RafConfig`. One without ``init`` starts every RAF from GELU, the
            pooler's too, as the paper does. None is the FAFT: ``hidden_act`` in the layers, tanh in the
            pooler.

    Raises:
        ValueError: for a decoder; only encoders are supported. For an unknown ``attention_init``, and for
            neighbours without normalised embeddings or with heads of odd width or narrower than 16.

    Source: Fang et al., "Transformers with Learnable Activation Functions", Findings of EACL 2023;
    Wang et al., "DeepNet: Scaling Transformers to 1,000 Layers", 2022, figure 2.

    Example::

        >>> from raft.models import RaftBertConfig
        >>> RaftBertConfig().raf
        {'init': 'gelu'}
        >>> round(RaftBertConfig().residual_scale, 3)
        2.213
    """

    model_type = "raft_bert"

    use_cache: bool = False  # an encoder has none; True only makes gradient checkpointing warn
    deepnorm: bool = True
    embedding_layer_norm: bool = True
    attention_init: str = "random"
    raf: dict[str, Any] | RafConfig | None = field(default_factory=dict)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.is_decoder or self.add_cross_attention:
            raise ValueError("RaftBert is an encoder; is_decoder and add_cross_attention must be False")
        if self.attention_init not in ATTENTION_INITS:
            raise ValueError(
                f"attention_init must be one of {', '.join(ATTENTION_INITS)}, not {self.attention_init!r}"
            )
        if self.attention_init == NEIGHBOURS:
            if not self.embedding_layer_norm:
                raise ValueError("attention_init 'neighbours' needs embedding_layer_norm")
            width = self.hidden_size // self.num_attention_heads
            if width % 2 or width < NARROWEST_HEAD:
                raise ValueError(
                    f"attention_init 'neighbours' needs heads of an even width from {NARROWEST_HEAD} on, "
                    f"not {width}"
                )
        if isinstance(self.raf, RafConfig):
            self.raf = self.raf.to_dict()
        elif self.raf is not None:
            self.raf = {"init": "gelu", **self.raf}

    @property
    def residual_scale(self) -> float:
        """α in LayerNorm(αx + f(x)): (2N)^¼ for N layers, 1 without DeepNorm."""
        return (2 * self.num_hidden_layers) ** 0.25 if self.deepnorm else 1.0

    @property
    def xavier_gain(self) -> float:
        """β, DeepNorm's gain on value, attention output and feed-forward weights: (8N)^-¼ for N layers."""
        return float((8 * self.num_hidden_layers) ** -0.25)

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Contents of a ``config.json`` and the unused arguments; a BERT's is made a RaftBert's."""
        values, unused = super().get_config_dict(*args, **kwargs)
        if values.get("model_type") == "bert":
            values = {"deepnorm": False, "raf": None, **values, "model_type": cls.model_type}
        return values, unused

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from the contents of a ``config.json``; ``kwargs`` take precedence."""
        # the base class sets these on the finished configuration, past __post_init__
        names = {each.name for each in fields(cls)}
        given: dict[str, Any] = {key: kwargs.pop(key) for key in [*kwargs] if key in names}
        config_dict = copy.deepcopy(config_dict)
        unmark(config_dict)  # the block that is given does not know what the file's fields were
        return super().from_dict({**config_dict, **given}, **kwargs)
