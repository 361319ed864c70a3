"""Digits by the network of the best-known course's first unit, trained for some minutes: for `make quality PEER=...`.

Any Python that has diffusers runs it: peer_quality.py DIGITS.npy OUT.npy MINUTES COUNT STEPS. DIGITS: (N, 28, 28, 1) uint8, to
train on. OUT: (COUNT, 28, 28, 1) float32, drawn in STEPS steps of its DDIM scheduler. Prints steps, minutes and loss as JSON.
"""

import json
import sys
import time

import numpy as np

NETWORK = {
    "sample_size": 28,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 2,
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}


def main(digits, out, minutes, count, steps, batch=64):
    """Train for so many minutes, first step included, to guess the noise; then draw."""
    import diffusers
    import torch

    torch.manual_seed(0)
    images = torch.from_numpy(np.load(digits)).permute(0, 3, 1, 2)
    start, losses = time.monotonic(), []
    model, chain = diffusers.UNet2DModel(**NETWORK), diffusers.DDPMScheduler(1000)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    while not losses or time.monotonic() - start < 60 * minutes:
        x_0 = images[torch.randint(len(images), (batch,))].float() / 127.5 - 1
        noise, t = torch.randn_like(x_0), torch.randint(1000, (batch,))
        loss = torch.nn.functional.mse_loss(model(chain.add_noise(x_0, noise, t), t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    trained = (time.monotonic() - start) / 60

    sampler, drawn = diffusers.DDIMScheduler(1000), []
    sampler.set_timesteps(steps)
    with torch.inference_mode():
        for first in range(0, count, 250):
            x_t = torch.randn(min(250, count - first), 1, 28, 28)
            for t in sampler.timesteps:
                x_t = sampler.step(model(x_t, t).sample, t, x_t).prev_sample
            drawn.append(x_t.permute(0, 2, 3, 1).numpy())
    np.save(out, np.concatenate(drawn))
    loss = float(np.mean(losses[-max(1, len(losses) // 20) :]))
    print(json.dumps({"steps": len(losses), "minutes": trained, "loss": loss}))


if __name__ == "__main__":
    digits, out, minutes, count, steps = sys.argv[1:]
    main(digits, out, float(minutes), int(count), int(steps))
