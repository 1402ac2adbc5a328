"""Compile every form of the Triton kernels for a GPU that need not be there; a program for test_triton.py.

Triton's interpreter takes code that its compiler refuses. Prints a line for each kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch

torch.version.cuda = (
    torch.version.cuda or "13.0"
)  # a build for CPUs would read the kernels as plain functions

from raft.kernels import triton as kernels  # noqa: E402
from raft.kernels.reference import CONSTANT_TERM  # noqa: E402

triton: Any = import_module("triton")
compiler: Any = import_module("triton.compiler")
target = import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64"}


def compiled(kernel: Any, launch: kernels.Launch, dtype: torch.dtype, constants: dict[str, Any]) -> Any:
    """A kernel for pointers and strides that are divisible by 16, as those of most tensors."""
    wide = "fp64" if dtype == torch.float64 else "fp32"
    kinds = {"a_ptr": f"*{wide}", "b_ptr": f"*{wide}", "table_ptr": f"*{wide}", "limit": "fp32"}
    kinds |= {"grad_a_ptr": f"*{wide}", "grad_b_ptr": f"*{wide}"}
    signature, attributes, values = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name], values[(i,)] = "constexpr", constants[name]
            continue
        signature[name] = kinds.get(name, f"*{DTYPES[dtype]}" if name.endswith("_ptr") else "i32")
        if name.endswith(("_ptr", "stride")) or name in ("channels", "length"):
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = compiler.ASTSource(kernel, signature, values, attributes)
    options = {"num_warps": launch.warps, "maxnreg": launch.registers}
    return triton.compile(source, target=target, options=options)


def forms() -> Iterator[tuple[torch.dtype, str, int, dict[str, Any]]]:
    """Dtype, version, columns of a tile, and the other constants of both kernels."""
    for dtype in DTYPES:
        yield dtype, "A", 1024, {"GATED": False, "SUMS": True}
    for version in ("B", "C", "N"):
        yield torch.float32, version, 1024, {"GATED": False, "SUMS": True}
    yield torch.bfloat16, "A", 64, {"GATED": True, "SUMS": True}
    yield torch.bfloat16, "A", 1, {"GATED": False, "SUMS": False}


for dtype, version, columns, constants in forms():
    for name, launches in (("_forward", kernels.FORWARD), ("_backward", kernels.BACKWARD)):
        is_heavy = name == "_backward" and constants["GATED"]
        launch = kernels.HEAVY_BACKWARD if is_heavy else launches[dtype.itemsize]
        m, n = (5, 4) if version != "C" else (1, 3)
        shared = {"M": m, "N": n, "KIND": kernels.KINDS[version], "CONSTANT": CONSTANT_TERM[version]}
        shared |= kernels.tile_constants(launch, min(columns, launch.block), dtype) | constants
        machine_code = compiled(getattr(kernels, name), launch, dtype, shared).asm["cubin"]
        assert machine_code
        print(name, DTYPES[dtype], version, columns, constants, len(machine_code))
shared = {"M": 5, "N": 4, "KIND": 0, "AT_ONCE": kernels.TOTAL}
assert compiled(kernels._add_up, kernels.BACKWARD[4], torch.float32, shared).asm["cubin"]
print("_add_up")
