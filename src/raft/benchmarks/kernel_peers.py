"""What ``raft bench kernel`` compares: the activation, its peers, and other projects' kernels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raft.errors import first_line
from raft.functional import rational_by_sample, rational_glu
from raft.gated import gated_product
from raft.kernels import formula
from raft.modules import Rational, SquaredReLU

PLAIN, GATED, CHANNELS, BLOCK = "plain", "gated", "channels second", "block"
FORMS = {2: (PLAIN, GATED), 3: (BLOCK,), 4: (CHANNELS,)}
"""What is timed at a shape, by its number of sizes: ``[rows, channels]``, ``[tokens, hidden, width]`` of a
feed-forward block, or ``[N, C, H, W]``."""

PEERS = {PLAIN: "F.gelu", GATED: "F.silu(gate) * up", CHANNELS: "F.gelu", BLOCK: "SwiGLU block"}
"""What the others of a form are compared with. It stands there twice, which shows the noise."""

GROUPS = 8
FLASH_KAT_WIDTH = 256


class _ThroughOperator(Rational):
    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = torch.ops.raft.rational(x, self.numerator, self.denominator, self.version)
        return output


class _Formula(Rational):
    def forward(self, x: Tensor, up: Tensor | None = None) -> Tensor:
        return formula.rational(x, self.numerator, self.denominator, self.version, up)


class _SwiGLU(nn.Module):
    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate) * up


class _Apart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = Rational("silu")

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        output: Tensor = self.act(gate) * up
        return output


class _Gated(_Apart):
    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return rational_glu(gate, up, *self.act.coefficients(), self.act.version)


class _ChannelsMoved(Rational):
    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = super().forward(x.movedim(1, -1).contiguous()).movedim(-1, 1).contiguous()
        return output


class _Block(nn.Module):
    """The feed-forward block of Llama and most models after it."""

    def __init__(self, act: nn.Module, hidden: int, width: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(hidden, width, bias=False) for _ in range(2))
        self.down = nn.Linear(width, hidden, bias=False)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.down(self.act(self.gate(x)) * self.up(x))
        return output


class _BlockInOnePass(_Block):
    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.down(gated_product(self.act, self.gate(x), self.up(x)))
        return output


class _BySample(nn.Module):
    """Coefficients of its own for each row, as a batch of many tasks' adapters has."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.numerator, self.denominator = (
            nn.Parameter(values.detach().repeat(rows, 1)) for values in Rational("gelu").coefficients()
        )

    def forward(self, x: Tensor) -> Tensor:
        return rational_by_sample(x, self.numerator, self.denominator)


class _OnSequences(nn.Module):
    """For modules that take ``[batch, length, channels]`` only."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x[None])[0]
        return output


class _InRows(nn.Module):
    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner, self.width = inner, width

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x.reshape(-1, self.width)).reshape(x.shape)
        return output


def build_functions(
    form: str, inputs: Sequence[Tensor], compiled: bool = False, width: int = 0
) -> dict[str, nn.Module]:
    """What is compared on inputs like these, by name; the peer comes first.

    Args:
        form: one of ``PEERS``.
        inputs: one tensor, or gate and up.
        compiled: with the formula compiled, too.
        width: of a block.
    """
    x = inputs[0]
    modules = _block_functions(x.shape[-1], width) if form == BLOCK else _FUNCTIONS[form]()
    if form == PLAIN:
        modules["raft.Rational, one a row"] = _BySample(len(x))
    if compiled and form in (PLAIN, GATED):
        modules["torch.compile of it"] = _Formula("silu" if form == GATED else "gelu")
        modules["torch.compile of it"].compile(dynamic=True)
    for name, make in OTHERS.items() if form == PLAIN else ():
        try:
            modules[name] = make(x)
            modules[name].to(x.device)(x.detach()[:1].requires_grad_()).sum().backward()
        except ImportError:
            modules.pop(name, None)
        except Exception as error:  # whatever another project's kernel raises
            modules.pop(name, None)
            reason = first_line(error)
            logging.getLogger("raft").warning("left out %s for %s: %s", name, x.dtype, reason)
    dtype = x.dtype if form == BLOCK else None
    return {name: module.to(x.device, dtype) for name, module in modules.items()}


def _plain_functions() -> dict[str, nn.Module]:
    return {
        "F.gelu": nn.GELU(),
        "F.gelu, again": nn.GELU(),
        "raft.Rational": Rational("gelu"),
        "raft.Rational, frozen": Rational("gelu").requires_grad_(False),
        "torch.ops.raft.rational": _ThroughOperator("gelu"),
        "the formula": _Formula("gelu"),
        "F.relu(x)²": SquaredReLU(),
        "raft.Rational of degrees (6, 4)": Rational("relu2", degrees=(6, 4)),
    }


def _gated_functions() -> dict[str, nn.Module]:
    return {
        PEERS[GATED]: _SwiGLU(),
        f"{PEERS[GATED]}, again": _SwiGLU(),
        "raft.rational_glu": _Gated(),
        "raft.Rational(gate) * up": _Apart(),
        "the gated formula": _Formula("silu"),
    }


def _channel_functions() -> dict[str, nn.Module]:
    return {
        "F.gelu": nn.GELU(),
        "F.gelu, again": nn.GELU(),
        "raft.Rational": Rational("gelu"),
        f"raft.Rational, {GROUPS} groups": Rational("gelu", groups=GROUPS, dim=1),
        f"raft.Rational, {GROUPS} groups, channels moved last": _ChannelsMoved("gelu", groups=GROUPS),
    }


def _block_functions(hidden: int, width: int) -> dict[str, nn.Module]:
    return {
        PEERS[BLOCK]: _Block(nn.SiLU(), hidden, width),
        f"{PEERS[BLOCK]}, again": _Block(nn.SiLU(), hidden, width),
        "with raft.Rational": _Block(Rational("silu"), hidden, width),
        "with raft.rational_glu": _BlockInOnePass(Rational("silu"), hidden, width),
    }


_FUNCTIONS = {PLAIN: _plain_functions, GATED: _gated_functions, CHANNELS: _channel_functions}


def _rational_activations(x: Tensor) -> nn.Module:
    made: nn.Module = import_module("rational.torch").Rational("gelu", degrees=(5, 4), cuda=x.is_cuda)
    return made


def _kat_rational(x: Tensor) -> nn.Module:
    return _OnSequences(import_module("kat_rational").KAT_Group(1, "gelu", x.device.type))


def _flash_kat(x: Tensor) -> nn.Module:
    if not x.is_cuda:
        raise ImportError("FlashKAT has no kernel for CPUs")
    kernel = import_module("rational_kat").FlashKAT_Group(x.shape[-1], 1, 1, 6, 4, "gelu", x.device.type)
    return _OnSequences(kernel)


def _flash_kat_in_rows(x: Tensor) -> nn.Module:
    """FlashKAT as wide as suits it: a program of it reads whole rows, and one group may have any shape."""
    if x.numel() % FLASH_KAT_WIDTH:
        raise ImportError(f"a multiple of {FLASH_KAT_WIDTH} elements is needed")
    return _InRows(_flash_kat(x.new_empty(1, FLASH_KAT_WIDTH)), FLASH_KAT_WIDTH)


OTHERS: dict[str, Callable[[Tensor], nn.Module]] = {
    "rational_activations": _rational_activations,
    "kat_rational": _kat_rational,
    "FlashKAT": _flash_kat,
    f"FlashKAT, in rows of {FLASH_KAT_WIDTH}": _flash_kat_in_rows,
}
"""Other rational kernels, timed where they can be imported."""
