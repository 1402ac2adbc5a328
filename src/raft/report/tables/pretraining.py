"""Pretraining runs as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from raft.experiments.pretraining import PretrainingComparison
from raft.pretraining.variants import NEVER_TRAINED, RAF
from raft.report.tables.numbers import format_interval, format_signed
from raft.report.tables.text_table import TextTable

LEARNED = 0.02
"""Nats that a model must be below the unigram model to count as better than it."""
NOT_LEARNED = (
    "But no model knows more yet than the unigram model, which knows only how frequent each token is: train "
    "longer before you compare."
)


def tabulate_losses(comparison: PretrainingComparison, labels: Mapping[str, str] | None = None) -> TextTable:
    """A row a variant, with differences to the baseline that a column names; the unigram model's stands last.

    Args:
        comparison: of pretrainings.
        labels: words for the names of variants.
    """
    labels = labels or {}
    fixed = comparison.baseline or "baseline"
    headers = [
        "activation", "seeds", "validation loss (nats)", "perplexity", f"minus {fixed} [95 %]",
        f"{fixed}'s loss after", "seconds", "tokens/s",
    ]  # fmt: skip
    cells = []
    rows = comparison.rows()
    losses = {row["activation"]: row["loss"] for row in rows}
    for row in rows:
        if row["difference"] is not None:
            difference = format_interval(row["difference"], row["difference_low"], row["difference_high"], 3)
        elif fixed in losses and row["activation"] != fixed:  # one seed has no interval
            difference = format_signed(row["loss"] - losses[fixed], 3)
        else:
            difference = ""
        cells.append(
            [
                labels.get(row["activation"], row["activation"]),
                str(row["seeds"]),
                _format_mean(row["loss"], row["loss_std"], 3),
                _format_mean(row["perplexity"], row["perplexity_std"], 1),
                difference,
                _format_share_to_baseline(row),
                f"{row['seconds']:,.0f}",
                f"{row['tokens_per_second']:,.0f}",
            ]
        )
    first = comparison.variants[0].results[0]
    unigram = first.unigram_loss
    last = ["unigram model", "", f"{unigram:.3f}", f"{np.exp(unigram):.1f}", "", "", "", ""]
    table = pd.DataFrame([*cells, last], columns=headers)
    if (bits := [row["bits_per_byte"] for row in rows])[0] is not None:
        table.insert(4, "bits per byte", [*(f"{value:.3f}" for value in bits), ""])
    for name in rows[0]["accuracies"]:
        shares = [row["accuracies"].get(name) for row in rows]
        values = ["" if share is None else _format_percent(*share) for share in shares]
        by_unigrams = first.unigram_accuracies.get(name)
        table[f"{name} (%)"] = [*values, "" if by_unigrams is None else _format_percent(by_unigrams, None)]
        differences = [row["accuracy_differences"].get(name) for row in rows]
        if any(differences):
            texts = [
                "" if one is None else format_interval(100 * one.mean, 100 * one.low, 100 * one.high, 1)
                for one in differences
            ]
            table[f"{name} minus {fixed} [95 %]"] = [*texts, ""]
    return TextTable("Pretraining", table, labels=1)


def describe_numbers(comparison: PretrainingComparison) -> str:
    fixed = comparison.baseline
    text = f"{format_steps_and_tokens(comparison)} a run"
    text += "; mean ± standard deviation over seeds"
    if fixed is not None and len(comparison.variants[0].results) > 1:
        text += f"; differences in loss to {fixed}, paired by seed, with Student's interval"
    if fixed is not None and len(comparison.variants) > 1:
        text += f"; share of the steps after which {fixed}'s loss was reached, by the seeds that did"
    if len(comparison.variants) > 1:
        text += ". Seconds compare activations only if nothing else ran"
    return f"{text}. The unigram model knows only how frequent each token is."


def summarize(comparison: PretrainingComparison) -> str:
    """What came out, in a sentence or two: which is lowest, by how much, and whether it is more than chance.

    Empty where nothing is compared.
    """
    compared = [variant for variant in comparison.variants if variant.activation != comparison.baseline]
    if comparison.baseline is None or not compared:
        return ""
    best = min(compared, key=lambda variant: float(np.mean(variant.losses)))
    baseline = next(v for v in comparison.variants if v.activation == comparison.baseline)
    mean = float(np.mean(np.subtract(best.losses, baseline.losses)))
    subject = f"{best.activation} is"
    if len(compared) > 1:
        lowest = f"{best.activation} is the lowest of {len(compared)} beside {comparison.baseline}:"
        none = f"none of {len(compared)} is below {comparison.baseline}; the nearest, {best.activation}, is"
        subject = lowest if mean < 0 else none
    distance = f"{abs(mean):.3f} nats {'below' if mean < 0 else 'above'} {comparison.baseline}"
    text = f"After {best.results[0].steps:,} steps {subject} {distance}"
    seeds = len(best.losses)
    lowest_loss = min(np.mean(variant.losses) for variant in comparison.variants)
    if lowest_loss > best.results[0].unigram_loss - LEARNED:
        return f"{text}. {NOT_LEARNED}"
    if best.difference is None or seeds < 2:
        return f"{text}, with one seed: another one, or more steps, may say otherwise."
    interval = f"[{format_signed(best.difference.low, 3)}, {format_signed(best.difference.high, 3)}]"
    if best.difference.low <= 0 <= best.difference.high:
        chance = f"the 95 % interval {interval} includes zero"
        return f"{text}. With {seeds} seeds that is not more than chance: {chance}."
    caution = f" The lowest of {len(compared)} is picked here, which favours it." if len(compared) > 1 else ""
    has_control = any(NEVER_TRAINED in variant.activation for variant in compared)
    if mean < 0 and best.activation.partition(":")[0] == RAF and not has_control:
        control = f"{RAF}:{NEVER_TRAINED}"
        caution += f" More steps may change that; {control} beside it shows how much of it is learned."
    return f"{text}. With {seeds} seeds that is more than chance: 95 % interval {interval}.{caution}"


def format_steps_and_tokens(comparison: PretrainingComparison) -> str:
    """Of each run: ``8,000 steps, 32.8 M tokens``; from the fewest to the most where they differ."""
    results = [result for variant in comparison.variants for result in variant.results]

    def span(numbers: list[float], form: str) -> str:
        ends = dict.fromkeys(format(number, form) for number in (min(numbers), max(numbers)))
        return " to ".join(ends)

    steps = span([result.steps for result in results], ",")
    tokens = [result.tokens / 1e6 for result in results]
    return f"{steps} steps, {span(tokens, ',.1f' if min(tokens) >= 0.05 else ',.2g')} M tokens"


def _format_share_to_baseline(row: dict[str, Any]) -> str:
    if row["share_to_baseline"] is None:
        return ""
    return f"{row['share_to_baseline']:.0%} ({row['reached_baseline']} of {row['seeds']})".replace("%", " %")


def _format_percent(mean: float, std: float | None) -> str:
    return _format_mean(100 * mean, None if std is None else 100 * std, 1)


def _format_mean(mean: float, std: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")
