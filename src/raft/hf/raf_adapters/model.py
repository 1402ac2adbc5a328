"""PEFT's tuner for adapters of RAFs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers import PreTrainedModel

from raft.functions.found import FoundFunction
from raft.hf.blocks import is_chosen
from raft.hf.config import RafConfig
from raft.hf.conversion import activation_name, check_groups
from raft.hf.raf_adapters.layer import BASE, PREFIX, RafAdapterLayer
from raft.hf.sites.adapters import install_adapters
from raft.hf.sites.find import Site, find_sites
from raft.learned_activation import owner_of
from raft.modules import Rational
from raft.networks import build


class RafAdapterModel(BaseTuner):
    """A model of ``transformers`` whose activations have adapters; made by ``peft.get_peft_model``."""

    prefix = PREFIX
    tuner_layer_cls = RafAdapterLayer
    target_module_mapping: dict[str, Any] = {}  # noqa: RUF012  # as those of PEFT's own

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        return peft_config

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:
        """Find the activations by structure."""
        kind = type(model).__name__
        if not isinstance(model, PreTrainedModel):
            raise ValueError(f"RafAdapterConfig is for models of transformers, and {kind} is none")
        config: RafConfig = peft_config.raf_config()
        install_adapters(model, config.sites)
        sites = _find_sites(model)
        stacks = [site.layer + 1 for site in sites if site.layer is not None]
        if missing := config.missing_layers(stacks):
            raise ValueError(f"{kind} has no layer {missing[0]}: it has {max(stacks, default=0)}, from 0 on")
        chosen = [site for site in sites if is_chosen(site, config)]
        if not chosen:
            raise ValueError(f"{kind} has no activation of the kinds {', '.join(config.sites)}")
        check_groups(model, config, chosen)
        names = {site.name for site in chosen}
        if peft_config.target_modules is None:
            peft_config.target_modules = names
        elif unknown := sorted(set(peft_config.target_modules) - names):
            raise ValueError(
                f"the adapter has a function for {unknown[0]}, and {kind} has no such activation: it is an "
                "adapter of another model"
            )

    def _create_and_replace(
        self, peft_config: Any, adapter_name: str, target: nn.Module, target_name: str, parent: nn.Module,
        current_key: str, parameter_name: str | None = None,
    ) -> None:  # fmt: skip
        layer = target if isinstance(target, RafAdapterLayer) else RafAdapterLayer(target, current_key)
        act = _make_function(layer.base_layer, peft_config.raf_config())
        layer.update_layer(adapter_name, act, peft_config.inference_mode)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)
        if adapter_name not in self.active_adapters:
            act.requires_grad_(False)

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        """Put an activation, which has no weights to hand over, in another's place."""
        setattr(parent, child_name, new_module)

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
        for parent, name, layer in _adapter_layers(self.model):
            functions: Any = layer.raf_adapter_functions
            is_there = names[0] in functions
            setattr(parent, name, functions[names[0]] if is_there else layer.base_layer)
        self.model.config.raf = config.to_dict()

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        names = kwargs.pop("adapter_names", None)
        if names is None:
            yield
            return
        if self.training:
            raise ValueError("adapter_names is for inference: call model.eval() first")
        unknown = sorted(set(names) - {BASE} - set(self.peft_config))
        if unknown:
            raise ValueError(f"there is no adapter {unknown[0]!r}, only {', '.join(self.peft_config)}")
        repeated = [name for name in names for _ in range(kwargs.get("num_beams") or 1)]

        def add_names(module: nn.Module, args: Any, kwargs: Any) -> Any:
            return args, {**kwargs, "adapter_names": repeated}

        hooks = [
            module.register_forward_pre_hook(add_names, with_kwargs=True)
            for module in self.modules()
            if isinstance(module, (RafAdapterLayer, AuxiliaryTrainingWrapper))
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _find_sites(model: nn.Module) -> list[Site]:
    """The sites of a model as it is without adapters."""
    wrapped = _adapter_layers(model)
    for parent, name, layer in wrapped:
        setattr(parent, name, layer.base_layer)
    try:
        return find_sites(model)
    finally:
        for parent, name, layer in wrapped:
            setattr(parent, name, layer)


def _adapter_layers(model: nn.Module) -> list[tuple[nn.Module, str, RafAdapterLayer]]:
    """Parent, attribute and layer."""
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, RafAdapterLayer)
    ]


def _make_function(base: nn.Module, config: RafConfig) -> Rational:
    """An adapter's function at its start."""
    start: str | build.Start = build.AUTO
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
    act = build.build_activation(base, activation_name(base), config, start, None, build.CONVERSION_INTERVAL)
    assert isinstance(act, Rational)
    return act
