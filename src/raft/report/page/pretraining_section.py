"""What the page shows of a pretraining, or of several side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raft.analysis.comparison_figures import Evolution
from raft.analysis.figure_style import draw_legend
from raft.analysis.function_measures import make_domain
from raft.analysis.snapshots import find_known_name, label_sites, read_inputs, read_snapshots
from raft.experiments.pretraining import PretrainingComparison
from raft.networks.build import DEFAULT_START
from raft.pretraining.architectures import describe_model
from raft.pretraining.recipe import effective_options
from raft.pretraining.run import RESULT, PretrainingResult
from raft.pretraining.samples import Sample, read_samples
from raft.pretraining.variants import folder_name, is_learned
from raft.report.loss_figures import (
    AGAINST,
    draw_accuracies,
    draw_loss_curves,
    draw_loss_differences,
    needs_own_legend,
)
from raft.report.page.blocks import Block, Drawing, Fact, Facts, Gallery, Prose, Tabular
from raft.report.page.page import Section
from raft.report.page.sections import (
    build_learned_blocks,
    build_repeat_blocks,
    find_baselines,
    make_difference_fact,
    read_recipe,
    select_curves,
    shorten_corpus,
)
from raft.report.page.viewer import ViewerRun
from raft.report.tables import pretraining
from raft.report.tables.text_table import TextTable

FRAMES, MOST_ROWS = 6, 12
"""Of a strip of learned functions."""
MOST_NAMES = 3
"""Of variants in a heading."""


def build_pretraining_section(folder: Path, comparison: PretrainingComparison) -> Section:
    """Of a pretraining, or several, and the folders of its runs where they are kept.

    Raises:
        InputError: for files that cannot be read.
    """
    is_one_run = (folder / RESULT).is_file()
    folders = {
        (result.activation, result.seed): folder
        if is_one_run
        else folder / folder_name(result.activation, result.seed)
        for variant in comparison.variants
        for result in variant.results
    }
    recipes = {run: recipe for run, place in folders.items() if (recipe := read_recipe(place))}
    recipe = next(iter(recipes.values()), {})
    fixed = comparison.baseline
    kept = {run: snapshots for run, place in folders.items() if (snapshots := read_snapshots(place))}
    has_variants = len({name for name, _ in kept}) > 1
    runs = [
        ViewerRun(
            {"variant": name, "seed": str(seed)} if has_variants else {"seed": str(seed)},
            snapshots,
            find_baselines(snapshots, _start(recipes.get((name, seed)), fixed)),
            read_inputs(folders[name, seed]),
        )
        for (name, seed), snapshots in kept.items()
    ]
    table = pretraining.tabulate_losses(comparison)
    names = _join_names([variant.activation for variant in comparison.variants], fixed)
    results = [result for variant in comparison.variants for result in variant.results]
    blocks: list[Block] = [
        *([Prose(answer, "lead")] if (answer := pretraining.summarize(comparison)) else []),
        Prose(_describe_pretraining(comparison, recipe), "quiet" if answer else "lead"),
        Facts(_collect_facts(comparison, fixed)),
        Tabular(table, pretraining.describe_numbers(comparison)),
        _draw_losses(comparison, results),
        *_draw_accuracies(results),
        *_quote_samples(folders),
        *build_learned_blocks(runs, "variant" if has_variants else None),
        *_draw_evolution(select_curves(runs)[0]),
        *build_repeat_blocks(
            comparison.command,
            comparison.setup,
            effective_options(recipe),
            "of the first run" if len(recipes) > 1 else "",
        ),
    ]  # fmt: skip
    return Section(folder.resolve().name, f"Pretraining: {names}", blocks)


def _join_names(names: Sequence[str], fixed: str | None) -> str:
    """``raf and gelu``; of many, ``gelu and 5 others``."""
    if len(names) > MOST_NAMES:
        return f"{fixed or names[0]} and {len(names) - 1} others"
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _start(recipe: dict[str, Any] | None, fixed: str | None) -> str:
    """The function beside which those of a run are drawn: the one that they started from, if any."""
    if recipe:
        return find_known_name(recipe.get("raf_init")) or DEFAULT_START
    return fixed or DEFAULT_START


def _draw_losses(comparison: PretrainingComparison, results: Sequence[PretrainingResult]) -> Block:
    """Losses and differences, each a figure that a phone can show whole."""
    is_apart = needs_own_legend(variant.activation for variant in comparison.variants)
    figures = {
        f"Validation losses against the {label}": draw_loss_curves(results, [label], not is_apart)
        for label in AGAINST
    }
    caption = "Validation loss against steps and against seconds of training, a line a run."
    if differences := draw_loss_differences(comparison, not is_apart):
        figures[f"Differences in validation loss to {comparison.baseline} against steps"] = differences
        caption += (
            f" Then the same minus {comparison.baseline}'s of the same seed: a thin line a run, the mean "
            "over seeds bold. The axis is for the later part; early differences may go beyond it."
        )
    if is_apart:
        figures["Legend"] = draw_legend(list(figures.values())[:1])
    drawings = [Drawing(figure, label) for label, figure in figures.items()]
    return Gallery(drawings, caption, is_wide=True)


def _draw_evolution(runs: Sequence[ViewerRun]) -> list[Block]:
    """Frames of the first run's RAFs."""
    if not runs or len(runs[0].snapshots) < FRAMES:
        return []
    run = runs[0]
    sites = [site for site, raf in run.last.rafs.items() if raf.groups == 1][:MOST_ROWS]
    if not sites:
        return []
    evolution = Evolution(
        {snapshot.step: {site: snapshot.rafs[site].first for site in sites} for snapshot in run.snapshots},
        {site: make_domain(run.inputs.get(site)) for site in sites},
        run.baselines,
        label_sites([run.last.places]),
    )
    of = ", ".join(f"{name} {value}" for name, value in run.settings.items())
    caption = f"On the way, {of}: each row a RAF (solid), over the fixed function (dashed)."
    label = "RAFs at steps of the pretraining"
    return [Drawing(evolution.strip(FRAMES), label, caption, animate=evolution.write_gif)]


def _draw_accuracies(results: Sequence[PretrainingResult]) -> list[Block]:
    figures = draw_accuracies(results)
    if not figures:
        return []
    if any(result.accuracy_history for result in results):
        caption = "Accuracy on a sample of minimal pairs along the training; chance is 50 %."
    else:
        caption = "Accuracy on minimal pairs at the end: means over runs, each a dot; chance is 50 %."
    drawings = [Drawing(figure, f"Accuracies on {name}") for name, figure in figures.items()]
    return [Gallery(drawings, caption, is_wide=True)]


def _quote_samples(folders: Mapping[tuple[str, int], Path]) -> list[Block]:
    """What the first run of each variant wrote, side by side."""
    first: dict[str, list[Sample]] = {}
    for (name, _), place in folders.items():
        if name not in first and (samples := read_samples(place)):
            first[name] = samples
    if not first:
        return []
    rows = [
        [" ".join(text.split()) for text in (sample.prompt, name, sample.likeliest, sample.drawn)]
        for samples in zip(*first.values(), strict=False)
        for name, sample in zip(first, samples, strict=True)
    ]
    columns = ["prompt", "activation", "likeliest", "drawn"]
    note = "Held-out text, and what the first run of each activation wrote after it."
    return [Tabular(TextTable("Samples", pd.DataFrame(rows, columns=columns), labels=4), note)]


def _describe_pretraining(comparison: PretrainingComparison, recipe: Mapping[str, Any]) -> str:
    first = comparison.variants[0].results[0]
    runs = sum(len(variant.results) for variant in comparison.variants)
    text = f"{runs} {'run' if runs == 1 else 'runs'}"
    if runs > 1:
        counts = {len(variant.results) for variant in comparison.variants}
        text += f" ({counts.pop()} of each)" if len(comparison.variants) > 1 and len(counts) == 1 else ""
    text += f" of {pretraining.format_steps_and_tokens(comparison)} each"
    if recipe:
        get = defaultdict(lambda: "?", recipe)
        text += (
            f": {describe_model(recipe)}, {first.parameters:,} parameters, "
            f"on {shorten_corpus(str(get['corpus']))}, "
            f"{get['global_batch_size']} sequences of {get['sequence_length']} tokens a step"
        )
    documents = comparison.setup.get("documents", {}).get("train")
    return text + (f", {documents:,} documents." if documents else ".")


def _collect_facts(comparison: PretrainingComparison, fixed: str | None) -> list[Fact]:
    facts = []
    names = [variant.activation for variant in comparison.variants]
    main = {next(filter(is_learned, names), names[0]), fixed or names[0]}  # all others are in the table
    for row, variant in zip(comparison.rows(), comparison.variants, strict=True):
        if variant.activation not in main:
            continue
        spread = "" if row["loss_std"] is None else f"± {row['loss_std']:.3f} over {row['seeds']} seeds"
        facts.append(Fact(f"validation loss, {variant.activation}", f"{row['loss']:.3f} nats", spread))
        if variant.difference is not None:
            facts.append(
                make_difference_fact(
                    variant.difference.mean, variant.difference, f"to {fixed}, paired by seed"
                )
            )
    unigram = comparison.variants[0].results[0].unigram_loss
    return [*facts, Fact("unigram model", f"{unigram:.3f} nats")]
