"""What ``raft pretrain`` and ``raft discover`` say while they run."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from raft.cli.quiet import Console
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.run import RESULT, PretrainingResult, PretrainingText, read_text
from raft.report.model_card import CARD, write_card
from raft.training.arguments import RaftTrainingArguments


class PretrainingConsole(Console):
    """Speaks for the main process alone.

    Args:
        recipe: of all runs.
        training: of them; its folder holds theirs.
        is_quiet: where another process speaks.
    """

    def __init__(
        self, recipe: PretrainingRecipe, training: RaftTrainingArguments, is_quiet: bool = False
    ) -> None:
        self.recipe = recipe
        self.writes = training.process_index == 0
        self.is_main = self.writes and not is_quiet
        super().__init__(quiet=not self.is_main)
        self.folder = training.folder
        results = [self.folder / RESULT, *self.folder.glob(f"**/{RESULT}")]
        self.before = {file.parent for file in results if file.is_file()}

    def read_text(self) -> PretrainingText:
        """Read the corpus, with a status line, and say how much there is."""
        reading = f"Reading the corpus {self.recipe.corpus}"
        if not self.is_terminal:  # which would show the status
            self.say_whole(reading)
        with self.status(Text(reading)) as status:
            text = read_text(
                self.recipe,
                lambda documents, tokens: status.update(
                    Text(f"Tokenizing {self.recipe.corpus}: {documents:,} documents, {tokens:,} tokens")
                ),
            )
        self.text = text
        self.say(
            f"{text.documents['train']:,} documents; {len(text.sequences):,} training and "
            f"{len(text.validation):,} validation sequences of {self.recipe.sequence_length} tokens; "
            f"vocabulary {len(text.tokenizer):,}"
        )
        return text

    def started(self, name: str, seed: int, folder: Path) -> None:
        """Say which run begins."""
        self.say_whole(f"Pretraining {name}, seed {seed}: {folder}")

    def finished(self, result: PretrainingResult, folder: Path) -> None:
        """Write the run's card, and say what came out."""
        if self.writes and not (folder / CARD).exists():
            write_card(folder, self.recipe.variant(result.activation), self.text, result)
        trained = "finished before" if folder in self.before else f"after {result.seconds:,.0f} s of training"
        shares = "".join(f", {name} {share:.1%}" for name, share in result.accuracies.items())
        self.say_whole(f"  validation loss {result.loss:.3f}{shares} {trained}: {folder}")
