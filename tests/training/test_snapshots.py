"""A run's file of snapshots has each of them once, in order, after whatever ended the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, TrainerControl, TrainerState

import raft
from raft.analysis.snapshots import Raf, label_sites, read_snapshots
from raft.errors import InputError
from raft.hf import rationals
from raft.learned_activation import learned_activations
from raft.training.monitoring import (
    RafSnapshots,
    append_snapshot,
    coefficient_scalars,
    write_snapshots,
)

SITE = "bert.encoder.layer.0.intermediate.intermediate_act_fn"


@pytest.fixture
def model() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = BertForSequenceClassification(config)
    raft.convert(model)
    return model


def train(model: torch.nn.Module, folder: Path, steps: range, last: int = 10, every: int = 2) -> None:
    """What ``Trainer`` tells a callback; after step s all coefficients of the numerator are s."""
    callback = RafSnapshots(folder, every)
    state = TrainerState(global_step=steps.start, max_steps=last, is_world_process_zero=True)
    callback.on_train_begin(None, state, TrainerControl(), model=model)
    for step in steps:
        state.global_step = step + 1
        for act in rationals(model).values():
            torch.nn.init.constant_(act.numerator, step + 1)
        callback.on_step_end(None, state, TrainerControl(), model=model)


def first_coefficients(folder: Path) -> dict[int, float]:
    """That of the numerator at each step, in the order of the file."""
    rafs = {s.step: s.rafs[SITE] for s in read_snapshots(folder)}
    acts = {step: raf.numerator[0, 0] for step, raf in rafs.items() if isinstance(raf, Raf)}
    steps = load_file(folder / "rafs.safetensors")["steps"].tolist()
    assert steps == list(acts)
    return {step: float(value) for step, value in acts.items()}


def test_a_file_holds_all_snapshots_and_what_they_are_of(
    model: BertForSequenceClassification, tmp_path: Path
) -> None:
    start = rationals(model)[SITE].coefficients()[0].detach().clone()
    train(model, tmp_path, range(0, 10), every=4)
    snapshots = load_file(tmp_path / "rafs.safetensors")
    assert snapshots["steps"].tolist() == [0, 4, 8, 10]
    assert snapshots["steps"].dtype == torch.int64
    assert snapshots[f"{SITE}.numerator"].shape == (4, 1, 6)
    assert snapshots[f"{SITE}.denominator"].shape == (4, 1, 4)
    assert torch.equal(snapshots[f"{SITE}.numerator"][0, 0], start)
    scale = rationals(model)[SITE].numerator_scale
    expected = torch.tensor([[4.0], [8.0], [10.0]]) * (1 if scale is None else scale)
    assert torch.equal(snapshots[f"{SITE}.numerator"][1:, 0], expected.expand(3, 6))
    with safe_open(tmp_path / "rafs.safetensors", "pt") as file:
        assert file.metadata()[f"{SITE}.version"] == "A"
    assert [path.name for path in tmp_path.iterdir()] == ["rafs.safetensors"]


@pytest.mark.parametrize(
    ("shared", "expected"), [("kind", ["layers 0-1", "pooler"]), (False, ["layer 0", "layer 1", "pooler"])]
)
@pytest.mark.parametrize("function", ["rational", "spline"])
def test_a_shared_function_is_labelled_by_all_its_layers(
    shared: str | bool, expected: list[str], function: str, tmp_path: Path
) -> None:
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
    model = BertForSequenceClassification(config)
    raft.convert(
        model, raft.RafConfig(shared=shared, function=function, sites=["ffn", "pooler"], init="gelu")
    )
    RafSnapshots(tmp_path, 1).on_train_begin(None, TrainerState(), TrainerControl(), model=model)
    (snapshot,) = read_snapshots(tmp_path)
    assert list(label_sites([snapshot.places]).values()) == expected


def test_a_site_that_one_model_shares_has_both_labels() -> None:
    one, two = (f"encoder.layer.{number}.act" for number in range(2))
    assert label_sites([{one: (), two: ()}, {one: (one, two)}]) == {
        one: "layer 0 or layers 0-1",
        two: "layer 1",
    }
    assert label_sites([{one: (one, two, "pooler.act")}]) == {one: "3 places"}


def test_polynomials_are_read(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), raft.Rational("gelu", degrees=(3, 0)))
    train(model, tmp_path, range(0, 4))
    rafs = read_snapshots(tmp_path)[-1].rafs["1"]
    assert isinstance(rafs, Raf)
    assert rafs.numerator.tolist() == [[4.0] * 4]
    assert rafs.denominator.shape == (1, 0)


@pytest.mark.parametrize("resumed", [3, 4, 6])
def test_a_resumed_training_has_the_snapshots_of_one_that_was_not_stopped(
    resumed: int, model: BertForSequenceClassification, tmp_path: Path
) -> None:
    train(model, tmp_path / "whole", range(0, 10))
    whole = first_coefficients(tmp_path / "whole")
    assert list(whole) == [0, 2, 4, 6, 8, 10]
    train(model, tmp_path / "killed", range(0, 7))  # the last checkpoint was some steps before
    before = first_coefficients(tmp_path / "killed")
    train(model, tmp_path / "killed", range(resumed, resumed))
    kept = first_coefficients(tmp_path / "killed")
    assert kept == {step: value for step, value in before.items() if step <= resumed}
    train(model, tmp_path / "killed", range(resumed, 10))
    assert first_coefficients(tmp_path / "killed") == {**whole, 0: before[0]}


def test_a_training_from_the_start_leaves_nothing_of_the_one_before(
    model: BertForSequenceClassification, tmp_path: Path
) -> None:
    train(model, tmp_path, range(0, 10))
    (tmp_path / "rafs.safetensors").write_bytes(b"torn")
    train(model, tmp_path, range(0, 4), every=4)
    assert list(first_coefficients(tmp_path)) == [0, 4]
    fixed = BertForSequenceClassification(model.config)
    for site in rationals(model):
        fixed.set_submodule(site, torch.nn.GELU())
    train(fixed, tmp_path, range(0, 4))
    assert not (tmp_path / "rafs.safetensors").exists()


def test_snapshots_that_cannot_be_gone_on_with_are_named(
    model: BertForSequenceClassification, tmp_path: Path
) -> None:
    file = tmp_path / "rafs.safetensors"
    train(model, tmp_path, range(0, 6))
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(
        InputError, match=rf"cannot read {file}: .*; remove it to go on without these snapshots"
    ):
        train(model, tmp_path, range(4, 10))
    assert file.read_bytes() == content[:-1]
    file.write_bytes(content)
    snapshots = load_file(file)
    save_file({name: value for name, value in snapshots.items() if SITE not in name}, file)
    with pytest.raises(InputError, match=r"rafs.safetensors holds RAFs of another model; remove it to go on"):
        train(model, tmp_path, range(4, 10))


def test_snapshots_are_stacked_in_the_order_of_their_steps() -> None:
    def value(number: float) -> dict[str, torch.Tensor]:
        return {"a.numerator": torch.full((6,), number), "a.denominator": torch.full((2, 4), number)}

    snapshots: dict[str, torch.Tensor] = {}
    for step in (0, 5, 9, 5, 7):
        snapshots = append_snapshot(snapshots, step, value(step))
    assert snapshots["steps"].tolist() == [0, 5, 7]
    assert snapshots["a.numerator"].shape == (3, 1, 6)
    assert snapshots["a.denominator"].shape == (3, 2, 4)
    assert snapshots["a.numerator"][:, 0, 0].tolist() == [0, 5, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "does not say after which steps"),
        ({"steps": torch.tensor([0.0, 1.0])}, "does not say after which steps"),
        ({"steps": torch.tensor([[0, 1]])}, "does not say after which steps"),
        ({"steps": torch.zeros(0, dtype=torch.int64)}, "does not say after which steps"),
        ({"steps": torch.tensor([1, 0])}, "not in the order of their steps"),
        ({"steps": torch.tensor([1, 1])}, "not in the order of their steps"),
        ({"steps": torch.tensor([-1, 1])}, "not in the order of their steps"),
        ({"steps": torch.tensor([0, 1, 2])}, r"does not hold a\.(numerator|denominator) of each of its 3"),
        ({"a.numerator": torch.zeros(1, 1, 6)}, r"does not hold a\.numerator of each of its 2 snapshots"),
        ({"a.numerator": torch.tensor(1.0)}, r"does not hold a\.numerator of each of its 2 snapshots"),
        ({"a.denominator": None}, "holds no whole RAF a"),
        ({"a.numerator": torch.zeros(2, 3, 6)}, r"holds no RAF a: torch.float32 \(3, 6\) over .* \(2, 4\)"),
        ({"a.numerator": None, "a.denominator": None}, "holds no coefficients of RAFs"),
    ],
)
def test_files_of_other_things_are_not_read(
    change: dict[str, torch.Tensor | None], message: str, tmp_path: Path
) -> None:
    good = {
        "steps": torch.tensor([0, 1]),
        "a.numerator": torch.ones(2, 1, 6),
        "a.denominator": torch.ones(2, 2, 4),
    }
    write_snapshots(tmp_path, good, {})
    first, last = read_snapshots(tmp_path)
    assert (first.step, last.step) == (0, 1)
    raf_ = last.rafs["a"]
    assert isinstance(raf_, Raf)
    assert raf_.numerator.shape == (2, 6)
    assert raf_.numerator.dtype == np.float32
    changed = {name: value for name, value in {**good, **change}.items() if value is not None}
    write_snapshots(tmp_path, changed, {})
    with pytest.raises(InputError, match=message):
        read_snapshots(tmp_path)


KINDS = [
    ("spline", {"knots": 5, "interval": [-2, 2]}, 2),
    ("xielu", {}, 1),
    ("swish", {}, 4),
    ("prelu", {}, 1),
]


@pytest.mark.parametrize(("function", "settings", "groups"), KINDS)
def test_other_learned_functions_are_read_as_they_were(
    function: str, settings: dict[str, object], groups: int, tmp_path: Path
) -> None:
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = BertForSequenceClassification(config)
    raft.convert(model, {"function": function, "settings": settings, "groups": groups})
    act = learned_activations(model)[SITE]
    x = np.linspace(-4, 4, 99)
    callback = RafSnapshots(tmp_path, 1)
    state = TrainerState(global_step=0, max_steps=2, is_world_process_zero=True)
    callback.on_train_begin(None, state, TrainerControl(), model=model)
    expected = [act.values(x)]
    for step in (1, 2):
        state.global_step = step
        with torch.no_grad():
            for parameter in act.parameters():
                parameter.add_(torch.rand(parameter.shape))
        callback.on_step_end(None, state, TrainerControl(), model=model)
        expected.append(act.values(x))
    assert not np.allclose(expected[0], expected[2])
    for snapshot, values in zip(read_snapshots(tmp_path), expected, strict=True):
        actual = snapshot.rafs[SITE]
        assert (actual.groups, actual.has_curve, actual.beside) == (groups, True, None)
        assert (actual.replaced, snapshot.rafs["bert.pooler.activation"].replaced) == ("gelu", "tanh")
        assert np.array_equal(actual.values(x), values)


def test_trackers_get_parameters_by_their_names(model: BertForSequenceClassification) -> None:
    scalars = coefficient_scalars(model)
    start = rationals(model)[SITE].coefficients()[1].detach()
    assert scalars[f"raf/{SITE}/b2"] == pytest.approx(start[1].item())
    raft.revert(model)
    raft.convert(model, {"function": "spline", "settings": {"knots": 3}, "groups": 2})
    act = learned_activations(model)[SITE]
    act.load_state_dict({"knot_values": torch.tensor([[0, 1, 2], [4, 5, 8.0]]), "raf_form": act.raf_form})
    own = {name: value for name, value in coefficient_scalars(model).items() if SITE in name}
    assert own == {f"raf/{SITE}/knot_values{i}": value for i, value in enumerate([2, 3, 5])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a.function": "cosine"}, "holds no cosine function at a: unknown learned function 'cosine'"),
        ({"a.function": "rational"}, "holds no rational function at a"),
        ({"a.settings": '{"knots": 1}'}, "holds no spline function at a: knots must be a whole number"),
        ({"a.settings": '{"nots": 5}'}, "holds no spline function at a: .*unexpected keyword"),
        ({"a.settings": "[5]"}, "holds no settings of a"),
        ({"a.settings": '{"knots": 6}'}, "holds no whole spline function at a: knot_values"),
        ({"a.settings": '{"knots": 5, "groups": 100000000000}'}, "holds no spline function at a"),
        ({"a.function": "swish"}, "holds no swish function at a"),
        ({"b.function": "swish"}, "holds no whole swish function at b: "),
    ],
)
def test_files_of_no_learned_functions_are_not_read(
    change: dict[str, str], message: str, tmp_path: Path
) -> None:
    good = {"steps": torch.tensor([0]), "a.knot_values": torch.ones(1, 1, 5)}
    metadata = {"a.function": "spline", "a.settings": '{"knots": 5}'}
    write_snapshots(tmp_path, good, metadata)
    assert np.array_equal(read_snapshots(tmp_path)[0].rafs["a"].values(np.zeros(2)), [[1.0, 1.0]])
    write_snapshots(tmp_path, good, {**metadata, **change})
    with pytest.raises(InputError, match=message):
        read_snapshots(tmp_path)


def test_a_run_without_rafs_has_no_snapshots(tmp_path: Path) -> None:
    assert read_snapshots(tmp_path) == []
    (tmp_path / "rafs.safetensors").symlink_to(tmp_path / "rafs.safetensors")
    with pytest.raises(InputError, match="cannot read"):
        read_snapshots(tmp_path)
