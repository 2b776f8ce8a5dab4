"""Lagging inference: who is stepped when, when it ends, and that a resume goes on exactly."""

import copy
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from lightning_vae import BetaAnnealing, Linear, VAEModule
from lightning_vae.callbacks import LaggingInference
from lightning_vae.callbacks.lagging import own_loader, size
from lightning_vae.data import Arrays, ToyText
from lightning_vae.networks import LSTMDecoder, LSTMEncoder, MLPDecoder, MLPEncoder


def small():
    torch.manual_seed(0)
    return VAEModule(MLPEncoder((4,), 2, (8,)), MLPDecoder((4,), 2, (8,)))


def data(n=32):
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(1))
    return Arrays(train=x, val=x, batch_size=8)


class Watch(Callback):
    """What changes between a batch's start and the optimizer's step, and in the step."""

    def __init__(self):
        self.moved = []
        self.information = []

    def on_train_batch_end(self, trainer, vae, *_):
        now = {name: p.detach().clone() for name, p in vae.named_parameters()}
        if hasattr(self, "before"):
            moved = {n.split(".")[0] for n in now if not torch.equal(now[n], self.before[n])}
            self.moved.append(moved)
        self.before = now

    def on_validation_end(self, trainer, vae):
        self.information.append(trainer.callback_metrics.get("val/mutual_information"))


class Steps(LaggingInference):
    """Notes, for the test, what every step of the encoder left alone."""

    def _step(self, trainer, vae, batch):
        before = [p.detach().clone() for p in vae.decoder.parameters()]
        encoder = [p.detach().clone() for p in vae.encoder.parameters()]
        loss = super()._step(trainer, vae, batch)
        assert all(torch.equal(a, b) for a, b in zip(before, vae.decoder.parameters(), strict=True))
        assert not all(
            torch.equal(a, b) for a, b in zip(encoder, vae.encoder.parameters(), strict=True)
        )
        assert all(p.grad is None for p in vae.parameters())
        self.count = getattr(self, "count", 0) + 1
        return loss

    def _catch_up(self, trainer, vae):
        steps = super()._catch_up(trainer, vae)
        self.caught_up = [p.detach().clone() for p in vae.encoder.parameters()]
        return steps

    def on_train_batch_end(self, trainer, vae, *_):
        same = [
            torch.equal(a, b) for a, b in zip(self.caught_up, vae.encoder.parameters(), strict=True)
        ]
        assert all(same) == self.aggressive


def test_in_the_phase_encoder_and_decoder_are_never_stepped_together(fit_with):
    lagging, vae = Steps(most=10, window=3, patience=99), small()
    trainer = fit_with(max_epochs=2, callbacks=[lagging])
    trainer.fit(vae, data())
    assert trainer.global_step == 8, "its own steps do not count"
    assert 8 * 3 <= lagging.count <= 8 * 10


def test_after_the_phase_training_is_as_without_it(fit_with):
    def fit(callbacks):
        vae = small()
        torch.manual_seed(2)
        fit_with(max_epochs=2, callbacks=callbacks).fit(vae, data())
        return [p.detach() for p in vae.parameters()]

    over = LaggingInference()
    over._forget = lambda: None
    over.aggressive = False
    plain, ended = fit([]), fit([over])
    assert all(torch.equal(a, b) for a, b in zip(plain, ended, strict=True))


def test_the_encoder_is_stepped_until_its_loss_stalls():
    losses = iter([5.0, 4.0, 3.0, 3.5, 1.0])
    lagging = LaggingInference(most=100, window=10)
    lagging._window = lambda trainer, vae, count: next(losses)
    assert lagging._catch_up(None, None) == 40
    lagging._window = lambda trainer, vae, count: -next(counting)
    counting = iter(range(100))
    assert lagging._catch_up(None, None) == 100, "at most"
    assert next(counting) == 10


def authors_steps(losses, words, window):
    """How many steps the paper's code takes: a batch's summed loss, and its words, for each."""
    before, total, count, step = 1e4, 0.0, 0, 1
    while step < 100:
        total, count = total + losses[step - 1], count + words[step - 1]
        if step % window == 0:
            if before - total / count < 0:
                return step
            before, total, count = total / count, 0.0, 0
        step += 1
    return 99


@pytest.mark.parametrize("window", [10, 15])
def test_the_encoder_is_stepped_as_often_as_by_the_papers_code(window):
    lagging = LaggingInference(most=99, window=window)
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(batch_to_device=lambda batch, dataloader_idx: batch)
    )
    vae = SimpleNamespace(device=torch.device("cpu"), inputs=lambda batch: batch)
    found, truth = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        lengths, sizes = rng.integers(2, 9, 99), rng.integers(1, 5, 99)
        batches = [torch.full((b, n), 7) for b, n in zip(sizes, lengths, strict=True)]
        a_word = 5 - 0.002 * seed * np.arange(99) + rng.normal(0, 0.3, 99)
        losses = iter(torch.from_numpy(a_word * lengths))  # a sentence
        lagging._batches = iter(batches)
        lagging._step = lambda trainer, vae, batch, losses=losses: next(losses)
        found.append(lagging._catch_up(trainer, vae))
        truth.append(authors_steps(a_word * lengths * sizes, lengths * sizes, window))
    assert found == truth
    assert 99 in truth
    assert len(set(truth)) > 4


def test_the_phase_ends_when_the_information_stops_rising():
    lagging = LaggingInference(patience=2)
    for information, still in [
        (0.1, True),
        (0.3, True),
        (0.2, True),
        (0.4, True),
        (0.4, True),
        (0.1, False),
    ]:
        lagging._judge(information)
        assert lagging.aggressive is still
    assert lagging.best == 0.4


def test_a_loss_is_compared_a_word_or_an_example():
    assert size(torch.rand(5, 4)) == 5
    assert size(torch.tensor([[4, 5, 2], [2, 0, 0]])) == 4


EPOCH = 4  # optimizer steps


class ByStep(Callback):
    """Noise as a function of the step, which Lightning does not restore."""

    def on_train_batch_start(self, trainer, *_):
        torch.manual_seed(trainer.global_step)


@pytest.mark.parametrize(("patience", "window"), [(1, 1), (99, 1), (99, 2)])
def test_resumed_at_any_step_it_goes_on_as_uninterrupted(fit_with, tmp_path, patience, window):
    def run(ckpt_path=None):
        folder = tmp_path / "saved"
        steps = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
        ends = ModelCheckpoint(folder, "end-{step}", save_top_k=-1, save_on_train_epoch_end=True)
        lagging = LaggingInference(most=5, window=2, patience=patience)
        vae = small()
        trainer = fit_with(
            max_epochs=3,
            accumulate_grad_batches=window,
            callbacks=[ByStep(), lagging, steps, ends],
        )
        trainer.fit(vae, data(8 * EPOCH * window), ckpt_path=ckpt_path)
        return lagging, [p.detach() for p in vae.parameters()]

    whole, weights = run()
    assert whole.aggressive is (patience == 99)
    # Lightning itself skips the validation that follows a checkpoint of an epoch's last step.
    names = [f"step={step}" for step in range(1, 3 * EPOCH) if step % EPOCH]
    names += [f"end-step={EPOCH}", f"end-step={2 * EPOCH}"]
    for name in names:
        path = tmp_path / "saved" / f"{name}.ckpt"
        torch.load(path, weights_only=True)
        lagging, resumed = run(path)
        assert lagging.state_dict() == whole.state_dict(), name
        assert all(torch.equal(a, b) for a, b in zip(weights, resumed, strict=True)), name


def test_with_accumulation_it_catches_up_once_an_optimizer_step(fit_with):
    lagging = Steps(most=4, window=2, patience=99)
    lagging.on_train_batch_end = lambda *_: None
    trainer = fit_with(max_epochs=1, callbacks=[lagging], accumulate_grad_batches=2)
    trainer.fit(small(), data())
    assert trainer.global_step == 2
    assert 4 <= lagging.count <= 8


@pytest.mark.parametrize("first", [True, False])
def test_the_encoder_is_stepped_at_the_coefficient_of_the_step_wherever_it_is_listed(
    fit_with, first
):
    seen = []

    class Noting(Steps):
        def _step(self, trainer, vae, batch):
            seen.append((trainer.global_step, vae.objective.beta))
            return super()._step(trainer, vae, batch)

    schedule = Linear(0, 1, over=6)
    callbacks = [Noting(most=2, window=2, patience=99), BetaAnnealing(schedule, unit="step")]
    trainer = fit_with(max_epochs=2, callbacks=callbacks if first else callbacks[::-1])
    trainer.fit(small(), data())
    assert seen == [(step, schedule(step)) for step in range(8) for _ in range(2)]


def test_its_batches_are_its_own():
    loader = data().train_dataloader()
    own = own_loader(loader)
    next(iter(own))
    assert loader.state_dict() == {"epoch": 0, "batch": 0}
    assert not torch.equal(next(iter(copy.copy(loader))), next(iter(own_loader(loader))))
    plain = DataLoader(TensorDataset(torch.rand(4, 2)))
    assert len(list(own_loader(plain))) == 4


def test_it_trains_text_and_says_what_it_does(fit_with, tmp_path):
    toy = ToyText(words=20, train_size=64, val_size=32, test_size=1, batch_size=16)
    vae = VAEModule(
        LSTMEncoder(toy.vocabulary_size, 2, 8, 8), LSTMDecoder(toy.vocabulary_size, 2, 8, 8)
    )
    watch = Watch()
    lagging = LaggingInference(most=4, window=2)
    trainer = fit_with(max_epochs=2, callbacks=[lagging, watch], gradient_clip_val=5.0)
    trainer.fit(vae, toy)
    assert watch.information[-1] <= math.log(16)
    assert {"val/mutual_information", "schedule/aggressive"} <= set(trainer.callback_metrics)
    assert {"encoder", "decoder"} in watch.moved


def test_mistakes_are_named(fit_with):
    for name in ("most", "window", "patience"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got 0"):
            LaggingInference(**{name: 0})
    with pytest.raises(ValueError, match=r"modules='q'.*there are \['encoder', 'decoder'"):
        fit_with(max_epochs=1, callbacks=[LaggingInference("q")]).fit(small(), data())
    without = Arrays(train=torch.rand(8, 4))
    with pytest.raises(ValueError, match="watches the mutual information in validation"):
        fit_with(max_epochs=1, callbacks=[LaggingInference()]).fit(small(), without)
    lasting = DataLoader(torch.rand(4, 2), num_workers=1, persistent_workers=True)
    with pytest.raises(ValueError, match="persistent_workers=False"):
        own_loader(lasting)


@pytest.mark.slow
def test_two_processes_agree_on_every_weight_and_on_when_it_ends(tmp_path):
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, Path(__file__).parent / "lagging_processes.py", tmp_path],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=300,
    )
    one, other = (json.loads((tmp_path / f"lagging-{rank}.json").read_text()) for rank in range(2))
    assert one == other
    assert one["averages"] != [[0.0] * 2, [1.0] * 2], "batch norm's, which DDP hands round"
