"""Tables of zero-shot tests: models side by side, and their differences to the first."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from raft.evaluation.intervals import Estimate
from raft.evaluation.last_words import LastWordsComparison, LastWordsResult
from raft.evaluation.minimal_pairs import PairsComparison, PairsResult
from raft.evaluation.perplexity import PerplexityComparison, PerplexityResult
from raft.evaluation.tasks import Comparison, Result
from raft.report.tables.text_table import TextTable

NOTE = "In brackets 95 % intervals over items; ties count half"


def make_evaluation_tables(
    task: str, names: Sequence[str], results: Sequence[Result], comparisons: Sequence[Comparison]
) -> list[TextTable]:
    """Tables of one test; of minimal pairs one by phenomenon, and one by paradigm.

    Args:
        task: the test's name.
        names: of the models, short.
        results: of each model.
        comparisons: of each but the first, with the first.
    """
    pairs = [result for result in results if isinstance(result, PairsResult)]
    if not pairs:
        columns = {"": [name for name, _ in _measures(results[0])]}
        for name, result in zip(names, results, strict=True):
            columns[name] = [text for _, text in _measures(result)]
        for name, comparison in zip(names[1:], comparisons, strict=True):
            columns[f"{name} − {names[0]}"] = _differences(results[0], comparison)
        return [TextTable(task, pd.DataFrame(columns), 1, "In brackets 95 % intervals over items")]
    differences = [comparison for comparison in comparisons if isinstance(comparison, PairsComparison)]
    return [
        _tabulate_pairs(
            task,
            kind,
            score,
            names,
            pairs,
            differences,
        )
        for kind, score in (("phenomena", "sum"), ("phenomena", "mean"), ("paradigms", "sum"))
    ]


def _tabulate_pairs(
    task: str,
    kind: str,
    score: str,
    names: Sequence[str],
    results: Sequence[PairsResult],
    comparisons: Sequence[PairsComparison],
) -> TextTable:
    by, ties = f"by_{score}", "ties" if score == "sum" else "ties_by_mean"
    groups = [{**getattr(result, kind), "all": result.overall} for result in results]
    rows = list(groups[0])
    columns = {kind: rows, "pairs": [str(group.items) for group in groups[0].values()]}
    for name, of_model in zip(names, groups, strict=True):
        columns[name] = [_format_share(getattr(of_model[row], by)) for row in rows]
        if any(getattr(of_model[row], ties) for row in rows):
            columns[f"ties of {name}"] = [str(getattr(of_model[row], ties)) for row in rows]
    for name, comparison in zip(names[1:], comparisons, strict=True):
        of_pair = {**getattr(comparison, kind), "all": comparison.overall}
        columns[f"{name} − {names[0]}"] = [_format_share(getattr(of_pair[row], by), "+") for row in rows]
    title = f"{task}: accuracy in %, {kind} by {score}, {results[0].score}"
    return TextTable(title, pd.DataFrame(columns), 1, NOTE)


def _measures(result: Result) -> list[tuple[str, str]]:
    if isinstance(result, LastWordsResult):
        return [
            ("accuracy of last words, %", _format_share(result.accuracy)),
            ("perplexity of last words", _format(result.perplexity, ".2f")),
            ("passages", str(result.items)),
            ("cut to the model's positions", str(result.cut)),
        ]
    assert isinstance(result, PerplexityResult)
    return [
        ("bits per byte", _format(result.bits_per_byte, ".4f")),
        ("loss, nats a token", _format(result.loss, ".4f")),
        ("perplexity", _format(result.perplexity, ".2f")),
        ("documents", str(result.documents)),
        ("tokens", str(result.tokens)),
    ]


def _differences(result: Result, comparison: Comparison) -> list[str]:
    texts = [""] * len(_measures(result))
    if isinstance(comparison, LastWordsComparison):
        texts[0] = _format_share(comparison.accuracy, "+")
    elif isinstance(comparison, PerplexityComparison):
        texts[0] = _format(comparison.bits_per_byte, "+.4f")
    return texts


def _format_share(share: Estimate, sign: str = "") -> str:
    return _format(share.map(lambda value: 100 * value), f"{sign}.1f")


def _format(estimate: Estimate, form: str) -> str:
    text = f"{estimate.value:{form}}"
    if estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return text.replace("-", "−")
