"""When ``transformers`` is patched: once it has been imported, so that ``import raft`` alone stays light.

The operator needs no ``transformers``, and whoever imports that gets the patches in either order.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module

from raft.after_import import call_after_import

ACTIVATIONS = "raft.hf.fixed_activations"
HOOKS = "raft.hf.saving.hooks"
PATCHES = {
    "transformers.activations": (ACTIVATIONS, "register"),
    "transformers.configuration_utils": (HOOKS, "patch_configurations"),
    "transformers.modeling_utils": (HOOKS, "patch_models"),
}
"""By the module of ``transformers`` that has to be imported: our module and function that patch it."""

_is_wanted = True


def install_when_imported() -> None:
    """Patch each module of ``transformers`` as soon as it is imported, as ``import raft`` does."""
    for module, patch in PATCHES.items():
        call_after_import(module, partial(_patch_if_wanted, *patch))


def install() -> None:
    """Patch ``transformers`` to honour the ``raf`` block, as ``import raft`` does; once is enough."""
    global _is_wanted
    _is_wanted = True
    for module, (ours, function) in PATCHES.items():
        import_module(module)
        getattr(import_module(ours), function)()


def uninstall() -> None:
    """Restore the classes of ``transformers`` that :func:`install` patched; a second call does nothing.

    Models keep their RAFs, but ``transformers`` no longer saves and loads these, nor knows raft's names of
    fixed activations. The Auto classes still know ``raft_bert``.

    Raises:
        RuntimeError: where other code has patched the same method since; nothing is restored then.
    """
    global _is_wanted
    import_module(HOOKS).restore()
    import_module(ACTIVATIONS).unregister()
    _is_wanted = False


def _patch_if_wanted(module: str, function: str) -> None:
    if _is_wanted:
        getattr(import_module(module), function)()
