"""Two processes that share each batch take the steps of one."""

import os
import socket

import pytest
import torch
import torch.multiprocessing as mp
from idinvert import processes
from idinvert.nn import encoder as nets
from idinvert.nn import stylegan2
from idinvert.processes import Share
from idinvert.train import encoder as training
from idinvert.train.parallel import SharedTask, SyncedNorm, synchronise

SIZE = {"resolution": 8, "channel_base": 64, "channel_max": 8}
STEPS = 3


def steps(share):
    """Figures of some steps in float32, the encoder at the end and its code of an image."""
    training.autocast = lambda device: torch.autocast("cpu", enabled=False)
    torch.manual_seed(1)
    parts = (nets.Encoder(8, 6, 4, 8), stylegan2.Generator(**SIZE, z_dim=6, w_dim=6),
             stylegan2.Discriminator(**SIZE), torch.nn.Conv2d(3, 4, 3),
             torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8))
    recipe = training.Recipe(batch=16, learning_rate=1e-3, kimg=1, lambda_vgg=0.5, vgg_share=0.25,
                             r1_every=2)
    if share.world == 1:
        task = training.DomainGuidedTask(*parts, recipe, held_out=8)
    else:
        task = SharedTask(share, *parts, recipe, held_out=8)
    figures = []
    for step in range(STEPS):
        torch.manual_seed(step)
        figures.append({k: float(v) for k, v in task.step(step).items()})
    return figures, {k: v.clone() for k, v in task.encoder.state_dict().items()}


def work(rank, port, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    share = processes.share()
    processes.connect(share, "cpu")
    result = (*steps(share), processes.any_of(rank == 1))
    processes.disconnect()
    torch.save(result, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_two_processes_have_the_losses_of_one(results):
    expected, encoder = steps(Share())
    assert {"pixel", "feature", "adversarial", "d_loss", "r1"} <= set(expected[0])
    for figures, state, _ in results:
        for found, wanted in zip(figures, expected, strict=True):
            assert found == pytest.approx(wanted, rel=2e-3)
        assert figures[0] == pytest.approx(expected[0], rel=1e-4)
        assert set(state) == set(encoder)
        for name, value in encoder.items():
            if "running" in name:
                torch.testing.assert_close(state[name], value, rtol=2e-3, atol=2e-3)


def test_processes_stay_the_same_and_agree(results):
    (figures, state, stop), (others, other, other_stop) = results
    assert figures == others and stop and other_stop
    trained = [name for name in state if "running" not in name]
    assert all(torch.equal(state[name], other[name]) for name in trained)


def test_a_batch_must_be_divisible():
    parts = (nets.Encoder(8, 6, 4, 8), stylegan2.Generator(**SIZE, z_dim=6, w_dim=6),
             stylegan2.Discriminator(**SIZE), torch.nn.Identity(), torch.zeros(40, 3, 8, 8))
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 16"):
        SharedTask(Share(0, 3), *parts, training.Recipe(batch=16))


def test_synced_norm_keeps_names_and_tensors():
    network = nets.Encoder(8, 6, 4, 8)
    names, weight = list(network.state_dict()), network.norm.running_var
    synchronise(network)
    assert sorted(network.state_dict()) == sorted(names) and network.norm.running_var is weight
    assert isinstance(network.blocks[0].body[0].norm, SyncedNorm)
