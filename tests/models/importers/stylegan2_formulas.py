"""StyleGAN2 written out from its paper and official code, in float64, without our layers.

One weight per image, as the paper has it (Eq. 1 and 3), resampling by zeros in between and an
explicit 4 x 4 filter. `names` tell where each tensor is in a file.
"""

import math

import torch
import torch.nn.functional as F

FILTER = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8] * 2)


def resample(x, before, after, up=1, down=1, gain=1.0):
    """Zeros in between, padding, the filter, every `down`-th pixel."""
    n, c, h, w = x.shape
    if up == 2:
        spread = x.new_zeros(n, c, 2 * h, 2 * w)
        spread[:, :, ::2, ::2] = x
        x = spread
    x = F.pad(x, (before, after, before, after))
    x = F.conv2d(x.reshape(-1, 1, *x.shape[2:]), (FILTER * gain)[None, None])
    return x.reshape(n, c, *x.shape[2:])[:, :, ::down, ::down]


def activate(x, clamp=None):
    x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    return x if clamp is None else x.clamp(-clamp, clamp)


def dense(x, weight, bias, multiplier=1.0):
    return x @ (weight.double().T * multiplier / math.sqrt(weight.shape[1])) + bias * multiplier


def mapping(z, layers, multiplier=0.01):
    x = z.double() / torch.sqrt(z.double().square().mean(1, keepdim=True) + 1e-8)
    for weight, bias in layers:
        x = activate(dense(x, weight, bias.double(), multiplier))
    return x


def modulated(x, weight, style, up, demodulate, scale=1.0):
    """Each image convolved with its own weight [N, O, I, k, k]."""
    results = []
    for image, s in zip(x, style):
        w = weight.double() * scale * s[None, :, None, None]
        if demodulate:
            w = w / torch.sqrt(w.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        if up:
            y = F.conv_transpose2d(image[None], w.transpose(0, 1), stride=2)
            results.append(resample(y, 1, 1, gain=4))
        else:
            results.append(F.conv2d(image[None], w, padding=w.shape[-1] // 2))
    return torch.cat(results)


def synthesis(codes, const, layers, to_rgb, clamp=None):
    """Images of codes [N, L, D]; `layers` and `to_rgb` are dicts of tensors in order."""
    codes = codes.double()
    x, image = const.double().expand(len(codes), -1, -1, -1), None
    for i, layer in enumerate(layers):
        style = dense(codes[:, i], layer["style"], layer["style_bias"])
        x = modulated(x, layer["weight"], style, up=i % 2 == 1, demodulate=True)
        x = x + layer["noise"].double() * layer["strength"].double()
        x = activate(x + layer["bias"].double()[:, None, None], clamp)
        if i % 2 == 0:
            out = to_rgb[i // 2]
            style = dense(codes[:, i + 1], out["style"], out["style_bias"])
            scale = 1 / math.sqrt(out["weight"].shape[1])
            y = modulated(x, out["weight"], style, False, False, scale)
            y = y + out["bias"].double()[:, None, None]
            y = y if clamp is None else y.clamp(-clamp, clamp)
            image = y if image is None else y + resample(image, 2, 1, up=2, gain=4)
    return image


def convolve(x, weight, bias, down=False, active=True, clamp=None):
    scale = 1 / math.sqrt(weight[0].numel())
    pad = weight.shape[-1] // 2
    if down:
        x = resample(x, pad + 1, pad + 1)
        x = F.conv2d(x, weight.double() * scale, stride=2)
    else:
        x = F.conv2d(x, weight.double() * scale, padding=pad)
    if bias is not None:
        x = x + bias.double()[:, None, None]
    return activate(x, clamp) if active else x


def discriminate(image, from_rgb, blocks, conv, fc, out, clamp=None, group=4):
    """Logits [N]; every argument is (weight, bias), `blocks` are triples of them."""
    x = convolve(image.double(), *from_rgb, clamp=clamp)
    for first, second, skip in blocks:
        y = convolve(x, *skip, down=True, active=False)
        x = convolve(x, *first, clamp=clamp)
        x = (convolve(x, *second, down=True, clamp=clamp) + y) / math.sqrt(2)
    n = len(x)
    groups = x.reshape(min(group, n), -1, *x.shape[1:])
    deviation = torch.sqrt(groups.var(0, correction=0) + 1e-8).mean((1, 2, 3))
    extra = torch.stack([deviation[i % len(deviation)] for i in range(n)])
    x = torch.cat([x, extra[:, None, None, None].expand(n, 1, 4, 4)], 1)
    x = convolve(x, *conv, clamp=clamp).flatten(1)
    return dense(activate(dense(x, fc[0], fc[1].double())), out[0], out[1].double())[:, 0]
