"""Steps that run as a CUDA graph do what they do one by one."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from unittest import mock

import pytest
import torch
from idinvert.inversion import InDomain, Networks, Settings, graphs, optimise
from idinvert.inversion.fast import FastNetworks
from idinvert.inversion.graphs import FEWEST, recordable, recorded
from idinvert.nn import (
    backbones,
    e4e,
    efficientnet,
    encoder,
    mobilestylegan,
    noise_encoder,
    pooled,
    reduced,
    stylegan,
    stylegan2,
    vgg,
)
from idinvert.nn.fast import accelerated
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

SIZE, DIM, STEPS = 16, 8, 12
CUDA = torch.device("cuda", 0)


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


@pytest.mark.gpu
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


@pytest.mark.gpu
@pytest.mark.parametrize("outer", [False, True])
def test_a_graph_casts_its_own_weights(outer, exact, monkeypatch):
    """In bfloat16, and inside a caller's autocast, whose cache it neither reads nor fills."""
    networks = made(stylegan, CUDA)
    images = torch.rand(2, 3, SIZE, SIZE, device=CUDA) * 2 - 1
    with torch.autocast("cuda", torch.bfloat16, enabled=outer):
        (graph, _), (single, _) = both_ways(monkeypatch, networks, images, bf16=True)
    agree(graph.codes, single.codes, 1e-2)


@pytest.mark.gpu
def test_later_batches_have_graphs_of_their_own(exact):
    networks = made(stylegan2, CUDA)
    images = torch.rand(4, 3, SIZE, SIZE, device=CUDA) * 2 - 1
    method = InDomain(iterations=STEPS)
    parts = [method.invert(networks, part).codes for part in images.split(2)]
    agree(torch.cat(parts), method.invert(networks, images).codes, 1e-3)


@pytest.mark.gpu
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


@pytest.mark.gpu
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
    fast = FastNetworks(networks)
    assert recordable(CUDA, parts, FEWEST)
    assert recordable(CUDA, [fast.generator, fast.features, fast.encoder], 100)
    assert not recordable(torch.device("cpu"), parts, 100)
    assert not recordable(CUDA, parts, FEWEST - 1)

    class Waits(nn.Module):
        """A network of somebody else."""

    assert not recordable(CUDA, [*parts, nn.Sequential(Waits())], 100)


@pytest.mark.parametrize("hook", ["forward_pre", "forward", "full_backward_pre", "full_backward"])
def test_a_graph_is_not_used_where_a_hook_is_to_be_called(hook):
    parts = [*vars(made(stylegan2, "cpu")).values()][:3]
    assert recordable(CUDA, parts, FEWEST)
    handle = getattr(parts[0].layers[1], f"register_{hook}_hook")(lambda *_: None)
    assert not recordable(CUDA, parts, FEWEST)
    handle.remove()
    assert recordable(CUDA, parts, FEWEST)


def test_a_graph_is_not_used_where_anomalies_are_searched_for():
    parts = [made(stylegan, "cpu").generator]
    with torch.autograd.set_detect_anomaly(True):
        assert not recordable(CUDA, parts, FEWEST)
    assert recordable(CUDA, parts, FEWEST)


def test_threads_record_one_after_the_other(monkeypatch):
    """All on one stream, where each would record what the others compute."""
    at_work, most = [], []

    def step():
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.01)
        at_work.pop()
        return graphs.Step(*2 * [torch.zeros(1)], {})
    for name in ("device", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", mock.MagicMock)
    monkeypatch.setattr(torch.cuda, "current_stream", mock.MagicMock)
    monkeypatch.setattr(graphs, "side_stream", mock.MagicMock())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: recorded(step, CUDA)(), range(4)))
    assert len(most) == 4 * (graphs.WARM_UP + 1) and max(most) == 1


class OnDevice(TorchDispatchMode):
    """Refuses operations that a graph cannot hold: those that read values, or other memory."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(operation)
        assert all(a.is_meta for a in args if isinstance(a, Tensor)), operation
        return operation(*args, **kwargs or {})


def test_passes_of_known_networks_neither_read_values_nor_copy_numbers(monkeypatch):
    """On the device "meta", where networks take the way that they take on a GPU."""
    def tensor(*_, **__):
        raise AssertionError("copied from the processor's memory")
    small = mobilestylegan.Generator(4 * SIZE, DIM, DIM, 256, 16)
    features = vgg.VGG16Features()
    generators = [stylegan.Generator(SIZE, DIM, DIM, 64, 8, tanh=True),
                  stylegan2.Generator(SIZE, DIM, DIM, 64, 8, clamp=256.0),
                  reduced.ReducedGenerator(small, SIZE)]
    lite = efficientnet.EfficientNetLite0().to("meta")
    others = [features, reduced.ReducedFeatures(features, 2), encoder.Encoder(SIZE, DIM, 4, 8),
              e4e.OffsetEncoder(SIZE, DIM, 4, 8), noise_encoder.NoiseEncoder(SIZE, DIM, 4, 8),
              backbones.ResNet(SIZE, DIM), backbones.MobileNet(SIZE, DIM),
              pooled.Encoder(SIZE, 6, DIM).attach(lite)]
    generators += [accelerated(network, torch.float32) for network in generators]
    others += [accelerated(network, torch.float32) for network in others[:6]]
    assert recordable(CUDA, [*generators, *others], FEWEST)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # has no "meta"
    monkeypatch.setattr(torch, "tensor", tensor)
    for network in [*generators, *others]:
        network.to("meta").eval().requires_grad_(False)
        synthesis = network in generators
        shape = (2, network.num_layers, DIM) if synthesis else (2, 3, SIZE, SIZE)
        x = torch.empty(shape, device="meta", requires_grad=True)
        with OnDevice():
            y = (network.synthesis if synthesis else network)(x)
            torch.autograd.grad(y.sum(), x)
