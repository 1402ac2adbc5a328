"""PEFT's tuner for bottleneck adapters."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from raft.hf.blocks import check_layers, is_chosen
from raft.hf.peft import BOTTLENECKS
from raft.hf.peft_method import StructuralTuner, check_model, choose_targets, unwrapped
from raft.hf.raf_bottleneck.layer import PREFIX, Bottleneck, RafBottleneckLayer
from raft.hf.sites.adapters import install_adapters
from raft.hf.sites.feed_forward import CONVOLUTIONS, own_projection
from raft.hf.sites.find import find_blocks, find_sites
from raft.modules import TORCH_FUNCTIONS, Rational
from raft.networks.config import RafConfig


class RafBottleneckModel(StructuralTuner):
    """A model of ``transformers`` with bottleneck adapters; made by ``peft.get_peft_model``."""

    prefix = PREFIX
    tuner_layer_cls = RafBottleneckLayer

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:
        """Find the last projections of the feed-forward blocks by structure."""
        check_model(model, "RafBottleneckConfig")
        config: RafConfig = peft_config.raf_config()
        install_adapters(model, config.sites)
        with unwrapped(model, RafBottleneckLayer):
            sites = [site for site in find_sites(model) if site.kind == "ffn"]
            blocks = find_blocks(model)
            modules = dict(model.named_modules())
        check_layers(model, config, sites)
        holders = {site.name.rpartition(".")[0] for site in sites if is_chosen(site, config)}
        last = [
            projection.module
            for block in blocks
            if block.path in holders
            for projection in block.projections
            if projection not in block.first_projections and not projection.is_stack
            if not isinstance(projection.module, CONVOLUTIONS)
        ]
        names = {name for name, module in modules.items() if module in last}
        if not names:
            raise ValueError(
                f"{type(model).__name__} has no feed-forward block whose last projection is a linear module"
            )
        choose_targets(peft_config, names, "projection", model)

    def _create_and_replace(
        self, peft_config: Any, adapter_name: str, target: nn.Module, target_name: str, parent: nn.Module,
        current_key: str, parameter_name: str | None = None,
    ) -> None:  # fmt: skip
        layer: Any = target
        if not isinstance(target, RafBottleneckLayer):
            projection = own_projection(target)
            assert projection is not None
            layer = RafBottleneckLayer(target, current_key, projection.inputs, projection.outputs)
            self._replace_module(parent, target_name, layer, target)
        bottleneck = Bottleneck(layer.out_features, peft_config.r, _make_activation(peft_config))
        layer.update_layer(adapter_name, bottleneck, peft_config.inference_mode)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """PEFT takes the last name but one for the adapter's, and a bottleneck has modules behind it."""
        of_adapter = f".{BOTTLENECKS}.{adapter_name}."
        if of_adapter in key:
            return key.replace(of_adapter, f".{BOTTLENECKS}.", 1)
        shortened: str = super()._remove_adapter_name_from_key(key, adapter_name)
        return shortened


def _make_activation(config: Any) -> nn.Module:
    fixed = TORCH_FUNCTIONS[config.init]
    assert isinstance(fixed, nn.Module)
    if not config.learned:
        return copy.deepcopy(fixed)
    act = Rational(config.init, config.degrees, config.version)
    act.replaced = (fixed,)
    return act
