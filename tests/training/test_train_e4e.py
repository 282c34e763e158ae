"""Training of e4e: offsets come into use by the schedule, codes are judged, runs can be resumed."""

import copy

import pytest
import torch
from idinvert.nn import stylegan
from idinvert.nn.e4e import LatentDiscriminator, OffsetEncoder
from idinvert.training import e4e
from idinvert.training.loop import Schedule, train

LAYERS, DIM = 4, 6


def make(**recipe):
    torch.manual_seed(1)
    size = {"resolution": 8, "channel_base": 64, "channel_max": 8}
    generator = stylegan.Generator(**size, z_dim=6, w_dim=DIM, layerwise=True)
    torch.nn.init.normal_(generator.mapping.dense[-1].bias, std=50)
    codes = generator.mapping(torch.randn(1000, 6)).detach()
    judge = LatentDiscriminator(codes.mean(0), codes.std(0), hidden=16)
    encoder = OffsetEncoder(8, DIM, 4, 8, codes.mean(0), codes.std(0))
    images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8)
    settings = {"batch": 8, "learning_rate": 1e-3, "schedule_kimg": 0.08, "pool": 12, "r1_every": 2,
                "vgg_share": 1.0} | recipe
    return e4e.OffsetTask(encoder, generator, judge, torch.nn.Conv2d(3, 4, 3), images,
                          e4e.Recipe(**settings), held_out=8)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_penalty_is_the_sum_of_norms():
    """Two images, two layers: (5 + 0 + 13 + 1) / 2."""
    offsets = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[5.0, 12.0], [0.0, -1.0]]])
    offsets.requires_grad_(True)
    penalty = e4e.offset_penalty(offsets)
    assert penalty.item() == pytest.approx(9.5)
    penalty.backward()
    assert offsets.grad.isfinite().all()
    torch.testing.assert_close(offsets.grad[0, 0], torch.tensor([0.3, 0.4]))


def test_offsets_follow_the_schedule():
    """Ten steps: none before step 2, then one more every 2 steps, at most 3."""
    task = make(offsets_from=0.2, offsets_every=0.2)
    assert [task.offsets_at(i) for i in (0, 1, 2, 3, 5, 7, 9)] == [0, 0, 1, 1, 2, 3, 3]


def test_a_longer_schedule_takes_no_offset_back():
    task = make(offsets_from=0.5)
    task.encoder.active.fill_(2)
    task.step(0)
    assert task.encoder.active == 2


def test_step_moves_encoder_and_latent_discriminator_and_leaves_the_rest():
    task = make(offsets_from=0.0)
    before = {name: copy.deepcopy(getattr(task, name))
              for name in ("encoder", "discriminator", "generator", "features")}
    figures = task.step(0)
    assert not same(task.encoder, before["encoder"])
    assert not same(task.discriminator, before["discriminator"])
    assert same(task.generator, before["generator"])
    assert same(task.features, before["features"])
    terms = {"pixel", "feature", "adversarial", "offset", "d_loss", "r1"}
    assert set(figures) == terms
    assert (task.encoder.gain[0] != 0).all() and (task.encoder.gain[1:] == 0).all()


def test_latent_discriminator_keeps_codes_near_sampled_ones():
    """Of the adversarial term alone: codes that begin far off come nearer."""
    task = make(lambda_vgg=0.0, lambda_adv=1e3, learning_rate=2e-2, latent_rate=1.0,
                schedule_kimg=100)
    task.encoder.norm.bias.data.fill_(3.0)
    for i in range(60):
        torch.manual_seed(i)
        task.step(i)
    assert task.encoder.norm.bias[:DIM].mean() < 2.8


def test_larger_weight_of_the_penalty_makes_offsets_smaller():
    def size(weight):
        task = make(lambda_offset=weight, offsets_from=0.0, offsets_every=1e-3, lambda_adv=0.0,
                    learning_rate=1e-2)
        for i in range(40):
            torch.manual_seed(i)
            figures = task.step(i)
        return figures["offset"]

    assert size(1.0) < 0.5 * size(0.0)


def test_learning_rate_of_the_latent_discriminator_is_a_share():
    task = make(schedule_kimg=8, learning_rate=1e-3)
    task.schedule(250)
    encoder, judge = (o.param_groups[0]["lr"] for o in task.optimizers)
    assert encoder == pytest.approx(0.8e-3) and judge == pytest.approx(0.2 * encoder)


def test_resumed_run_is_the_uninterrupted_run(tmp_path):
    """The pools of codes and the number of offsets in use are part of the checkpoint."""
    whole, first, second = make(), make(), make()
    assert train(whole, tmp_path / "a", Schedule(0.08, checkpoint_kimg=0.04), progress=False)
    assert train(first, tmp_path / "b", Schedule(0.04, checkpoint_kimg=0.04), progress=False)
    assert train(second, tmp_path / "b", Schedule(0.08, checkpoint_kimg=0.04), progress=False)
    for name in whole.networks:
        assert same(getattr(whole, name), getattr(second, name)), name
    assert second.encoder.active == 3 and first.encoder.active == 3
    assert not same(whole.encoder, first.encoder)
