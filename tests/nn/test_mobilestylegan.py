"""MobileStyleGAN: against dense convolutions, the Haar transform as a matrix, and the original.

tests/parity/ffhq.npz has latents z [3, 512] and what OpenVINO makes of them in float32 with the
published weights: codes w [3, 512], every 16th pixel of the images, [3, 3, 64, 64], and mean and
deviation of each channel.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from idinvert.codes import sample_codes
from idinvert.nn import architecture, protocols
from idinvert.nn.mobilestylegan import Generator, Haar, InverseHaar, haar, inverse_haar

PARITY = Path(__file__).parents[1] / "parity" / "ffhq.npz"


@pytest.fixture
def tiny():
    """A generator of 32 px, features at 4, 8 and 16 px, random in all its weights, float64."""
    torch.manual_seed(0)
    generator = Generator(32, z_dim=6, w_dim=5, channel_base=128, channel_max=16)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return generator.double().eval().requires_grad_(False)


def codes(generator, count=2):
    return torch.randn(count, generator.num_layers, generator.w_dim, dtype=torch.float64,
                       generator=torch.Generator().manual_seed(1))


def test_haar_transform_is_the_matrix_of_its_definition():
    sums = torch.tensor([[1.0, 1], [1, -1]]) / 2**0.5
    # rows of the 2x2 square: mean, difference of rows, of columns, diagonal
    matrix = torch.stack([torch.kron(sums[p], sums[q]) for p, q in ((0, 0), (1, 0), (0, 1),
                                                                    (1, 1))])
    x = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    squares = F.unfold(x, 2, stride=2).unflatten(1, (3, 4))
    expected = torch.einsum("bs,ncsp->nbcp", matrix, squares).reshape(2, 12, 2, 3)
    torch.testing.assert_close(haar(x), expected)
    torch.testing.assert_close(inverse_haar(haar(x)), x)
    torch.testing.assert_close(haar(x).square().sum(), x.square().sum())


def test_gradients_of_the_haar_transform():
    x = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(InverseHaar.apply, x)
    torch.autograd.gradgradcheck(InverseHaar.apply, x)
    torch.autograd.gradcheck(Haar.apply, torch.randn(1, 1, 4, 4, dtype=torch.float64,
                                                     requires_grad=True))


def dense(generator, w, maps):
    """The image of one code [L, D], by full 3x3 kernels and transposed convolutions."""
    signs = torch.tensor([[[1.0, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]],
                          [[1, -1], [-1, 1]]], dtype=torch.float64) / 2

    def up(bands):
        count = bands.shape[1] // 4
        kernel = signs.new_zeros(4 * count, count, 2, 2)
        for band in range(4):
            for c in range(count):
                kernel[band * count + c, c] = signs[band]
        return F.conv_transpose2d(bands, kernel, stride=2)

    x = generator.const
    for i, layer in enumerate(generator.layers):
        style = layer.style.weight @ w[i] + layer.style.bias
        if i % 2:
            scale = generator.up[i // 2].weight @ w[i] + generator.up[i // 2].bias
            x = up(x * scale[:, None, None])
        kernel = layer.weight * style[:, None, None] if layer.full else torch.einsum(
            "oi,i,ihw->oihw", layer.weight, style, layer.depthwise[:, 0])
        x = F.conv2d(x, kernel, layer.bias, padding=1) + maps[i] * layer.noise_strength \
            if maps else F.conv2d(x, kernel, layer.bias, padding=1)
        x = torch.where(x > 0, x, 0.2 * x)
    style = generator.to_bands_style.weight @ w[-1] + generator.to_bands_style.bias
    return up(F.conv2d(x * style[:, None, None], generator.to_bands[:, :, None, None],
                       generator.to_bands_bias))


@pytest.mark.parametrize("noise", ["fixed", "none"])
def test_layers_are_convolutions_with_modulated_kernels(tiny, noise):
    w = codes(tiny)
    maps = [layer.noise for layer in tiny.layers] if noise == "fixed" else None
    expected = torch.cat([dense(tiny, code, maps) for code in w])
    assert expected.std() > 0.1
    torch.testing.assert_close(tiny.synthesis(w, noise), expected)


def test_noise_is_of_each_layer(tiny):
    w = codes(tiny)
    maps = [torch.randn(2, *layer.noise.shape[1:]).double() for layer in tiny.layers]
    image = tiny.synthesis(w, maps)
    expected = dense(tiny, w[1], [m[1:] for m in maps])
    torch.testing.assert_close(image[1:], expected)
    stored = tiny.synthesis(w)
    torch.testing.assert_close(tiny.synthesis(w, [None] * 5), stored)
    assert (tiny.synthesis(w, "random") - stored).abs().max() > 0.01
    with pytest.raises(ValueError, match="noise must be"):
        tiny.synthesis(w, "loud")


@pytest.mark.parametrize("size", [1, 8, 16, 32])
def test_reduced_images_are_means_of_pixels_and_so_are_gradients(tiny, size):
    w = codes(tiny).requires_grad_()
    mean = F.avg_pool2d(tiny.synthesis(w), 32 // size)
    reduced = tiny.synthesis(w, size=size)
    torch.testing.assert_close(reduced, mean)
    weights = torch.randn_like(mean)
    expected, = torch.autograd.grad((mean * weights).sum(), w)
    found, = torch.autograd.grad((reduced * weights).sum(), w)
    torch.testing.assert_close(found, expected)


def test_gradient_is_that_of_finite_differences(tiny):
    w = codes(tiny, 1).requires_grad_()
    torch.autograd.gradcheck(lambda x: tiny.layers[1](tiny.const[:, :4], x[:, 1], None), w)


@pytest.mark.parametrize("size", [3, 64, -1])
def test_size_that_does_not_divide_the_resolution(tiny, size):
    with pytest.raises(ValueError, match=f"cannot be reduced to {size} px: the size must divide"):
        tiny.synthesis(codes(tiny), size=size)


def test_each_image_depends_on_its_own_code(tiny):
    w = codes(tiny, 3)
    alone = torch.cat([tiny.synthesis(code[None]) for code in w])
    torch.testing.assert_close(tiny.synthesis(w), alone)


def test_bfloat16_is_close(tiny):
    w = codes(tiny.float()).float()
    with torch.autocast("cpu", torch.bfloat16):
        image, reduced = tiny.synthesis(w), tiny.synthesis(w, size=8)
    exact = tiny.synthesis(w)
    assert image.dtype == reduced.dtype == torch.float32 and image.is_contiguous()
    assert 0 < (image - exact).square().mean() < 1e-3 * exact.square().mean()


def test_it_is_a_generator_that_can_be_built_again(tiny):
    assert not protocols.missing(tiny, protocols.Generator)
    again = architecture.build(tiny.architecture, tiny.settings)
    again.double().load_state_dict(tiny.state_dict())
    torch.testing.assert_close(again.synthesis(codes(tiny)), tiny.synthesis(codes(tiny)))
    assert tiny.num_layers == 6 and [layer.noise.shape[-1] for layer in tiny.layers] == [
        4, 8, 8, 16, 16]
    w, z = sample_codes(tiny.float(), 3), torch.ones(1, 6)
    assert w.shape == (3, 6, 5)
    torch.testing.assert_close(tiny.truncate(w, 0.0, 6), tiny.w_avg.expand_as(w))
    torch.testing.assert_close(tiny(z), tiny.synthesis(tiny.mapping(z)))


def test_channels_must_make_four_bands():
    with pytest.raises(ValueError, match=r"multiple of four channels, not \[16, 8, 4, 2\]"):
        Generator(64, channel_base=64, channel_max=16)


def test_one_image_at_1024_px_takes_less_than_4_gb():
    """Forward and backward, whole and reduced; of the process, with PyTorch."""
    code = ("import resource, torch; from idinvert.nn.mobilestylegan import Generator\n"
            "generator = Generator().eval().requires_grad_(False)\n"
            "for size in (1024, 256):\n"
            "    w = torch.randn(1, 16, 512, requires_grad=True)\n"
            "    generator.synthesis(w, size=size).square().mean().backward()\n"
            "    assert w.grad.abs().sum() > 0\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.2 < float(done.stdout) < 4


def test_original_network(ffhq):
    parity = {key: torch.from_numpy(value) for key, value in np.load(PARITY).items()}
    w = ffhq.mapping(parity["z"])
    assert w.shape == (3, 16, 512)
    torch.testing.assert_close(w[:, 0], parity["w"], rtol=0, atol=1e-4)
    images = ffhq.synthesis(w)
    torch.testing.assert_close(images[:, :, ::16, ::16], parity["pixels"], rtol=0, atol=1e-3)
    torch.testing.assert_close(images.mean((2, 3)), parity["mean"], rtol=0, atol=1e-5)
    torch.testing.assert_close(images.std((2, 3)), parity["std"], rtol=0, atol=1e-5)
    reduced = ffhq.synthesis(w, size=256)
    torch.testing.assert_close(reduced, F.avg_pool2d(images, 4), rtol=0, atol=1e-5)


def test_average_code_is_that_of_many_latents(ffhq):
    w = sample_codes(ffhq, 2000, seed=5)[:, 0]
    error = (w.mean(0) - ffhq.w_avg[0]) / w.std(0) * (1 / 2000 + 1 / 10000) ** -0.5
    assert ffhq.w_avg.std() > 0.1 and 0.9 < error.std() < 1.1 and error.abs().max() < 5
    assert (ffhq.w_avg == ffhq.w_avg[0]).all()
