"""Steps that run as a CUDA graph do what they do one by one."""

import pytest
import torch
from idinvert.inversion import InDomain, Networks, Settings, graphs, optimise
from idinvert.inversion.fast import FastNetworks
from idinvert.inversion.graphs import FEWEST, recordable, recorded
from idinvert.nn import encoder, stylegan, stylegan2, vgg
from torch import nn

SIZE, DIM, STEPS = 16, 8, 12
CUDA = torch.device("cuda", 0)
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


def made(architecture, device):
    """Small networks with random weights."""
    torch.manual_seed(0)
    parts = (architecture.Generator(SIZE, DIM, DIM, channel_base=64, channel_max=8, layerwise=True),
             vgg.VGG16Features(), encoder.Encoder(SIZE, DIM, 4, 8))
    return Networks(*(part.to(device).eval().requires_grad_(False) for part in parts))


@pytest.fixture
def exact(monkeypatch):
    """Convolutions whose sums do not depend on the algorithm that cuDNN picks."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def both_ways(monkeypatch, networks, images, mask=None, bf16=False):
    """The inversion by a graph, and step by step; each with the images that `on_step` was given."""
    replays, replay = [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda g: replays.append(1) or replay(g))
    start = torch.randn(len(images), networks.generator.num_layers, DIM, device=CUDA)

    def inverted(fewest):
        seen = []
        monkeypatch.setattr(graphs, "FEWEST", fewest)
        result = optimise(networks, images, start, Settings(iterations=STEPS, bf16=bf16),
                          lambda_dom=2.0, mask=mask, on_step=lambda *step: seen.append(step[2]))
        return result, torch.stack(seen)
    found = inverted(STEPS), inverted(STEPS + 1)
    assert len(replays) == STEPS  # of the first one alone
    return found


def agree(a, b, rtol=1e-4):
    """Whether values are the same but for so much of their size."""
    assert (a - b).norm() <= rtol * b.norm()


@on_gpu
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("architecture", [stylegan, stylegan2])
def test_a_graph_gives_the_codes_of_single_steps(architecture, fast, masked, batch, exact,
                                                 monkeypatch):
    networks = made(architecture, CUDA)
    images = torch.rand(batch, 3, SIZE, SIZE, device=CUDA) * 2 - 1
    mask = (torch.rand(batch, 1, SIZE, SIZE, device=CUDA) < 0.5).float() if masked else None
    (graph, seen), (single, expected) = both_ways(
        monkeypatch, FastNetworks(networks) if fast else networks, images, mask=mask)
    rtol = 1e-2 if fast else 1e-4  # sums in bfloat16 may come in another order
    agree(graph.codes, single.codes, rtol)
    agree(graph.images, single.images, rtol)
    agree(seen, expected, rtol)
    assert graph.losses.keys() == {"pixel", "feature", "code", "total"}
    for name, values in graph.losses.items():
        agree(values, single.losses[name], rtol)
    steps = (seen[1:] - seen[:-1]).flatten(1).abs().amax(1)
    assert (steps > 0).all()  # no replay writes over an image that was handed out


@on_gpu
@pytest.mark.parametrize("outer", [False, True])
def test_a_graph_casts_its_own_weights(outer, exact, monkeypatch):
    """In bfloat16, and inside a caller's autocast, whose cache it neither reads nor fills."""
    networks = made(stylegan, CUDA)
    images = torch.rand(2, 3, SIZE, SIZE, device=CUDA) * 2 - 1
    with torch.autocast("cuda", torch.bfloat16, enabled=outer):
        (graph, _), (single, _) = both_ways(monkeypatch, networks, images, bf16=True)
    agree(graph.codes, single.codes, 1e-2)


@on_gpu
def test_later_batches_have_graphs_of_their_own(exact):
    networks = made(stylegan2, CUDA)
    images = torch.rand(4, 3, SIZE, SIZE, device=CUDA) * 2 - 1
    method = InDomain(iterations=STEPS)
    parts = [method.invert(networks, part).codes for part in images.split(2)]
    agree(torch.cat(parts), method.invert(networks, images).codes, 1e-3)


@on_gpu
@pytest.mark.parametrize("recording", [False, True])
def test_memory_that_runs_out_is_told_as_such(recording):
    """While a graph is recorded too, after which random numbers and other graphs still work."""
    def step():
        if torch.cuda.is_current_stream_capturing() == recording:
            torch.empty(1 << 50, device=CUDA)
        value = torch.ones(2, device=CUDA) * 2
        return graphs.Step(value, value, {"total": value})
    with pytest.raises(torch.OutOfMemoryError):
        recorded(step, CUDA)
    torch.randn(2, device=CUDA)
    value = torch.ones(2, device=CUDA)
    replay = recorded(lambda: graphs.Step(value * 2, value * 3, {"total": value * 4}), CUDA)
    first = replay()
    value.fill_(5)
    assert replay().losses["total"].tolist() == [20, 20] and first.gradient.tolist() == [3, 3]


@on_gpu
def test_a_graph_gives_its_memory_back(exact):
    """What is left after many inversions does not grow with them."""
    networks = made(stylegan, CUDA)
    images = torch.rand(2, 3, SIZE, SIZE, device=CUDA) * 2 - 1
    left = []
    for _ in range(4):
        InDomain(iterations=STEPS).invert(networks, images)
        torch.cuda.empty_cache()
        left.append(torch.cuda.memory_reserved())
    assert left[-1] == left[1]


def test_a_graph_is_used_for_many_steps_of_known_networks_on_a_gpu():
    networks = made(stylegan, "cpu")
    parts = [networks.generator, networks.features, networks.encoder]
    accelerated = FastNetworks(networks)
    assert recordable(CUDA, parts, FEWEST)
    assert recordable(CUDA, [accelerated.generator, accelerated.encoder], 100)
    assert not recordable(torch.device("cpu"), parts, 100)
    assert not recordable(CUDA, parts, FEWEST - 1)

    class Waits(nn.Module):
        """A network of somebody else."""

    assert not recordable(CUDA, [*parts, nn.Sequential(Waits())], 100)
