"""PEFT's tuner for adapters of RAFs."""

from __future__ import annotations

from typing import Any

from torch import nn

from raft.functions.found import FoundFunction
from raft.hf.blocks import check_layers, copy_configs, is_chosen
from raft.hf.conversion import check_groups
from raft.hf.peft_method import (
    StructuralTuner,
    check_model,
    choose_targets,
    layers_of,
    unwrapped,
)
from raft.hf.raf_adapters.layer import PREFIX, RafAdapterLayer
from raft.hf.sites.adapters import install_adapters
from raft.hf.sites.find import find_sites
from raft.learned_activation import Start, owner_of
from raft.modules import Rational
from raft.networks import build
from raft.networks.config import AUTO, RafConfig


class RafAdapterModel(StructuralTuner):
    """A model of ``transformers`` whose activations have adapters; made by ``peft.get_peft_model``."""

    prefix = PREFIX
    tuner_layer_cls = RafAdapterLayer

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:
        """Find the activations by structure."""
        whole = check_model(model, "RafAdapterConfig")
        config: RafConfig = peft_config.raf_config()
        install_adapters(model, config.sites)
        with unwrapped(model, RafAdapterLayer):
            sites = find_sites(model)
        check_layers(model, config, sites)
        chosen = [site for site in sites if is_chosen(site, config)]
        if not chosen:
            raise ValueError(
                f"{type(model).__name__} has no activation of the kinds {', '.join(config.sites)}"
            )
        check_groups(whole, config, chosen)
        choose_targets(peft_config, {site.name for site in chosen}, "activation", model)

    def _create_and_replace(
        self, peft_config: Any, adapter_name: str, target: nn.Module, target_name: str, parent: nn.Module,
        current_key: str, parameter_name: str | None = None,
    ) -> None:  # fmt: skip
        layer = target if isinstance(target, RafAdapterLayer) else RafAdapterLayer(target, current_key)
        act = _make_function(layer.base_layer, peft_config.raf_config())
        build.move_beside(act, parent)
        layer.update_layer(adapter_name, act, peft_config.inference_mode)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _unload_and_optionally_merge(
        self,
        merge: bool = True,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> Any:
        """The model without adapters; merged, its activations are residual RAFs, as a conversion makes them.

        Raises:
            ValueError: for several adapters at once, or where the model has RAFs of its own.
        """
        if merge:
            self._put_functions(adapter_names or self.active_adapters)
        unload: Any = super()._unload_and_optionally_merge
        return unload(merge, progressbar, safe_merge, adapter_names)

    def _put_functions(self, names: list[str]) -> None:
        if len(names) != 1:
            raise ValueError(f"adapters of RAFs are merged one at a time, not {', '.join(names) or 'none'}")
        adapter: Any = self.peft_config[names[0]]
        config: RafConfig = adapter.raf_config()
        if not config.residual or RafConfig.of(self.model.config) is not None:
            raise ValueError(
                "adapters of RAFs cannot be merged into a model that has RAFs of its own: keep the adapter"
            )
        for parent, name, layer in layers_of(self.model, RafAdapterLayer):
            setattr(parent, name, dict(layer.parts).get(names[0], layer.base_layer))
        copy_configs(self.model)
        self.model.config.raf = config.to_dict()


def _make_function(base: nn.Module, config: RafConfig) -> Rational:
    """An adapter's function at its start."""
    start: str | Start = AUTO
    if not config.residual:
        own = owner_of(base)
        if not isinstance(own, Rational) or own.is_residual or own.groups > 1:
            raise ValueError(
                f"residual=False trains copies of a model's RAFs, and {base!r} is none, or has several groups"
            )
        form = (own.degrees, own.version)
        if form != (config.degrees, config.version):
            raise ValueError(f"residual=False needs the degrees and version of the model's RAFs: {form}")
        start = FoundFunction.of(own).start()
    # with low_cpu_mem_usage parameters have no memory until a checkpoint brings them
    interval = None if nn.Linear(1, 1).weight.is_meta else build.CONVERSION_INTERVAL
    act = build.build_activation(base, build.activation_name(base), config, start, None, interval)
    assert isinstance(act, Rational)
    return act
