"""The training loop: its steps are torch's, its curves complete, and a killed run resumes to the same end."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from mfc.encoders.device import Compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import Encoder, EncoderConfig, load_encoder, new_encoder
from mfc.encoders.training import (
    CHECKPOINTS,
    FINISHED,
    LOG_EVERY,
    Loss,
    Plan,
    Task,
    fit,
    last_validation,
    task_key,
    training_batches,
)
from mfc.errors import UserError
from mfc.faces.batches import centre_choices, resized_side, transform
from mfc.log import PrintLog
from tests.recorder import Recorder

SIZE = 64
CPU = Compute(torch.device("cpu"), torch.float32)
PLAN = Plan(
    epochs=4,
    batch_size=8,
    lr=0.01,
    momentum=0.9,
    weight_decay=1e-4,
    gamma=2.0,
    seed=1,
    eval_every=2,
)


@pytest.fixture
def crops() -> np.ndarray:
    """Thirty grey faces of three people: dark, middle and light, with noise."""
    random = np.random.default_rng(0)
    level = np.repeat([60, 120, 180], 10)[:, None, None, None]
    return (level + random.integers(-20, 20, (30, 72, 72, 1))).astype(np.uint8)


LABELS = torch.arange(30) // 10


def classify(encoder: Encoder, images: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
    return functional.cross_entropy(encoder(images), LABELS[positions])


def task(crops: np.ndarray, **changes: object) -> Task:
    def validate(encoder: Encoder, step: int) -> dict[str, float]:
        del step
        assert not encoder.training
        return {"val/nmi": 0.5}

    settings: dict[str, object] = {
        "crops": crops,
        "rows": np.arange(30),
        "loss": classify,
        "validate": validate,
        "label": "test",
        "fingerprint": "x",
    }
    return Task(**{**settings, **changes})  # type: ignore[arg-type]


def encoder() -> Encoder:
    return new_encoder(EncoderConfig("resnet18", ("a", "b", "c"), SIZE), init="random", seed=0)


def test_it_learns(crops: np.ndarray, tmp_path: Path) -> None:
    """The loss falls on people who differ in grey level only."""
    log = Recorder()
    fit(encoder(), task(crops), PLAN, CPU, tmp_path, log)
    losses = [value for _, value in log.curve("train/loss")]
    assert losses[-1] < 0.5 * losses[0]


def test_one_step_equals_torch(crops: np.ndarray, tmp_path: Path) -> None:
    """One epoch of one batch equals a hand-written SGD step on the same images."""
    one = Plan(**{**PLAN.__dict__, "epochs": 1, "batch_size": 30, "momentum": 0.0})
    trained = fit(encoder(), task(crops), one, CPU, tmp_path, PrintLog())
    reference = encoder().to(memory_format=torch.channels_last)
    reference.train()
    [(positions, images)] = training_batches(task(crops), one, reference, CPU, 0)
    classify(reference, images, positions).backward()
    for (name, ours), theirs in zip(trained.named_parameters(), reference.parameters(), strict=True):
        expected = theirs - one.lr * (theirs.grad + one.weight_decay * theirs)
        torch.testing.assert_close(ours, expected, msg=name)


def test_a_compiled_network_learns_the_same(
    crops: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trunk is compiled once, weights keep their names, and the result is that of the plain network."""
    compile_module, compiled = torch.nn.Module.compile, []

    def quickly(module: torch.nn.Module) -> None:
        compiled.append(module)
        compile_module(module, backend="eager")  # as torch traces it, without minutes of C++

    monkeypatch.setattr(torch.nn.Module, "compile", quickly)
    one = Plan(**{**PLAN.__dict__, "epochs": 1})
    plain = fit(encoder(), task(crops), one, CPU, tmp_path / "plain", PrintLog())
    assert not compiled
    faster = encoder()
    compute = Compute(CPU.device, CPU.dtype, compiled=True)
    fit(faster, task(crops), one, compute, tmp_path / "compiled", PrintLog())
    assert compiled == [faster.trunk]
    again = load_encoder(tmp_path / "compiled")
    for (name, ours), theirs in zip(again.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_every_face_once_an_epoch(crops: np.ndarray) -> None:
    """The order covers all positions, differs between epochs and seeds, and repeats for the same ones."""

    def order(seed: int, epoch: int) -> list[int]:
        seeded = Plan(**{**PLAN.__dict__, "seed": seed})
        return [
            int(p) for part, _ in training_batches(task(crops), seeded, encoder(), CPU, epoch) for p in part
        ]

    assert sorted(order(1, 0)) == list(range(30))
    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(s, e)) for s, e in [(1, 0), (1, 1), (2, 0), (0, 1)]}) == 4


def test_positions_name_the_images(crops: np.ndarray) -> None:
    """The image at a position is the crop of that row: grey levels tell who it is."""
    rows = np.array([25, 3, 14, 7])
    plain = Plan(**{**PLAN.__dict__, "gamma": 1.0, "batch_size": 2})
    for positions, images in training_batches(task(crops, rows=rows), plain, encoder(), CPU, 0):
        people = images.mean(dim=(1, 2, 3)).sub(torch.tensor([-1.0, 0.05, 1.1])[:, None]).abs().argmin(dim=0)
        assert people.tolist() == (rows[positions] // 10).tolist()


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_run_resumes_to_the_same_result(
    crops: np.ndarray, tmp_path: Path, killed_after: int
) -> None:
    """Weights to the bit, and the same curve points, whether or not the run was interrupted."""

    class Killed(Exception):
        pass

    epochs_seen = 0

    def die(encoder: Encoder, images: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        nonlocal epochs_seen
        epochs_seen += 1
        if epochs_seen > killed_after * 4:
            raise Killed
        return classify(encoder, images, positions)

    whole, resumed = Recorder(), Recorder()
    expected = fit(encoder(), task(crops), PLAN, CPU, tmp_path / "whole", whole)
    with pytest.raises(Killed):
        fit(encoder(), task(crops, loss=die), PLAN, CPU, tmp_path / "killed", PrintLog())
    assert (tmp_path / "killed" / "checkpoint.pt").is_file()
    actual = fit(encoder(), task(crops), PLAN, CPU, tmp_path / "killed", resumed)
    for ours, theirs in zip(actual.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    for name in ("train/loss", "train/lr", "val/nmi"):
        assert resumed.curve(name) == whole.curve(name)
    assert not (tmp_path / "killed" / "checkpoint.pt").exists()


class Killed(Exception):
    """The process ends here."""


def killed_in_epoch(epoch: int) -> Loss:
    """A loss that ends the training in an epoch, counted from 0."""
    steps = 0

    def die(encoder: Encoder, images: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps > epoch * 4:
            raise Killed
        return classify(encoder, images, positions)

    return die


def flip_a_bit(content: bytes) -> bytes:
    return content[:-5000] + bytes([content[-5000] ^ 4]) + content[-4999:]


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "text": lambda content: b"not a checkpoint",
    "a pickle": lambda content: pickle.dumps({"key": "x"}),
    "one bit flipped": flip_a_bit,
}


@pytest.mark.parametrize(("damage", "epochs_done"), [*((name, 3) for name in DAMAGES), ("truncated", 1)])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(
    crops: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, epochs_done: int
) -> None:
    """Whatever became of the file, the repeat ends with the uninterrupted run's bytes."""
    expected = fit(encoder(), task(crops), PLAN, CPU, tmp_path / "whole", PrintLog())
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        fit(encoder(), task(crops, loss=killed_in_epoch(epochs_done)), PLAN, CPU, folder, PrintLog())
    checkpoint = folder / CHECKPOINTS[0]
    checkpoint.write_bytes(DAMAGES[damage](checkpoint.read_bytes()))
    capsys.readouterr()
    actual = fit(encoder(), task(crops), PLAN, CPU, folder, PrintLog())
    told = capsys.readouterr().err
    assert f"{checkpoint} is damaged" in told
    assert ("resumed after epoch 2" in told) == (epochs_done == 3)
    for ours, theirs in zip(actual.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert not [name for name in CHECKPOINTS if (folder / name).exists()]


def test_how_often_a_checkpoint_is_written_may_change_after_a_crash(
    crops: np.ndarray, tmp_path: Path
) -> None:
    """The begun training goes on; it once was thrown away, because its key held that number."""
    with pytest.raises(Killed):
        fit(encoder(), task(crops, loss=killed_in_epoch(3)), PLAN, CPU, tmp_path, PrintLog())
    seen: list[int] = []

    def count(encoder: Encoder, images: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        seen.append(len(positions))
        return classify(encoder, images, positions)

    fit(encoder(), task(crops, loss=count), PLAN, CPU, tmp_path, PrintLog(), checkpoint_every=50)
    assert len(seen) == 4


def test_precision_is_part_of_the_key(crops: np.ndarray) -> None:
    """A result in bfloat16 is none in float32; the device, which differs by rounding only, is not asked."""
    network = encoder()
    half = Compute(torch.device("cpu"), torch.bfloat16)
    keys = {task_key(task(crops), PLAN, network, compute) for compute in (CPU, half)}
    assert len(keys) == 2
    assert task_key(task(crops), PLAN, network, Compute(torch.device("meta"), CPU.dtype)) in keys


def test_training_anew_when_asked(crops: np.ndarray, tmp_path: Path) -> None:
    """`anew` reaches the training, whether a result is finished there or only begun."""
    seen: list[int] = []

    def count(encoder: Encoder, images: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        seen.append(len(positions))
        return classify(encoder, images, positions)

    with pytest.raises(Killed):
        fit(encoder(), task(crops, loss=killed_in_epoch(2)), PLAN, CPU, tmp_path, PrintLog())
    for _ in range(2):
        fit(encoder(), task(crops, loss=count), PLAN, CPU, tmp_path, PrintLog(), anew=True)
        assert len(seen) == 16
        seen.clear()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"key": "x"}', '{"key": 1, "curves": 3}', "[" * 100_000),
        '{"key": "x", "curves": [[0, {"val/ami": "high"}]]}',
        '{"key": "x", "curves": [[1e400, {"val/ami": 1}]]}',
    ],
)
def test_a_damaged_record_of_a_finished_training_is_told(
    crops: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """It is trained again, with a sentence."""
    fit(encoder(), task(crops), PLAN, CPU, tmp_path, PrintLog())
    (tmp_path / FINISHED).write_text(text)
    assert last_validation(tmp_path) == {}
    fit(encoder(), task(crops), PLAN, CPU, tmp_path, PrintLog())
    assert f"{tmp_path / FINISHED} is damaged; training anew" in capsys.readouterr().err


def test_weights_that_are_no_numbers_are_never_saved(crops: np.ndarray, tmp_path: Path) -> None:
    """The last step of an epoch may spoil the weights after its loss was taken: that is told at once."""

    def steep(encoder: Encoder, images: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        return classify(encoder, images, positions) * 1e10

    huge = Plan(**{**PLAN.__dict__, "lr": 1e38, "epochs": 1, "batch_size": 30})
    with pytest.raises(UserError, match=r"weights are no numbers any more at step 1; lower --lr"):
        fit(encoder(), task(crops, loss=steep), huge, CPU, tmp_path, PrintLog())
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_finished_result_is_loaded(crops: np.ndarray, tmp_path: Path) -> None:
    """The same call again trains nothing and replays the curves."""

    def forbidden(encoder: Encoder, images: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        raise AssertionError("trained again")

    first, second = Recorder(), Recorder()
    trained = fit(encoder(), task(crops), PLAN, CPU, tmp_path, first)
    loaded = fit(encoder(), task(crops, loss=forbidden), PLAN, CPU, tmp_path, second)
    assert second.points == first.points
    for ours, theirs in zip(loaded.state_dict().values(), trained.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_other_parameters_do_not_reuse(crops: np.ndarray, tmp_path: Path) -> None:
    """A folder with another training is not overwritten silently."""
    fit(encoder(), task(crops), PLAN, CPU, tmp_path, PrintLog())
    with pytest.raises(UserError, match="other parameters or data"):
        fit(encoder(), task(crops, fingerprint="y"), PLAN, CPU, tmp_path, PrintLog())


def test_a_loss_that_explodes_stops_the_run(crops: np.ndarray, tmp_path: Path) -> None:
    """NaN is named with its step, and nothing is saved as finished."""

    def explode(encoder: Encoder, images: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        return classify(encoder, images, positions) * float("nan")

    with pytest.raises(UserError, match=r"the loss is nan at step 4; lower --lr"):
        fit(encoder(), task(crops, loss=explode), PLAN, CPU, tmp_path, PrintLog())
    assert not (tmp_path / "training.json").exists()


def test_curves_carry_the_training_step(crops: np.ndarray, tmp_path: Path) -> None:
    """Loss and rate at the last step of each epoch (fewer than LOG_EVERY steps), validation where asked."""
    log = Recorder()
    fit(encoder(), task(crops), PLAN, CPU, tmp_path, log)
    assert LOG_EVERY > 4
    assert [step for step, _ in log.curve("train/loss")] == [4, 8, 12, 16]
    assert log.curve("train/lr") == [
        (4, 0.01),
        (8, 0.01),
        (12, pytest.approx(0.001)),
        (16, pytest.approx(0.001)),
    ]
    assert [step for step, _ in log.curve("val/nmi")] == [0, 8, 16]
    assert all(rate > 0 for _, rate in log.curve("train/images_per_s"))
    assert json.loads((tmp_path / "training.json").read_text())["epochs"] == 4


def test_embed_is_the_evaluation_transform_in_order(crops: np.ndarray) -> None:
    """Rows come back in their order, however they are batched, and the mode of the network is kept."""
    network = encoder().train()
    rows = np.array([29, 0, 15, 4, 4])
    features = embed(network, crops, rows, batch_size=2, compute=CPU)
    assert network.training
    assert features.dtype == np.float32
    config = network.config
    choices = centre_choices(5, resized_side(SIZE) - SIZE)
    images = transform(
        torch.from_numpy(crops[rows]), choices, image_size=SIZE, mean=config.mean, std=config.std
    )
    with torch.inference_mode():
        expected = network.eval().features(images)
    np.testing.assert_allclose(features, expected.numpy(), atol=2e-6)
    np.testing.assert_allclose(features[3], features[4], atol=2e-6)


def test_an_encoder_that_embedded_can_be_trained(crops: np.ndarray, tmp_path: Path) -> None:
    """In float32 too, where autocast makes no copy: its weights once came out of inference mode."""
    network = encoder()
    embed(network, crops, np.arange(4), batch_size=4, compute=CPU)
    one = Plan(**{**PLAN.__dict__, "epochs": 1})
    fit(network, task(crops), one, CPU, tmp_path, PrintLog())


def test_saved_encoder_is_what_fit_returned(crops: np.ndarray, tmp_path: Path) -> None:
    """The folder holds the encoder of the last epoch."""
    trained = fit(encoder(), task(crops), PLAN, CPU, tmp_path, PrintLog())
    loaded = load_encoder(tmp_path)
    assert torch.equal(loaded.head.weight, trained.head.weight)
