"""What our methods of PEFT share: a name that PEFT knows, modules found by structure, adapters by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import PeftType
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers import PreTrainedModel

from raft.networks.config import RafConfig


@dataclass
class StructuralConfig(PeftConfig):
    """What the configurations of our methods share: functions of a form, in some layers.

    A subclass has ``raf_config``, from which forms and layers are checked.
    """

    degrees: Sequence[int] = (5, 4)
    version: str = "A"
    layers: Any = "all"
    target_modules: Any = field(default=None)
    exclude_modules: Any = field(default=None)
    modules_to_save: Any = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked = self.raf_config()
        self.degrees = list(checked.degrees)
        self.layers = checked.layers if isinstance(checked.layers, str) else list(checked.layers)

    def raf_config(self) -> RafConfig:
        """The functions, as a model that is converted gets them."""
        raise NotImplementedError  # each method has its own


BASE = "__base__"
"""Stands for no adapter among the names of a batch."""


def add_peft_type(name: str) -> PeftType:
    """A member of PEFT's enumeration, as a subclass cannot have: it is looked up there by value."""
    if name not in PeftType.__members__:
        member = str.__new__(PeftType, name)
        member._name_ = member._value_ = name
        PeftType._member_map_[name] = member
        PeftType._value2member_map_[name] = member
        PeftType._member_names_.append(name)
    return PeftType[name]


class AdapterLayer(nn.Module, BaseTunerLayer):
    """A module of a model, and what each adapter adds to it, by the adapters' names.

    A subclass has the one name in ``adapter_layer_names``, of what is added, and ``refusal``, why that cannot
    be merged.

    Args:
        base_layer: the module.
        name: of it in the model.
    """

    refusal: str

    def __init__(self, base_layer: nn.Module, name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.name = name
        setattr(self, self.adapter_layer_names[0], nn.ModuleDict())
        self._disable_adapters = False
        self._active_adapter: str | list[str] = []
        self.merged_adapters: list[str] = []

    @property
    def parts(self) -> Any:
        """What is added, by the adapters' names."""
        return getattr(self, self.adapter_layer_names[0])

    def update_layer(self, adapter_name: str, part: nn.Module, inference_mode: bool) -> None:
        """Add an adapter."""
        self.parts[adapter_name] = part
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refused."""
        raise ValueError(self.refusal)

    def unmerge(self) -> None:
        """Nothing is ever merged."""

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Whether a low-rank update could stand in for it: no."""
        return False


class StructuralTuner(BaseTuner):
    """A tuner that finds its modules by structure, and gives each sample of a batch its own adapter."""

    target_module_mapping: dict[str, Any] = {}  # noqa: RUF012  # as those of PEFT's own

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        return peft_config

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        """Put a module around another, whose weights stay there."""
        setattr(parent, child_name, new_module)

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
        # an encoder reads each sample once, and only what follows it a copy for each beam
        encoder = self.model.get_encoder() if hasattr(self.model, "get_encoder") else self.model
        in_encoder = set() if encoder is self.model else set(encoder.modules())

        def add_names(module: nn.Module, args: Any, kwargs: Any) -> Any:
            return args, {**kwargs, "adapter_names": names if module in in_encoder else repeated}

        hooks = [
            module.register_forward_pre_hook(add_names, with_kwargs=True)
            for module in self.modules()
            if isinstance(module, (self.tuner_layer_cls, AuxiliaryTrainingWrapper))
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def check_model(model: nn.Module, method: str) -> PreTrainedModel:
    """The model; ``ValueError`` unless it is one of ``transformers``."""
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"{method} is for models of transformers, and {type(model).__name__} is none")
    return model


def choose_targets(peft_config: Any, names: set[str], kind: str, model: nn.Module) -> None:
    """Fill in the names of the modules that were found, or compare them with those of a file.

    Raises:
        ValueError: where the model lacks one.
    """
    if peft_config.target_modules is None:
        peft_config.target_modules = names
        return
    # PEFT keeps the ends of names where there are many
    ends = [target for target in sorted(peft_config.target_modules) if target not in names]
    unknown = [end for end in ends if not any(name.endswith(f".{end}") for name in names)]
    if unknown:
        raise ValueError(
            f"the adapter has a part for {unknown[0]}, and {type(model).__name__} has no such {kind}: it is "
            "an adapter of another model"
        )


def check_names(names: Any, batch: int, where: str) -> None:
    """Raise ``ValueError`` unless each sample has an adapter's name."""
    if len(names) != batch:
        raise ValueError(
            f"adapter_names has {len(names)} names, and {where} got {batch} samples: give one each"
        )


@contextmanager
def unwrapped(model: nn.Module, kind: type[AdapterLayer]) -> Iterator[None]:
    """The model as it is without adapters, for the block."""
    layers = layers_of(model, kind)
    for parent, name, layer in layers:
        setattr(parent, name, layer.base_layer)
    try:
        yield
    finally:
        for parent, name, layer in layers:
            setattr(parent, name, layer)


def layers_of(model: nn.Module, kind: type[BaseTunerLayer]) -> list[tuple[nn.Module, str, Any]]:
    """Parent, attribute and layer."""
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, kind)
    ]
