"""The model card of a pretrained model: what it is, how it came about, its curve and its RAFs."""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import yaml
from huggingface_hub import ModelCard, ModelCardData

from raft.analysis.figure_style import write_figure
from raft.analysis.figures import draw_functions
from raft.analysis.learned import learned_functions
from raft.data.text.tokens import CLM
from raft.files import atomic_write, read_yaml
from raft.hf.histogram import count_inputs, joint_range
from raft.hf.sites.find import find_sites
from raft.networks.config import RafConfig
from raft.pretraining.architectures import AUTO_CLASSES, describe_model, load_model
from raft.pretraining.recipe import PretrainingRecipe, effective_options
from raft.pretraining.run import PretrainingResult, PretrainingText
from raft.pretraining.variants import RAF, is_learned, split_gate
from raft.report.loss_figures import draw_loss_curves
from raft.training.monitoring import write_inputs
from raft.training.run_folder import RECIPE

CARD = "README.md"
SEQUENCES = 256
"""Whose inputs of the RAFs are counted."""
PACKAGES = ("raft-transformers", "torch", "transformers")

TEXT = """---
{metadata}
---

# {title}

{what} It was pretrained by {modelling} language modelling with
`raft-transformers`, after Fang et al.,
[Transformers with Learnable Activation Functions](https://arxiv.org/abs/2208.14111), Findings of EACL 2023.

| | |
| --- | --- |
| validation loss | {loss:.4f} nats |
| perplexity | {perplexity:.2f} |{bits}
| unigram model's loss on the same text | {unigram:.4f} nats |
| steps | {steps:,} of {batch:,} sequences of {length} tokens |
| tokens read | {tokens:,} |
| training time | {seconds:,.0f} s, validation left out |
| parameters | {parameters:,} |
| corpus | `{corpus}`: {documents:,} documents to train on, {held_out:,} held out |
| seed | {seed} |

## Use

```python
import raft  # raft-transformers
from transformers import {auto_class}, AutoTokenizer

model = {auto_class}.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
```

![Validation loss against steps and seconds](curves.png)
{rafs}
## Recipe

```yaml
{recipe}```

Made with {versions}.
"""


def write_card(
    folder: Path, recipe: PretrainingRecipe, text: PretrainingText, result: PretrainingResult
) -> None:
    """Write ``README.md``, ``curves.png`` and, for a RAFT, ``activations.png`` and ``inputs.json``
    beside a run's model."""
    write_figure(draw_loss_curves([result]), folder / "curves.png", dpi=150)
    rafs = where = ""
    _, is_gated = split_gate(recipe.activation)
    is_raft = is_learned(recipe.activation)
    if is_raft:
        model = load_model(folder, recipe.objective)
        kinds = {site.kind for site in find_sites(model)}
        where = ", ".join(kind for kind in recipe.raf_sites if kind in kinds)
        sequences = range(min(SEQUENCES, len(text.validation)))
        batches = [{"input_ids": text.validation.batch([place])[0]} for place in sequences]
        # the pooler is not part of a masked language model
        inputs = {site: seen for site, seen in count_inputs(model, batches).items() if seen.total}
        interval = joint_range(inputs.values())
        functions = learned_functions(model, interval) if interval else []
        drawn = [function for function in functions if function.has_curve and function.site in inputs]
        if drawn:
            write_inputs(folder, inputs)
            write_figure(draw_functions(drawn, inputs), folder / "activations.png", dpi=150)
            rafs = "\n![Learned activations over what they were at the beginning](activations.png)\n"
    kind = "RAFT" if is_raft else "FAFT"
    variant = f", variant {result.activation}" if ":" in result.activation else ""
    model_text = describe_model(asdict(recipe))
    gates = "gated feed-forward layers and " if is_gated else ""
    what = f"{model_text[0].upper()}{model_text[1:]}, with {gates}" + (
        f"{_describe_functions(recipe)} at these sites: {where}."
        if is_raft
        else f"the fixed activation {recipe.activation}: the baseline of a RAFT."
    )
    is_causal = recipe.objective == CLM
    task = "text-generation" if is_causal else "fill-mask"
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=task,
        tags=["raft", "rational-activation-functions", task],
        datasets=[recipe.corpus.partition(":")[0]] if _is_hub_name(recipe.corpus) else None,
    )
    card = TEXT.format(
        metadata=metadata.to_yaml(),
        title=f"{kind}: {recipe.model_type}, {result.parameters:,} parameters{variant}",
        what=what,
        modelling="causal" if is_causal else "masked",
        auto_class=AUTO_CLASSES[recipe.objective],
        bits="" if result.bits_per_byte is None else f"\n| bits per byte | {result.bits_per_byte:.4f} |",
        loss=result.loss,
        perplexity=math.exp(result.loss),
        unigram=result.unigram_loss,
        steps=result.steps,
        batch=recipe.global_batch_size,
        length=recipe.sequence_length,
        tokens=result.tokens,
        seconds=result.seconds,
        parameters=result.parameters,
        corpus=recipe.corpus,
        documents=text.documents["train"],
        held_out=text.documents["validation"],
        seed=result.seed,
        name=folder.name,
        rafs=rafs,
        recipe=yaml.safe_dump(effective_options(read_yaml(folder / RECIPE, "recipe")), sort_keys=False),
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
    )
    with atomic_write(folder / CARD) as file:
        ModelCard(card).save(file)


def _describe_functions(recipe: PretrainingRecipe) -> str:
    """``rational activation functions (RAFs; version A, degrees (5, 4))``."""
    function, _ = split_gate(recipe.activation)
    if function == RAF:
        kind, form = "rational", [f"RAFs; version {recipe.version}", f"degrees {tuple(recipe.degrees)}"]
    else:
        settings = RafConfig.from_dict(recipe.raf_block()).settings
        kind, form = recipe.activation, ["learned", *(f"{name} {value}" for name, value in settings.items())]
    if recipe.raf_shared:
        form.append({"all": "one for all layers", "kind": "one for each kind of site"}[recipe.raf_shared])
    return f"{kind} activation functions ({', '.join(form)})"


def _is_hub_name(corpus: str) -> bool:
    return not Path(corpus).exists() and "/" in corpus
