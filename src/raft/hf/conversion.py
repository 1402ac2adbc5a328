"""Put rational activations in place of fixed ones."""

from __future__ import annotations

from transformers import PreTrainedModel

from raft.coefficients import fit, named_fit
from raft.hf.config import RafConfig
from raft.hf.sites import activation_name, sites
from raft.modules import Rational

CONVERSION_INTERVAL = (-10.0, 10.0)
"""Pretrained models' inputs reach far beyond the interval of the ready fits."""


def replace_activations(
    model: PreTrainedModel, config: RafConfig, interval: tuple[float, float] | None = None
) -> int:
    """Replace the fixed activations of the configured sites; return how many were replaced.

    Args:
        model: built or being built, on any device (the meta device too).
        config: which sites, and which rational.
        interval: where the fits are made; the ready fits where it is None.
    """
    replaced = 0
    for site in sites(model):
        if site.kind not in config.sites or isinstance(site.activation, Rational):
            continue
        name = activation_name(site.activation) if config.init == "auto" else config.init
        if interval is None:
            start = named_fit(name, config.degrees, config.version)
        else:
            start = fit(name, config.degrees, config.version, interval=interval)
        act = Rational(start, config.degrees, config.version)
        parameter = next(model.parameters(), None)
        if parameter is not None:
            act.to(parameter.device)
        act.train(model.training)
        setattr(site.parent, site.attribute, act)
        replaced += 1
    return replaced


def convert(model: PreTrainedModel, config: RafConfig | None = None) -> PreTrainedModel:
    """Turn a model with fixed activations into a RAFT, in place; every other weight is kept bit for bit.

    Each RAF is a fit, on [-10, 10], of the function that it replaces. ``save_pretrained`` then writes the
    ``raf`` block and the coefficients, and plain ``from_pretrained`` restores them. Converting twice changes
    nothing.

    Raises:
        ValueError: where the model has no activation that can be replaced.

    Example::

        >>> import raft
        >>> from transformers import BertConfig, BertModel
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> len(raft.hf.rationals(raft.convert(BertModel(tiny))))
        3
    """
    config = config or RafConfig.of(model.config) or RafConfig()
    if not any(site.kind in config.sites for site in sites(model)):
        raise ValueError(
            f"{type(model).__name__} has no {' or '.join(config.sites)} activation that can be replaced; "
            "only BERT-like encoders are supported"
        )
    replace_activations(model, config, CONVERSION_INTERVAL)
    model.config.raf = config.to_dict()
    return model
