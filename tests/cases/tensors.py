"""Tensors and modules that other code hands to the operator."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import raft
from tests.cases.replay import case


def same(actual: Tensor, expected: Tensor, tolerance: float = 1e-6) -> str:
    """``same``, or by how much not."""
    distance = float((actual - expected).detach().abs().max())
    return "same" if distance <= tolerance else f"off by {distance:g}"


@case("D", "torch.fx.symbolic_trace", "^same, a leaf$")
def _() -> str:
    model = nn.Sequential(nn.Linear(4, 4), raft.Rational())
    traced, x = torch.fx.symbolic_trace(model), torch.randn(3, 4)
    is_leaf = any(node.op == "call_module" and node.target == "1" for node in traced.graph.nodes)
    return f"{same(traced(x), model(x))}, {'a leaf' if is_leaf else 'traced through'}"


@case("D", "a jagged nested tensor", "^same same$")
def _() -> str:
    rows = [torch.randn(3, 4), torch.randn(5, 4)]
    nested = torch.nested.nested_tensor(rows, layout=torch.jagged, requires_grad=True)
    act = raft.Rational()
    actual = act(nested)
    actual.values().sum().backward()
    a = act.numerator.grad
    act.zero_grad()
    act(torch.cat(rows)).sum().backward()
    assert isinstance(a, Tensor)
    assert isinstance(act.numerator.grad, Tensor)
    return f"{same(actual.values(), act(torch.cat(rows)))} {same(a, act.numerator.grad, 1e-4)}"


@case("D", "torch.jit.script", r"Error: .*torch\.(compile|export|jit\.trace)")
def _() -> str:
    return str(torch.jit.script(raft.Rational()))


@case("D", "torch.nn.utils.skip_init", r"^torch.Size\(\[6\]\)$")
def _() -> str:
    return str(torch.nn.utils.skip_init(raft.Rational).numerator.shape)


@case("D", "device and dtype as of other modules", r"^meta torch\.float32$")
def _() -> str:
    options: dict[str, Any] = {"device": "meta", "dtype": torch.bfloat16}
    act = raft.Rational(**options)
    return f"{act.numerator.device} {act.numerator.dtype}"


@case("D", "inplace=True", "^same$")
def _() -> str:
    x = torch.linspace(-3, 3, 50)
    return same(raft.Rational("silu", inplace=True)(x), F.silu(x), 5e-3)


for name, start in (("module", nn.SiLU()), ("function", F.silu)):

    @case("D", f"a {name} to start from", "^same$")
    def _(start: Any = start) -> str:
        x = torch.linspace(-3, 3, 50)
        return same(raft.Rational(start)(x), F.silu(x), 5e-3)


@case("D", "torch.export.load without import raft", "documented")
def _() -> str:
    exported = torch.export.export(nn.Sequential(raft.Rational()), (torch.randn(3, 4),))
    torch.export.save(exported, "raft.pt2")
    shape = torch.export.load("raft.pt2").module()(torch.ones(3, 4)).shape
    docs = Path(__file__).parents[2] / "docs"
    told = any("torch.export.load" in page.read_text(encoding="utf-8") for page in docs.glob("*.md"))
    return f"{shape} {'documented' if told else ''}"


@case("D", "the largest float with zero coefficients", "^no NaN$")
def _() -> str:
    wrong = []
    for version in "ABCDN":
        x = torch.tensor([3.4e38, -3.4e38, 1.0], requires_grad=True)
        a, b = (torch.zeros(n, requires_grad=True) for n in (10, 9))
        raft.rational(x, a, b, version).sum().backward()
        if any(not torch.isfinite(each.grad).all() for each in (x, b) if each.grad is not None):
            wrong.append(version)
        assert b.grad is not None
        if b.grad.any():
            wrong.append(f"{version} not 0")
    return f"NaN in {wrong}" if wrong else "no NaN"


@case("D", "gradients of coefficients in float32", "^not worse than plain torch$")
def _() -> str:
    functions = (raft.rational, plain)
    errors: tuple[list[float], ...] = ([], [])
    for seed in range(40):
        torch.manual_seed(seed)
        x, up = 2 * torch.randn(257, 33), torch.randn(257, 33)
        a, b = 0.3 * torch.randn(4), 0.2 * torch.rand(2)
        truth = _gradient(x.double(), up.double(), a.double(), b.double(), plain)
        for function, actual in zip(functions, errors, strict=True):
            gradient = _gradient(x, up, a, b, function).double()
            actual.append(float((gradient - truth).norm() / truth.norm()))
    ours, theirs = map(median, errors)
    return "not worse than plain torch" if ours <= theirs else f"{ours:.2g}, and plain torch {theirs:.2g}"


def plain(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Version A in operations of torch."""
    p = torch.stack([a[k] * x**k for k in range(len(a))]).sum(0)
    q = 1 + torch.stack([(b[k] * x ** (k + 1)).abs() for k in range(len(b))]).sum(0)
    return p / q


def _gradient(x: Tensor, up: Tensor, a: Tensor, b: Tensor, function: Any) -> Tensor:
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    return torch.cat(torch.autograd.grad((function(x, a, b) * up).sum(), (a, b)))


@case("D", "an activation set in nn.TransformerEncoderLayer", "^same$")
def _() -> str:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
    layer.activation = raft.Rational("relu")
    x = torch.randn(2, 5, 8)
    expected = layer.train()(x)
    with torch.no_grad():
        return same(layer.eval()(x), expected, 1e-5)


@case("D", "matrices for Muon beside groups", "^matrices, no RAFs$")
def _() -> str:
    model = nn.Sequential(nn.Linear(8, 16), raft.Rational(groups=8), nn.Linear(16, 8))
    groups = {group["name"]: group["params"] for group in raft.param_groups(model, lr=1e-3)}
    matrices = {id(parameter) for parameter in groups["decay"]}
    rafs = {id(model[1].numerator), id(model[1].denominator)}
    told = "Muon" in str(raft.param_groups.__doc__)
    expected = {id(model[0].weight), id(model[2].weight)}
    return "matrices, no RAFs" if matrices == expected and not matrices & rafs and told else "not told apart"
