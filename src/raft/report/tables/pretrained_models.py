"""A grid over models of ``raft pretrain``: which of them are compared."""

from __future__ import annotations

import pandas as pd

from raft.experiments.grid import PRETRAINED, PRETRAINING_SEED


def pair_pretrainings(results: pd.DataFrame) -> pd.DataFrame:
    """Models of ``raft pretrain`` in pairs: the activation is that of the pretraining, the model its seed.

    Args:
        results: one row a cell, with the columns of ``raft.experiments.grid.results``. They are left as they
            are where models differ in nothing but a seed, have others beside them, are converted, share no
            seed with the first, or where two have the same variant and seed.
    """
    if not _are_pretrainings(results) or results.activation.nunique() > 1:
        return results
    seeds = results.groupby(PRETRAINED)[PRETRAINING_SEED].agg(set)
    if len(seeds) < 2 or any(seeds[results[PRETRAINED].iloc[0]].isdisjoint(others) for others in seeds):
        return results
    named = results[PRETRAINING_SEED].astype(int).astype(str)
    return results.assign(activation=results[PRETRAINED], model="pretraining " + named)


def has_pretrainings(results: pd.DataFrame) -> bool:
    """Whether the models are pretrainings of one kind, which differ in a seed alone, and activations are
    compared within each.

    Args:
        results: of ``pair_pretrainings``.
    """
    if not _are_pretrainings(results) or results.activation.nunique() < 2 or results.model.nunique() < 2:
        return False
    return results[PRETRAINED].nunique() == 1 or bool((results.activation == results[PRETRAINED]).all())


def _are_pretrainings(results: pd.DataFrame) -> bool:
    if PRETRAINED not in results or results[PRETRAINED].isna().any():
        return False
    models = results.groupby([PRETRAINED, PRETRAINING_SEED]).model.nunique()
    return bool((models == 1).all())
