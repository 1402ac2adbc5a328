"""The operator as a citizen of PyTorch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap
from torch.utils.checkpoint import checkpoint

import raft
from raft.errors import InputError
from raft.kernels import dispatch, formula
from tests.kernels.oracle import coefficients
from tests.kernels.test_reference import written_out

operator = torch.ops.raft.rational


def tensors(groups: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    a, b = coefficients(groups, (5, 4), "A", 0, wide)
    if groups == 1:
        a, b = a[0], b[0]
    x = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)
    return x.requires_grad_(), a.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("version", ["A", "B", "C", "D"])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("function", [raft.rational, operator], ids=["eager", "operator"])
def test_gradcheck_twice(function: Callable[..., Tensor], groups: int, version: str) -> None:
    def evaluate(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return function(x, a, b, version)

    assert torch.autograd.gradcheck(evaluate, tensors(groups))
    assert torch.autograd.gradgradcheck(evaluate, tensors(groups))


@pytest.mark.parametrize("create_graph", [True, False])
@pytest.mark.parametrize("groups", [1, 4])
def test_several_gradients_at_once(groups: int, create_graph: bool) -> None:
    x, a, b = tensors(groups, torch.float32)
    y = raft.rational(x, a, b).sum(1)
    options = {"retain_graph": True, "create_graph": create_graph}
    together = torch.autograd.grad(y, (x, a, b), torch.eye(3), is_grads_batched=True, **options)
    one_by_one = [torch.autograd.grad(y, (x, a, b), row, **options) for row in torch.eye(3)]
    for actual, rows in zip(together, zip(*one_by_one, strict=True), strict=True):
        torch.testing.assert_close(actual, torch.stack(rows))
        assert actual.requires_grad == create_graph
    if create_graph:
        apart = [torch.stack(rows) for rows in zip(*one_by_one, strict=True)]
        twice = [
            torch.autograd.grad(torch.stack([g.square().sum() for g in grads]).sum(), x, retain_graph=True)[0]
            for grads in (together, apart)
        ]
        torch.testing.assert_close(*twice)


def test_forward_mode_over_a_backward_pass() -> None:
    x, a, b = tensors()
    y = raft.rational(x, a, b)
    ones, tangent = torch.ones_like(y), torch.randn_like(y)
    with forward_ad.dual_level():
        (grad,) = torch.autograd.grad(y, x, forward_ad.make_dual(ones, tangent), retain_graph=True)
        actual = forward_ad.unpack_dual(grad).tangent
    assert actual is not None
    torch.testing.assert_close(actual, torch.autograd.grad(y, x, tangent)[0])


@pytest.mark.parametrize("is_grad_enabled", [True, False])
def test_forward_mode_outside_of_torch_func(is_grad_enabled: bool) -> None:
    x, a, b = (tensor.detach() for tensor in tensors())
    tangent = torch.randn_like(x)
    expected = jvp(lambda x: raft.rational(x, a, b), (x,), (tangent,))[1]
    with torch.set_grad_enabled(is_grad_enabled), forward_ad.dual_level():
        actual = forward_ad.unpack_dual(raft.rational(forward_ad.make_dual(x, tangent), a, b)).tangent
    assert actual is not None
    torch.testing.assert_close(actual, expected)


def test_tensors_of_other_kinds_are_not_read_as_they_lie() -> None:
    act = raft.Rational("gelu")
    x = torch.linspace(-3, 3, 7)
    assert torch.equal(act(torch._neg_view(x)), act(-x))
    assert torch.equal(act(torch._efficientzerotensor((3,))), act(torch.zeros(3)))
    up = torch.linspace(1, 2, 7)
    glu = raft.rational_glu(x, torch._neg_view(up), act.numerator, act.denominator)
    assert torch.equal(glu, raft.rational_glu(x, -up, act.numerator, act.denominator))
    mode = torch._subclasses.FakeTensorMode()
    a, b = (mode.from_tensor(parameter.detach()) for parameter in act.parameters())
    with pytest.raises((RuntimeError, AssertionError)):
        raft.rational(x, a, b)  # which have no memory to be read


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_thin_path_is_the_operator(dtype: torch.dtype) -> None:
    actual = []
    for function in (raft.rational, operator):
        x, a, b = tensors(dtype=dtype)
        y = function(x, a, b, "A")
        actual.append((y, *torch.autograd.grad(y, (x, a, b), torch.ones_like(y))))
    assert all(torch.equal(one, two) for one, two in zip(*actual, strict=True))


backward_operator = torch.ops.raft.rational_backward.default
UNTRACED = ("test_schema", "test_autograd_registration", "test_faketensor")


@pytest.fixture(params=list(dispatch.BACKENDS))
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """In use while the test runs."""
    name: str = request.param
    if not dispatch.BACKENDS[name].runs_on("cpu"):
        pytest.skip(f"the backend {name} cannot run here")
    monkeypatch.setattr(dispatch, "_chosen", {"cpu": dispatch.BACKENDS[name]})
    return name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("groups", [1, 4])
def test_opcheck(backend: str, dtype: torch.dtype, groups: int) -> None:
    x, a, b = tensors(groups, dtype)
    torch.library.opcheck(operator.default, (x, a, b, "A"))
    torch.library.opcheck(operator.default, (x.detach().t().contiguous().t(), a, b, "B"))
    for wanted in (True, False):
        inputs = (x.detach().clone().requires_grad_(), x, a, b, "A", wanted)
        torch.library.opcheck(backward_operator, inputs, test_utils=UNTRACED)


def test_opcheck_when_gated(backend: str) -> None:
    gate, up, a, b = gated(4, torch.bfloat16)
    torch.library.opcheck(operator.default, (gate, a, b, "A", up))
    inputs = (gate.detach().clone().requires_grad_(), gate, a, b, "A", True, up)
    torch.library.opcheck(backward_operator, inputs, test_utils=UNTRACED)


def test_the_backward_operator_is_traced() -> None:
    """On the fastest backend alone; ``test_the_backward_operator_is_traced_everywhere`` has the others."""
    x, a, b = tensors(1, torch.float32)
    torch.library.opcheck(backward_operator, (x.detach().clone().requires_grad_(), x, a, b, "A", True))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("groups", [1, 4])
def test_the_backward_operator_is_traced_everywhere(backend: str, dtype: torch.dtype, groups: int) -> None:
    gate, up, a, b = gated(groups, dtype)
    for others in ((True,), (False,), (True, up)):
        inputs = (gate.detach().clone().requires_grad_(), gate, a, b, "A", *others)
        torch.library.opcheck(backward_operator, inputs)


def gated(groups: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, a, b = tensors(groups, dtype)
    up = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).to(dtype)
    return x, up.requires_grad_(), a, b


def gated_operator(x: Tensor, up: Tensor, a: Tensor, b: Tensor) -> Tensor:
    actual: Tensor = operator(x, a, b, "A", up)
    return actual


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("function", [raft.rational_glu, gated_operator], ids=["eager", "operator"])
def test_gradcheck_twice_when_gated(function: Callable[..., Tensor], groups: int) -> None:
    assert torch.autograd.gradcheck(function, gated(groups))
    assert torch.autograd.gradgradcheck(function, gated(groups))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_thin_path_is_the_operator_when_gated(dtype: torch.dtype) -> None:
    actual = []
    for function in (raft.rational_glu, gated_operator):
        inputs = gated(dtype=dtype)
        y = function(*inputs)
        actual.append((y, *torch.autograd.grad(y, inputs, torch.ones_like(y))))
    assert all(torch.equal(one, two) for one, two in zip(*actual, strict=True))


def apart(x: Tensor, up: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return written(x, a, b) * up


def test_function_transforms_when_gated() -> None:
    x, up, a, b = (t.detach() for t in gated())

    def loss(function: Callable[..., Tensor], x: Tensor, up: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return function(x, up, a, b).square().sum()

    for dims, gate, ups in (
        ((0, 0, None, None), x, up),
        ((0, None, None, None), x, up[0]),
        ((None, 0, None, None), x[0], up),
    ):
        each, expected = (
            vmap(grad(partial(loss, function), argnums=(0, 1, 2, 3)), in_dims=dims)(gate, ups, a, b)
            for function in (raft.rational_glu, apart)
        )
        torch.testing.assert_close(each, expected)
        torch.testing.assert_close(
            vmap(raft.rational_glu, dims)(gate, ups, a, b), vmap(apart, dims)(gate, ups, a, b)
        )
    many = torch.stack([a, 2 * a, a.flip(0)])
    torch.testing.assert_close(
        vmap(raft.rational_glu, (0, 0, 0, None))(x, up, many, b), vmap(apart, (0, 0, 0, None))(x, up, many, b)
    )
    tangents = tuple(torch.randn_like(t) for t in (x, up, a, b))
    torch.testing.assert_close(
        jvp(raft.rational_glu, (x, up, a, b), tangents), jvp(apart, (x, up, a, b), tangents)
    )
    torch.testing.assert_close(
        hessian(partial(loss, raft.rational_glu), argnums=(1, 3))(x, up, a, b),
        hessian(partial(loss, apart), argnums=(1, 3))(x, up, a, b),
    )


def test_one_row_of_coefficients_beside_several() -> None:
    x, a, _ = tensors()
    b = tensors(4)[2]
    assert torch.autograd.gradcheck(raft.rational, (x, a, b))
    whole = torch.cat([raft.rational(x[:, 2 * i : 2 * i + 2], a, b[i]) for i in range(4)], dim=-1)
    torch.testing.assert_close(raft.rational(x, a[None], b), whole)


def test_per_sample_gradients_and_hessians() -> None:
    x, a, b = (t.detach() for t in tensors())

    def loss(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
        return raft.rational(x, a, b).square().sum()

    each = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, None, 0))(a, b, x)
    for i in range(len(x)):
        for actual, expected in zip(each, grad(loss, argnums=(0, 1))(a, b, x[i]), strict=True):
            torch.testing.assert_close(actual[i], expected)
    traced = torch.autograd.functional.hessian(lambda b: written(x, a, b).square().sum(), b)
    torch.testing.assert_close(hessian(loss, argnums=1)(a, b, x), traced)
    torch.testing.assert_close(
        jacrev(lambda a: raft.rational(x, a, b))(a),
        torch.autograd.functional.jacobian(lambda a: written(x, a, b), a),
    )
    tangents = tuple(torch.randn_like(t) for t in (x, a, b))
    for actual, expected in zip(
        jvp(raft.rational, (x, a, b), tangents), jvp(written, (x, a, b), tangents), strict=True
    ):
        torch.testing.assert_close(actual, expected)


def written(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return written_out(x, a, b, "A")


def test_vmap_over_coefficients() -> None:
    x, a, b = (t.detach() for t in tensors())
    many = torch.stack([a, 2 * a, a.flip(0)])
    actual = vmap(lambda a, x: raft.rational(x, a, b))(many, x)
    torch.testing.assert_close(actual, torch.stack([raft.rational(x[i], many[i], b) for i in range(3)]))
    torch.testing.assert_close(
        vmap(lambda x: raft.rational(x, a, b), in_dims=1, out_dims=1)(x), raft.rational(x, a, b)
    )


@pytest.mark.parametrize("is_mapped", [True, False])
def test_pull_backs_where_gradients_are_off(is_mapped: bool) -> None:
    """As in a hook of a backward pass, where Opacus takes gradients by sample."""
    x, a, b = (t.detach() for t in tensors())
    arriving = torch.randn_like(x)

    def pull(function: Callable[..., Tensor], x: Tensor, arriving: Tensor) -> tuple[Tensor, ...]:
        gradients: tuple[Tensor, ...] = vjp(lambda a, b: function(x, a, b), a, b)[1](arriving)
        return gradients

    with torch.no_grad():
        for function in (pull, vmap(pull, in_dims=(None, 0, 0))) if is_mapped else (pull,):
            torch.testing.assert_close(
                function(raft.rational, x, arriving), function(written, x, arriving), rtol=1e-5, atol=1e-5
            )


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.act, self.down = nn.Linear(8, 32), raft.Rational(), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        actual: Tensor = self.down(self.act(self.up(x)))
        return actual


class GatedBlock(Block):
    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.up(x).chunk(2, dim=-1)
        y = raft.rational_glu(gate, up, self.act.numerator, self.act.denominator)
        actual: Tensor = self.down(torch.cat([y, y], dim=-1))
        return actual


def trained(
    step: Callable[[nn.Module, Tensor], Tensor], compiled: bool = False, make: Callable[[], Block] = Block
) -> tuple[list[float], dict[str, Tensor]]:
    torch.manual_seed(0)
    model = make()
    called: Any = torch.compile(model, fullgraph=True, dynamic=True) if compiled else model
    optimizer = torch.optim.AdamW(raft.param_groups(model, lr=1e-2))
    losses = []
    for size in (16, 16, 24, 40):
        x = torch.randn(size, 8, generator=torch.Generator().manual_seed(size))
        loss = step(called, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


def mean_square(model: Any, x: Tensor) -> Tensor:
    actual: Tensor = (model(x) - x).square().mean()
    return actual


@pytest.mark.slow
@pytest.mark.skipif(
    not any(shutil.which(compiler) for compiler in ("g++", "clang++", "c++")),
    reason="torch.compile needs a C++ compiler on CPUs",
)
@pytest.mark.parametrize("make", [Block, GatedBlock])
def test_compiled_training_agrees_with_eager_without_breaks_or_recompilation(
    make: Callable[[], Block],
) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    eager, compiled = (trained(mean_square, compiled, make) for compiled in (False, True))
    assert eager[0] == pytest.approx(compiled[0], rel=1e-5)
    for key, value in eager[1].items():
        torch.testing.assert_close(compiled[1][key], value, rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_checkpointing_changes_nothing() -> None:
    plain = trained(mean_square)
    saved = trained(lambda model, x: (checkpoint(model, x, use_reentrant=False) - x).square().mean())
    assert plain[0] == saved[0]


def test_autocast_computes_in_the_dtype_that_it_is_given() -> None:
    model = Block()
    seen = []
    model.act.register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean_square(model, torch.randn(4, 8)).backward()
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    assert model.act.numerator.grad is not None
    assert model.act.numerator.grad.dtype == torch.float32


def test_exported_programs_keep_the_operator() -> None:
    act = raft.Rational()
    batch = torch.export.Dim("batch")
    program = torch.export.export(act, (torch.randn(4, 8),), dynamic_shapes=({0: batch},))
    assert any(node.target == operator.default for node in program.graph.nodes)
    x = torch.randn(7, 8)
    assert torch.equal(program.module()(x), act(x))


@pytest.mark.parametrize("model", [raft.Rational("silu", version="C"), raft.Rational(groups=4)])
def test_exported_programs_are_loaded_with_the_operator_or_do_without_it(
    model: nn.Module, tmp_path: Path
) -> None:
    program = torch.export.export(model, (torch.randn(4, 8),))
    alone = program.run_decompositions({operator.default: formula.rational})
    called = {node.target for node in alone.graph.nodes if node.op == "call_function"}
    assert {target.namespace for target in called} == {"aten"}
    x = torch.randn(4, 8)
    for each in (program, alone):
        torch.export.save(each, tmp_path / "model.pt2")
        torch.testing.assert_close(torch.export.load(tmp_path / "model.pt2").module()(x), model(x))


@pytest.mark.parametrize(
    "model",
    [*(nn.Sequential(nn.Linear(8, 16), raft.Rational("gelu", version=v)) for v in "ABCN"), GatedBlock()],
    ids=["A", "B", "C", "N", "gated"],
)
def test_onnx_runtime_computes_the_exported_model(model: nn.Module, tmp_path: Path) -> None:
    model.eval()
    x = torch.randn(4, 8)
    shapes = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        model, (x,), str(tmp_path / "model.onnx"), dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    more = torch.randn(7, 8)
    (actual,) = session.run(None, {session.get_inputs()[0].name: more.numpy()})
    torch.testing.assert_close(torch.from_numpy(actual), model(more).detach(), rtol=1e-5, atol=1e-5)


def test_functional_call_with_other_coefficients() -> None:
    act = raft.Rational()
    twice = {name: 2 * value for name, value in act.named_parameters()}
    x = torch.randn(5)
    torch.testing.assert_close(
        functional_call(act, twice, (x,)), raft.rational(x, twice["numerator"], twice["denominator"])
    )


IN_TWO_PROCESSES = """
import gc, sys
import torch, torch.distributed as dist, torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from tests.kernels.test_dispatch import Block, mean_square

def gradients(rank, file):
    dist.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(Block())
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(3))
    mean_square(model, x[4 * rank : 4 * rank + 4]).backward()
    if rank == 0:
        torch.save([p.grad for p in model.parameters()], file + ".pt")
    dist.barrier()
    # as the group's last owner DDP's reducer would wait, holding the GIL, for a thread that waits for the GIL
    del model
    gc.collect()
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(gradients, (sys.argv[1],), nprocs=2)
"""


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tmp_path: Path) -> None:
    script, file = tmp_path / "two.py", tmp_path / "store"
    script.write_text(IN_TWO_PROCESSES)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    torch.manual_seed(0)
    model = Block()
    mean_square(model, torch.randn(8, 8, generator=torch.Generator().manual_seed(3))).backward()
    for actual, parameter in zip(
        torch.load(f"{file}.pt", weights_only=True), model.parameters(), strict=True
    ):
        torch.testing.assert_close(actual, parameter.grad)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [("triton3", "RAFT_KERNEL must be one of"), ("cpu", "RAFT_KERNEL=cpu cannot run on meta")],
)
def test_a_kernel_that_cannot_be_had_is_refused(
    kernel: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAFT_KERNEL", kernel)
    monkeypatch.setattr(dispatch, "_chosen", {})
    with pytest.raises(InputError, match=message):
        dispatch.backend_of("meta")


def test_the_fastest_kernel_that_can_run_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_chosen", {})
    monkeypatch.delenv("RAFT_KERNEL", raising=False)
    able = [backend for backend in dispatch.BACKENDS.values() if backend.runs_on("cpu")]
    assert dispatch.backend_of("cpu") is able[0]
    assert dispatch.BACKENDS["reference"] is able[-1]


def test_the_kernel_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAFT_KERNEL", "reference")
    monkeypatch.setattr(dispatch, "_chosen", {})
    assert dispatch.backend_of("cpu") is dispatch.BACKENDS["reference"]


@pytest.mark.parametrize(
    ("x", "numerator", "denominator", "message"),
    [
        ([6], [6], [4, 4], "4 groups do not divide the last axis"),
        ([8], [2, 6], [4, 4], "numerator must have shape"),
        ([8], [1, 2, 6], [4], "numerator must have shape"),
        ([8], [14], [4], "degrees must be from 0 to 12"),
        ([], [2, 6], [2, 4], "2 groups do not divide the last axis"),
    ],
)
def test_bad_shapes_are_refused(
    x: list[int], numerator: list[int], denominator: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        raft.rational(torch.ones(x), torch.ones(numerator), torch.ones(denominator))


def test_gates_that_do_not_fit_are_refused() -> None:
    a, b = torch.ones(6), torch.ones(4)
    with pytest.raises(ValueError, match=r"one shape and device, not \[3\] on cpu and \[1\] on cpu"):
        raft.rational_glu(torch.ones(3), torch.ones(1), a, b)
    with pytest.raises(TypeError, match=r"one dtype, not torch.float32 and torch.bfloat16"):
        raft.rational_glu(torch.ones(3), torch.ones(3, dtype=torch.bfloat16), a, b)


def test_float64_coefficients_are_used_as_such_when_gated() -> None:
    gate, up, a, b = gated(dtype=torch.float32)
    y = raft.rational_glu(gate, up, a.double(), b.double())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, raft.rational_glu(gate, up, a, b))


def test_coefficients_elsewhere_are_refused() -> None:
    with pytest.raises(ValueError, match="must be on one device, not cpu, meta and cpu"):
        raft.rational(torch.ones(3), torch.ones(6, device="meta"), torch.ones(4))
