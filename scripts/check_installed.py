"""Check an installed raft: the expected backend runs RAFs on the CPU, and its numbers are the reference's.

python scripts/check_installed.py --kernel     # the compiled one
python scripts/check_installed.py --no-kernel  # plain torch, as where the kernel was not built
"""

from __future__ import annotations

import argparse
from importlib.metadata import version

import torch

import raft
from raft.kernels import dispatch, reference


def main() -> None:
    """Print what was found; exit with status 1 where it is not what was expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", action=argparse.BooleanOptionalAction, required=True)
    expects_kernel = parser.parse_args().kernel
    backend = dispatch.backend_of("cpu")
    name = next(name for name, known in dispatch.BACKENDS.items() if known is backend)
    print(
        f"raft-transformers {version('raft-transformers')} in {raft.__path__[0]}, torch {torch.__version__}"
    )
    print(f"RAFs on the CPU are run by the backend {name!r}")
    if expects_kernel != (name == "cpu"):
        raise SystemExit("the compiled kernel " + ("is missing" if expects_kernel else "was not expected"))

    act = raft.Rational("gelu")
    x = torch.randn(64, 512, requires_grad=True)
    y = act(x)
    y.backward(torch.ones_like(y))
    numerator, denominator = act.numerator.detach(), act.denominator.detach()
    expected = reference.forward(x.detach(), numerator, denominator, act.version)
    torch.testing.assert_close(y.detach(), expected)
    grads = reference.backward(torch.ones_like(expected), x.detach(), numerator, denominator, act.version)
    for actual, grad in zip((x.grad, act.numerator.grad, act.denominator.grad), grads, strict=False):
        assert grad is not None
        torch.testing.assert_close(actual, grad.to(torch.float32), rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main()
