"""Two processes that share each batch take the steps of one."""

import functools
import os
import socket

import pytest
import torch
import torch.multiprocessing as mp
from idinvert import processes
from idinvert.codes import code_statistics
from idinvert.nn import encoder as nets
from idinvert.nn import projected, stylegan, stylegan2
from idinvert.nn.e4e import LatentDiscriminator, OffsetEncoder
from idinvert.nn.noise_encoder import NoiseEncoder
from idinvert.nn.vgg import VGG16Features
from idinvert.processes import Share
from idinvert.training import e4e, gan
from idinvert.training import encoder as training
from idinvert.training import steps as task_steps
from idinvert.training.parallel import SyncedNorm, synchronise

SIZE = {"resolution": 8, "channel_base": 64, "channel_max": 8}
STEPS = 5
CASES = ("encoder", "warm-up", "conventional", "noise", "e4e", "stylegan", "stylegan2", "compiled",
         "projected")
FIGURES = {"encoder": {"pixel", "feature", "adversarial", "d_loss", "r1"}, "warm-up": {"code"},
           "conventional": {"code"}, "noise": {"pixel", "adversarial", "d_loss", "r1"},
           "e4e": {"pixel", "offset", "d_loss", "r1"},
           "projected": {"d_loss", "d_real", "g_loss"}}  # of a step
GROWTH = ((0.016, 1), (0.048, 0))  # half the resolution for two steps, then one that fades


def task(case, share):
    """A task of sixteen images a step, for one process or for one of several."""
    torch.manual_seed(1)
    size = SIZE | ({"resolution": 16} if case == "projected" else {})
    images = torch.randint(0, 256, (40, 3, size["resolution"], size["resolution"]),
                           dtype=torch.uint8)
    module = stylegan if case in ("stylegan", "noise") else stylegan2
    generator = module.Generator(**size, z_dim=6, w_dim=6, layerwise=module is stylegan)
    discriminator = module.Discriminator(**size)
    if case == "projected":
        discriminator = projected.Discriminator(16, width=8).attach(VGG16Features())
    if case == "conventional":
        recipe = training.ConventionalRecipe(batch=16, schedule_kimg=1)
        return training.ConventionalTask(nets.Encoder(8, 6, 4, 8), generator, images, recipe,
                                         held_out=8, share=share)
    if case == "e4e":  # pools smaller than two batches, and a new offset after two steps
        recipe = e4e.Recipe(batch=16, learning_rate=1e-3, schedule_kimg=0.08, pool=24, r1_every=2,
                            vgg_share=1, offsets_from=0.4, offsets_every=0.2)
        average, spread = code_statistics(generator)
        return e4e.OffsetTask(OffsetEncoder(8, 6, 4, 8, average, spread), generator,
                              LatentDiscriminator(average, spread, hidden=16),
                              torch.nn.Conv2d(3, 4, 3), images, recipe, held_out=8, share=share)
    if case in ("encoder", "warm-up", "noise"):
        recipe = training.Recipe(batch=16, learning_rate=1e-3, schedule_kimg=1, lambda_vgg=0.5,
                                 vgg_share=0.25, r1_every=2,
                                 warmup=0.032 if case == "warm-up" else 0)  # two steps
        return training.DomainGuidedTask(
            NoiseEncoder(8, 6, 4, 8) if case == "noise" else nets.Encoder(8, 6, 4, 8), generator,
            discriminator, torch.nn.Conv2d(3, 4, 3), images, recipe, held_out=8, share=share)
    for layer in generator.layers:  # noise that shows from the first step on
        strength = layer.noise_weight if case == "stylegan" else layer.noise_strength
        torch.nn.init.constant_(strength, 0.5)
    recipe = gan.Recipe(batch=16, learning_rate=1e-3, r1_every=2, style_mixing=0.5,
                        ema_kimg=0.1, w_avg_beta=0.5, compile=case == "compiled",
                        growth=GROWTH if case == "stylegan" else ((0, 0),))
    return gan.GanTask(generator, discriminator, images, recipe, share=share)


def steps(case, share):
    """Figures of some steps in float32, and the networks at the end."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (training, gan, task_steps):
            patch.setattr(module, "autocast", lambda device: torch.autocast("cpu", enabled=False))
        patch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
        trained, figures = task(case, share), []
        for step in range(STEPS):
            torch.manual_seed(step)
            figures.append({k: float(v) for k, v in trained.step(step).items()})
    return figures, {f"{name}.{key}": value.clone() for name, network in trained.networks.items()
                     for key, value in network.state_dict().items()}


def test_each_process_takes_its_part_of_the_sampled_codes():
    """In the warm-up too each of four processes renders and encodes a quarter of the batch, which
    together are the batch of one process."""
    parts = []
    for rank in range(4):
        torch.manual_seed(3)
        parts.append(task("warm-up", Share(rank, 4)).sampled_codes())
        torch.manual_seed(3)
        whole = task("warm-up", Share()).sampled_codes()
    assert [len(part) for part in parts] == [4] * 4 and len(whole) == 16
    torch.testing.assert_close(torch.stack(parts, 1).flatten(0, 1), whole)


def work(rank, port, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    share = processes.share()
    processes.connect(share, "cpu")
    result = {case: steps(case, share) for case in CASES}
    result["stop"] = processes.any_of(rank == 1)
    result["same"] = processes.same("images"), processes.same(f"images {rank}")
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


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_losses_of_one(results, case):
    expected, networks = steps(case, Share())
    assert FIGURES.get(case, {"d_loss", "d_real", "g_loss", "r1"}) <= set(expected[0])
    for result in results:
        figures, state = result[case]
        for found, wanted in zip(figures, expected, strict=True):
            assert found == pytest.approx(wanted, rel=2e-3)
        assert figures[0] == pytest.approx(expected[0], rel=1e-4)
        assert set(state) == set(networks)
        for name, value in networks.items():
            if "running" in name or "w_avg" in name:
                torch.testing.assert_close(state[name], value, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("case", CASES)
def test_processes_stay_the_same(results, case):
    (figures, state), (others, other) = (result[case] for result in results)
    assert figures == others
    trained = [name for name in state if "running" not in name]
    assert all(torch.equal(state[name], other[name]) for name in trained)


def test_processes_agree_to_stop(results):
    assert all(result["stop"] for result in results)


def test_processes_know_whether_they_have_read_the_same(results):
    assert all(result["same"] == (True, False) for result in results)


@pytest.mark.parametrize("count, threads, advice", [
    (2, 2, None), (2, 4, "set OMP_NUM_THREADS=2"), (4, 1, None), (4, 2, "set OMP_NUM_THREADS=1"),
    (8, 1, "start at most 4"),
])  # fmt: skip
def test_more_threads_than_cores_are_told(count, threads, advice, monkeypatch, recwarn):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))
    processes.warn_if_crowded(Share(1, count), "cpu")  # the first process tells it
    processes.warn_if_crowded(Share(0, count), "cuda:0")
    processes.warn_if_crowded(Share(0, 1), "cpu")
    assert not recwarn
    processes.warn_if_crowded(Share(0, count), "cpu")
    told = [str(warning.message) for warning in recwarn]
    assert [text.rpartition(": ")[2] for text in told] == ([f"{advice}."] if advice else [])


@pytest.mark.parametrize("world, case, multiple", [
    (3, "encoder", 12), (8, "stylegan", 32), (3, "stylegan2", 12),
])  # fmt: skip
def test_a_batch_must_be_divisible_into_whole_groups(world, case, multiple):
    with pytest.raises(ValueError, match=f"{world} processes cannot share a batch of 16: .*"
                       f"groups of 4, so it must be a multiple of {multiple}"):
        task(case, Share(0, world))


def test_synced_norm_keeps_names_and_tensors():
    network = nets.Encoder(8, 6, 4, 8)
    names, weight = list(network.state_dict()), network.norm.running_var
    synchronise(network)
    assert sorted(network.state_dict()) == sorted(names) and network.norm.running_var is weight
    assert isinstance(network.blocks[0].body[0].norm, SyncedNorm)


def test_more_processes_than_gpus_are_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Share(i, 2, i).device() for i in range(2)] == ["cuda:0", "cuda:1"]
    with pytest.raises(ValueError, match="Process 3 of this machine has no GPU of its own, of"):
        Share(2, 3, 2).device()


def test_a_place_where_processes_cannot_meet_is_told(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "x")
    with pytest.raises(ValueError, match="The processes cannot meet at 127.0.0.1:x, where MASTER"):
        processes.connect(Share(0, 2), "cpu")
