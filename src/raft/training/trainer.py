"""A thin ``transformers.Trainer``: RAF group, deterministic draws, divergence checks, atomic checkpoints."""

from __future__ import annotations

import gc
import json
import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset, SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, Trainer
from transformers.trainer_utils import SaveStrategy, TrainOutput

from raft.data.text.masking import MaskedSequences
from raft.data.text.sequences import IGNORED, TokenSequences
from raft.errors import InputError, TrainingError, TrainingStopped, first_line
from raft.files import write_text
from raft.training import checkpoints
from raft.training.arguments import RaftTrainingArguments
from raft.training.distributed import all_reduce_max, run_on_main_and_broadcast
from raft.training.losses import causal_lm_loss, find_head, masked_lm_loss, validation_losses
from raft.training.monitoring import ProgressWithLoss, coefficient_scalars
from raft.training.optimizer import can_fuse, param_groups, schedule
from raft.training.stopping import Clock, StopOnSignal, TimeBudget

STEP_SECONDS = "step_seconds"
"""Key in the log of a validation: time of training so far, see ``Clock``."""

CHECK_EVERY = 100
"""Steps between checks that the loss is finite, where a check synchronises with the device."""

FINITE = torch.iinfo(torch.int64).max


class RaftTrainer(Trainer):
    """``transformers.Trainer`` with the groups of ``raft.param_groups``, and safe checkpoints.

    ``MaskedSequences`` and ``CausalSequences`` are read in their own order, trained with a loss that is
    computed at the targets only and normalised by those of the whole batch, over all accumulated parts and
    processes, and validated exactly: the mean over all targets. A ``data_collator`` for them gives what their
    ``collate`` does. Anything else trains as in ``Trainer``.

    Checkpoints appear whole and are verified before they are resumed from (``raft.training.checkpoints``). A
    training that resumes goes on with the same bits on the same number of processes, with the same sequences
    in each step on any other; ``args.time_budget_hours`` counts the time before.

    Raises:
        InputError: where one process sees several GPUs, or sequences are to come from one process.
        TrainingError: where the loss or the weights are not finite, at once on a CPU, elsewhere within 100
            steps and before anything is saved; where a checkpoint cannot be written.
    """

    args: RaftTrainingArguments
    model: PreTrainedModel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pop_callback(PrinterCallback)
        self.pop_callback(ProgressCallback)
        if not self.args.disable_tqdm:
            self.add_callback(ProgressWithLoss(self._tokens_a_step))
        texts = self.train_dataset
        self.is_language_modelling = isinstance(texts, TokenSequences)
        if isinstance(texts, TokenSequences):
            # the losses below are normalised by the targets of the whole batch
            self.model_accepts_loss_kwargs = True
            if kwargs.get("data_collator", args[2] if len(args) > 2 else None) is None:
                self.data_collator = texts.collate
            accelerator: Any = self.args.accelerator_config
            # the one slices what is not one row a sequence, the other makes batches smaller
            for name in ("dispatch_batches", "split_batches"):
                if getattr(accelerator, name):
                    raise InputError(
                        f"accelerator_config: {name} is not for sequences of tokens; leave it out"
                    )
            if self.args.n_gpu > 1:
                raise InputError(
                    f"one process sees {self.args.n_gpu} GPUs; start one for each with 'torchrun "
                    f"--nproc-per-node={self.args.n_gpu}', or hide the others with CUDA_VISIBLE_DEVICES=0"
                )
            self.args.average_tokens_across_devices = True
        self.clock = Clock()
        self.add_callback(self.clock)
        hours = self.args.time_budget_hours
        self.budget = None if hours is None else TimeBudget(self.clock, hours)
        if self.budget is not None:
            self.add_callback(self.budget)
        self._losses: Callable[..., Tensor] | None = None
        self._head: nn.Module | None = None
        if isinstance(texts, TokenSequences):
            self._head = self._find_head(texts)
        self._checks_each_step = self.args.device.type == "cpu"
        self._first_bad_step: Tensor | None = None
        self._staging = False
        self._saved_step = -1

    def _find_head(self, texts: TokenSequences) -> nn.Module | None:
        if not len(texts):
            raise InputError("there is no sequence to train on")
        length = texts.sequences.shape[1]
        try:
            return find_head(self.model, texts.batch([0])[0])
        except (IndexError, RuntimeError, ValueError) as error:  # positions, say, that it has not
            raise InputError(
                f"{type(self.model).__name__} cannot read a sequence of {length} tokens: {first_line(error)}"
            ) from error

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train, or go on.

        Args:
            resume_from_checkpoint: a checkpoint, or True for the newest one in ``output_dir`` that is whole;
                the training starts from the beginning where there is none. By default that of ``args``.
            trial: as in ``Trainer``.
            ignore_keys_for_eval: as in ``Trainer``.

        Raises:
            InputError: where the checkpoint that is named is not whole, or its steps were of another size.
            TrainingError: see the class.
            TrainingStopped: after a signal, where there is a ``StopOnSignal`` callback.
        """
        if resume_from_checkpoint is None:
            resume_from_checkpoint = self.args.resume_from_checkpoint
        chosen = self._choose_checkpoint(resume_from_checkpoint)
        self._check_draws()
        self.clock.restore({} if chosen is None else checkpoints.read_state(chosen).clock)
        self._losses, self._first_bad_step, self._saved_step = None, None, -1
        if chosen is not None:
            logging.getLogger("raft").info("going on from %s", chosen)
        stops = [c for c in self.callback_handler.callbacks if isinstance(c, StopOnSignal)]
        is_evaluated = self.args.eval_on_start
        self.args.eval_on_start = is_evaluated and chosen is None  # where it goes on is no start
        try:
            output: TrainOutput = super().train(
                None if chosen is None else str(chosen), trial, ignore_keys_for_eval
            )
        finally:
            self.args.eval_on_start = is_evaluated
            for stop in stops:
                stop.release()
        self._drop_wrapper()
        for stop in (stop for stop in stops if stop.agreed):
            message = stop.message(self.state.global_step)
            if self.is_world_process_zero():
                print(message, flush=True)
            raise TrainingStopped(message)
        self._raise_if_diverged(weights=True)
        return output

    def _check_draws(self) -> None:
        """Refuse to train sequences in the same order, and masked alike, again: draws are never repeated."""
        if not isinstance(self.train_dataset, TokenSequences) or self.budget is not None:
            return  # of a budget, ``max_steps`` is an upper bound
        draws = len(self.train_dataset)
        needed = math.ceil(self.args.num_train_epochs * draws)
        if self.args.max_steps > 0:
            needed = self.args.max_steps * self.get_total_train_batch_size(self.args)
        if needed > draws:
            raise InputError(
                f"{needed} sequences are to be trained, and the training data have {draws} draws: give them "
                "as many"
            )

    def _drop_wrapper(self) -> None:
        """Release DDP before its process group is destroyed.

        Were its reducer the group's last owner, it would wait, holding Python's lock, for a thread of gloo's
        that waits for this lock.
        """
        if isinstance(self.model_wrapped, DistributedDataParallel):
            self.model_wrapped = self.model
            gc.collect()

    def create_optimizer(self, model: Any = None) -> Optimizer:
        model = self.model if model is None else model
        if self.optimizer is None:
            a = self.args
            groups = param_groups(
                model,
                a.learning_rate,
                a.raf_learning_rate,
                a.weight_decay,
                a.raf_weight_decay,
            )
            given = self.optimizer_cls_and_kwargs
            try:
                kind, options = given or self.get_optimizer_cls_and_kwargs(a, model)
            except (ImportError, ValueError) as error:
                name = getattr(a.optim, "value", a.optim)
                raise InputError(f"optim is {name!r}: {first_line(error)}") from error
            if given is None and kind is AdamW:
                options["fused"] = can_fuse(groups) or None
            self.optimizer_cls_and_kwargs = kind, {"params": groups, **options}  # not Trainer's own groups
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        if self.lr_scheduler is None:
            budget, kind = self.budget, self.args.lr_scheduler_type
            self.lr_scheduler = schedule(
                optimizer or self.create_optimizer(),
                self.args.warmup_steps,
                num_training_steps,
                getattr(kind, "value", kind),
                self.args.raf_lr_scheduler_type,
                None if budget is None else lambda: budget.share,
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        if self.is_language_modelling:
            return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]
        return super()._get_train_sampler(train_dataset)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # Trainer looks at the end after a step: one that resumed at its end would train one more
        is_over = self.state.global_step >= self.state.max_steps
        if self.budget is not None:
            self.budget.update(self.args.device)
            is_over = is_over or self.budget.is_spent
        if is_over:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    # ---- the loss ----

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if not self.is_language_modelling:
            result = super().compute_loss(model, dict(inputs), return_outputs, num_items_in_batch)
        else:
            result = self._language_model_loss(model, inputs, num_items_in_batch)
        self._record_divergence(result[0] if isinstance(result, tuple) else result)
        return result

    def _language_model_loss(
        self, model: Any, inputs: Mapping[str, Any], count: Tensor | int | None
    ) -> Tensor:
        wrapper = getattr(model, "_orig_mod", model)  # what torch.compile made stands outermost
        bare = self.accelerator.unwrap_model(model, keep_torch_compile=False)
        is_masked = isinstance(self.train_dataset, MaskedSequences)
        if self._losses is None:
            self._losses = partial(masked_lm_loss if is_masked else causal_lm_loss, bare, head=self._head)
            if wrapper is not model:
                self._losses = torch.compile(self._losses, **self.accelerator.state.dynamo_plugin.to_kwargs())
        beside = inputs.get("predicted" if is_masked else "position_ids")
        if is_masked and wrapper is not model and beside is not None:
            torch._dynamo.maybe_mark_dynamic(beside, 0)  # else it is compiled again at the second step
        labels = inputs["labels"]
        with self.accelerator.autocast():
            losses = _call_through(wrapper, bare, self._losses, inputs["input_ids"], labels, beside)
        processes: int = self.accelerator.num_processes
        if count is None:
            count, processes = (labels != IGNORED).sum(), 1
        # the count is that of all processes, over which the gradients are averaged
        return losses.sum() * processes / torch.as_tensor(count).clamp(min=1)

    def _record_divergence(self, loss: Tensor) -> None:
        """Record the first step whose loss is not finite, on the device, without synchronising."""
        step = self.state.global_step
        if self._checks_each_step:
            if not torch.isfinite(loss):
                raise TrainingError(self._divergence_message(f"the loss is {loss.item()} at step {step}"))
            return
        if self._first_bad_step is None:
            self._first_bad_step = torch.full((), FINITE, dtype=torch.int64, device=loss.device)
        bad = torch.where(torch.isfinite(loss.detach()), FINITE, step)
        self._first_bad_step = torch.minimum(self._first_bad_step, bad)
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            self._raise_if_diverged()

    def _raise_if_diverged(self, weights: bool = False) -> None:
        """Raise if a loss was not finite; with ``weights``, check them too, in all processes."""
        first = FINITE if self._first_bad_step is None else int(self._first_bad_step.item())
        if weights:
            finite = [torch.isfinite(_local_shard(p)).all() for p in self.model.parameters()]
            spoiled = bool(finite) and not bool(torch.stack(finite).all())
            last = self.state.global_step
            first = _all_reduce_min_step(first, self.args.device)
            spoiled = all_reduce_max([spoiled], self.args.device)[0] > 0
            if spoiled and first == FINITE:
                raise TrainingError(self._divergence_message(f"the weights are not finite after step {last}"))
        if first != FINITE:
            raise TrainingError(self._divergence_message(f"the loss is not finite at step {first}"))

    def _divergence_message(self, what: str) -> str:
        return (
            f"{what}: the training has diverged; lower the learning rate ({self.args.learning_rate:g}) or "
            f"that of the RAFs ({self.args.raf_learning_rate:g})"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        self._raise_if_diverged()
        super().log(logs, start_time)

    # ---- checkpoints ----

    def _get_output_dir(self, trial: Any) -> str:
        folder: str = super()._get_output_dir(trial)
        return str(Path(folder) / checkpoints.STAGING) if self._staging else folder

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Let ``Trainer`` write into a hidden folder, then seal and rename it from one process."""
        if self._saved_step == self.state.global_step:  # a stop at the end of an epoch that is saved, too
            return
        self.clock.pause(self.args.device)
        self._raise_if_diverged(weights=True)
        folder = Path(self._get_output_dir(trial))
        final = folder / f"checkpoint-{self.state.global_step}"
        staged = folder / checkpoints.STAGING / final.name
        self._attempt(lambda: self._stage(model, trial, staged, final), final)
        self._attempt(lambda: self._publish(staged, final), final)
        self._saved_step = self.state.global_step
        if self.args.push_to_hub:
            super()._push_from_checkpoint(str(final))

    def _stage(self, model: nn.Module, trial: Any, staged: Path, final: Path) -> None:
        self._staging = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._staging = False
        if self.state.best_model_checkpoint == str(staged):
            self.state.best_model_checkpoint = str(final)
        if self.args.should_save:
            self.state.save_to_json(str(staged / checkpoints.TRAINER_STATE))
            sequences = self.get_total_train_batch_size(self.args)
            state = checkpoints.TrainingState(self.clock.state(), sequences)
            write_text(staged / checkpoints.STATE, json.dumps(asdict(state)))

    def _publish(self, staged: Path, final: Path) -> None:
        if self.args.should_save:
            checkpoints.seal(staged)
            checkpoints.publish(staged, final)
            checkpoints.remove_stale(final.parent)
            best = self.state.best_model_checkpoint
            checkpoints.rotate(final, self.args.save_total_limit, None if best is None else Path(best))

    def _attempt(self, action: Callable[[], None], final: Path) -> None:
        """Run an action that succeeds in all processes, or ends the training in all and leaves no trace."""
        error: Exception | None = None
        try:
            action()
        except (OSError, RuntimeError, SafetensorError) as caught:
            error = caught
        if all_reduce_max([error is not None], self.args.device)[0]:
            if self.args.should_save:
                shutil.rmtree(final.parent / checkpoints.STAGING, ignore_errors=True)
            reason = error or RuntimeError("another process could not write its part")
            raise TrainingError(checkpoints.describe_failure(reason, final)) from error

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Do nothing: a checkpoint is pushed after it has its name."""

    def _choose_checkpoint(self, asked: str | bool | None) -> Path | None:
        """Choose and verify the checkpoint to resume from, in one process for all."""
        if self.is_local_process_zero() and (asked or self.args.save_strategy != SaveStrategy.NO):
            checkpoints.remove_stale(self._folder)
        return run_on_main_and_broadcast(lambda: self._verify_checkpoint(asked) if asked else None)

    def _verify_checkpoint(self, asked: str | bool) -> Path | None:
        if asked is True:
            checkpoint = checkpoints.find_newest_valid(self._folder)
            if checkpoint is None:
                logging.getLogger("raft").warning(
                    "no whole checkpoint in %s: starting from the beginning", self._folder
                )
                return None
        else:
            checkpoint = Path(str(asked))
            reason = checkpoints.find_corruption(checkpoint)
            if reason is not None:
                raise InputError(f"cannot resume from {checkpoint}: {reason}; name another checkpoint")
        before = checkpoints.read_state(checkpoint).sequences_a_step
        now = self.get_total_train_batch_size(self.args)
        if before != now:
            raise InputError(
                f"{checkpoint} was trained with {before} sequences a step, and now they are {now}: batch "
                "size × accumulation × processes must stay the same"
            )
        return checkpoint

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with _resume_errors(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        tied = getattr(self.model, "all_tied_weights_keys", {})
        lacking = set(load_result.missing_keys) - {*tied.keys(), *tied.values()}
        if lacking:  # ``Trainer`` would go on with whatever the model began with
            raise ValueError(f"it has no weight {min(lacking)}")
        super()._issue_warnings_after_load(load_result)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _resume_errors(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            for parameter, state in getattr(self.optimizer, "state", {}).items():
                for name in ("exp_avg", "exp_avg_sq"):
                    if name in state and state[name].shape != parameter.shape:
                        stored, needed = tuple(state[name].shape), tuple(parameter.shape)
                        raise ValueError(f"its optimizer has {name} of shape {stored} instead of {needed}")

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        reason = run_on_main_and_broadcast(lambda: checkpoints.find_corruption(best, must_resume=False))
        if reason is not None:
            raise TrainingError(f"cannot load the best model from {best}: {reason}")
        super()._load_best_model()

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _resume_errors(checkpoint):
            super()._load_rng_state(checkpoint)

    def _tokens_a_step(self) -> int:
        dataset = self.train_dataset
        if not isinstance(dataset, TokenSequences):
            return 0
        return int(self.get_total_train_batch_size(self.args) * dataset.sequences.shape[1])

    @property
    def _folder(self) -> Path:
        return Path(str(self.args.output_dir))

    # ---- validation ----

    def validation_losses(self, dataset: TokenSequences) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Those of ``raft.training.losses``, in the weights' dtype, as the saved model will have them.

        Raises:
            InputError: where nothing is to be predicted.
            TrainingError: where their mean has no perplexity.
        """
        with without_autocast(self.model):
            sums, counts = validation_losses(
                self.model, dataset, self.args.per_device_eval_batch_size, self._head
            )
        if not counts.sum():
            raise InputError("no token of the validation sequences is to be predicted")
        loss = float(sums.sum() / counts.sum())
        if not loss <= math.log(sys.float_info.max):  # NaN, too
            raise TrainingError(self._divergence_message(f"the validation loss is {loss:g} nats"))
        return sums, counts

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        self.clock.pause(self.args.device)
        own: Any = self.eval_dataset
        dataset = own if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):  # one of several
            dataset = own[dataset]
        if not isinstance(dataset, TokenSequences):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        sums, counts = self.validation_losses(dataset)
        loss = float(sums.sum() / counts.sum())
        metrics = {
            f"{metric_key_prefix}_loss": loss,
            f"{metric_key_prefix}_perplexity": math.exp(loss),
            STEP_SECONDS: self.clock.step_seconds,
        }
        self.log({**metrics, **(coefficient_scalars(self.model) if self.args.report_to else {})})
        with without_autocast(self.model):
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


@contextmanager
def without_autocast(model: nn.Module) -> Iterator[None]:
    """Leave out what Accelerate put around ``forward`` for a training in half precision."""
    own = vars(model)
    wrapped = own.get("forward") if "_original_forward" in own else None
    if wrapped is not None:
        own["forward"] = own["_original_forward"]
    try:
        yield
    finally:
        if wrapped is not None:
            own["forward"] = wrapped


@contextmanager
def _resume_errors(checkpoint: str | None) -> Iterator[None]:
    """Raise errors of loading as one line: unchanged files may still be those of another model."""
    try:
        yield
    except Exception as error:  # each library fails in its own way
        raise InputError(
            f"cannot resume from {checkpoint}: {first_line(error)}; remove it, or name another checkpoint"
        ) from error


def _call_through(
    wrapper: nn.Module, module: nn.Module, function: Callable[..., Tensor], *args: Any
) -> Tensor:
    """Call ``function(*args)`` as if it were the module's ``forward``.

    What wraps the module (DDP, FSDP) synchronises gradients and gathers weights around calls of itself only.
    """
    if wrapper is module:
        return function(*args)
    own = vars(module).get("forward")

    def restore() -> None:
        vars(module).pop("forward", None)
        if own is not None:
            vars(module)["forward"] = own

    def once(*arguments: Any) -> Tensor:
        restore()
        return function(*arguments)

    vars(module)["forward"] = once
    try:
        result: Tensor = wrapper(*args)
    finally:
        restore()
    return result


def _local_shard(parameter: Tensor) -> Tensor:
    """The local shard of a parameter."""
    local: Tensor = getattr(parameter, "to_local", lambda: parameter)()
    return local.detach()


def _all_reduce_min_step(step: int, device: torch.device) -> int:
    """Return the smallest step over all processes; exact, also for ``FINITE``."""
    smallest = -all_reduce_max([-float(step)], device)[0]
    return FINITE if smallest >= float(FINITE) else int(smallest)
