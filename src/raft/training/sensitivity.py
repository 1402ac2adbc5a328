"""How strongly each RAF coefficient moves its function, and optimizer steps that take it into account.

Adam moves every number by about the learning rate. What that does to a RAF depends on its inputs: where they
reach to 20, as in many pretrained models, x⁵ makes of 5e-3 a change by thousands. Divided by how far it moves
the function, in root mean square over the inputs, each coefficient's step is one of the function's values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raft.hf.calibration import Seen, observe
from raft.hf.sites import sites
from raft.kernels import reference
from raft.modules import Rational, ResidualRational, SharedRational


@torch.no_grad()
def sensitivities(act: Rational, x: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square, over inputs, of the derivative of a RAF with respect to each of its coefficients.

    With y = P/Q it is that of x^k/Q for a_k, and that of y x^k/Q for b_k. Beside a fixed function, whose P
    starts at zero, y is the whole value: what P will be like is not known.

    Args:
        act: the RAF.
        x: ``[N]``, its inputs, at least one.

    Returns:
        Of the numerator and the denominator, of their shapes, float32, on their device.
    """
    x = x.flatten().to("cpu", torch.float64)
    fixed = act.replaced[0](x.clone()) if isinstance(act, ResidualRational) else 0.0
    rows: tuple[list[Tensor], list[Tensor]] = ([], [])
    coefficients = (act.numerator.cpu().double(), act.denominator.cpu().double())
    for a, b in zip(*(each.reshape(act.groups, -1) for each in coefficients), strict=True):
        inverse = reference.forward(x, torch.ones_like(a[:1]), b, act.version)  # 1/Q
        y = fixed + reference.forward(x, a, b, act.version)
        powers = x[:, None] ** torch.arange(max(len(a), len(b) + 1))
        rows[0].append(_rms(powers[:, : len(a)] * inverse[:, None]))
        rows[1].append(_rms(powers[:, 1 : len(b) + 1] * (y * inverse)[:, None]))
    return (
        torch.stack(rows[0]).reshape_as(act.numerator).to(act.numerator),
        torch.stack(rows[1]).reshape_as(act.denominator).to(act.denominator),
    )


def _rms(values: Tensor) -> Tensor:
    return values.square().mean(dim=0).sqrt()


def set_step_scales(
    model: PreTrainedModel, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> dict[str, tuple[Tensor, Tensor]]:
    """Let optimizers of :func:`scale_steps` divide the steps of a model's RAFs by their sensitivities.

    A sensitivity below one counts as one: no step becomes longer than the learning rate. Scales are powers of
    two, by which numbers are multiplied and divided without a rounding error.

    Args:
        model: with RAFs; it reads the texts.
        texts: such as the model is trained on; some dozens.
        tokenizer: of the model.

    Returns:
        The scales by name of the site whose RAF they are of.
    """
    found = [site for site in sites(model) if isinstance(site.activation, (Rational, SharedRational))]
    seen = observe(model, found, texts, tokenizer)
    inputs: dict[int, list[Seen]] = {}
    for site in found:
        act: Any = site.activation
        owner = act.shared if isinstance(act, SharedRational) else act
        inputs.setdefault(id(owner), []).append(seen[site.name])
    scales = {}
    for site in found:
        if isinstance(site.activation, Rational):
            samples = [each.samples() for each in inputs[id(site.activation)] if each.count]
            if samples:
                numerator, denominator = sensitivities(site.activation, torch.cat(samples))
                scales[site.name] = _power_of_two(numerator), _power_of_two(denominator)
                site.activation.step_scales = scales[site.name]
    return scales


def _power_of_two(sensitivity: Tensor) -> Tensor:
    return torch.exp2(sensitivity.clamp(min=1.0).log2().round())


def scale_steps(optimizer: Optimizer, model: nn.Module) -> None:
    """Divide an optimizer's steps by the step scales of a model's RAFs, where some are set.

    Around each step the coefficients are multiplied by their scales and the gradients divided: the optimizer
    works on coefficients of terms that all count alike. Its weight decay is the same on both.

    Args:
        optimizer: AdamW, or another whose steps do not depend on the size of the gradients.
        model: whose RAFs are looked at now.
    """
    pairs = [
        (parameter, scale.to(parameter))
        for act in model.modules()
        if isinstance(act, Rational) and act.step_scales is not None
        for parameter, scale in zip((act.numerator, act.denominator), act.step_scales, strict=True)
        if parameter.requires_grad
    ]
    if not pairs:
        return

    @torch.no_grad()
    def change(coefficients: int, gradients: int) -> None:
        for parameter, scale in pairs:
            parameter.mul_(scale**coefficients)
            if parameter.grad is not None:
                parameter.grad.mul_(scale**gradients)

    optimizer.register_step_pre_hook(lambda *_: change(1, -1))
    optimizer.register_step_post_hook(lambda *_: change(-1, 1))
