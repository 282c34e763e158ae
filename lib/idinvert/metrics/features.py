"""Features of images, the input of FD and KID."""

import torch

from . import checks


@torch.no_grad()
def extract(images, network, batch_size=64):
    """Features [N, F], float32 on the CPU, of images [N, 3, H, W] in [-1, 1].

    `images` may also be an iterable of such batches, for sets that do not fit in memory. `network`
    maps a batch to [B, F]; it runs on its own device, in the mode it is in. Images are clipped to
    [-1, 1] but not rounded to 8 bits.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    batches = images.split(batch_size) if torch.is_tensor(images) else images
    found = [network(checks.images(batch).to(device)).float().cpu() for batch in batches]
    if not found:
        raise ValueError("There are no images to take features of.")
    return torch.cat(found)
