"""The reference network's counterpart in PyTorch and diffusers, in a process of its own, which any Python may run.

Two frameworks in one process would fight for its threads. Between requests this one sleeps, so the two can take turns.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec

from table import Candidate, timed

NETWORK = {  # the shape of unet.unet(32, 1, (32, 64, 128), 2)
    "sample_size": 32,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (32, 64, 128),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    "attention_head_dim": 128,  # one head
    "norm_num_groups": 8,
}


@contextmanager
def running(python, batch, side):
    """A function that asks the peer's process, or nothing where `python` lacks the packages, and what it said of itself."""
    with subprocess.Popen([python, __file__, str(batch), str(side)], stdin=-1, stdout=-1, encoding="utf-8") as process:

        def ask(request):
            print(request, file=process.stdin, flush=True)
            return float(process.stdout.readline())

        hello = process.stdout.readline()
        yield (ask, json.loads(hello)) if hello else (None, None)
        process.stdin.close()


def candidates(ask, hello, network):
    """The peer in both precisions, after its first steps."""
    return [
        Candidate(f"{network} in diffusers", precision, hello["flops"], ask(f"first {precision}"), calls(ask, precision))
        for precision in ("float32", "bfloat16")
    ]


def calls(ask, precision):
    """What `Candidate` wants."""
    return {name: lambda name=name: ask(f"{name} {precision}") for name in ("step", "forward")}


def serve(batch, side):
    """Answer requests, one a line, such as "step float32", with the seconds that each took."""
    import diffusers
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = diffusers.UNet2DModel(**NETWORK)
    hello = {"flops": flops(model), "versions": f"PyTorch {torch.__version__}, diffusers {diffusers.__version__}"}
    print(json.dumps(hello), flush=True)
    measures = {}
    for precision in ("float32", "bfloat16"):
        step, forward = network(diffusers.UNet2DModel(**NETWORK).to(device), precision, batch, device)
        product = products(getattr(torch, precision), side, device)
        measures |= {f"first {precision}": step, f"step {precision}": step}
        measures |= {f"forward {precision}": forward, f"product {precision}": product}
    for request in sys.stdin:
        print(measures[request.strip()](), flush=True)


def network(model, precision, batch, device):
    """Calls that give the seconds of a training step and of a forward pass, from NumPy arrays and, in the latter, to them."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(batch, 1, NETWORK["sample_size"], NETWORK["sample_size"], generator=generator).numpy()
    t = torch.randint(1, 1000, (batch,), generator=generator).numpy()
    optimizer = torch.optim.Adam(model.parameters())
    autocast = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")

    def on_device(values):
        return torch.from_numpy(values).to(device)

    def step():
        optimizer.zero_grad()
        with autocast:
            guess = model(on_device(x_t), on_device(t)).sample
        loss = torch.nn.functional.mse_loss(guess.float(), on_device(x_t))
        loss.backward()
        optimizer.step()
        return loss.item() + next(model.parameters()).flatten()[0].item()  # numbers in Python: they have been waited for

    def forward():
        with torch.inference_mode(), autocast:
            return model(on_device(x_t), on_device(t)).sample.float().cpu().numpy()

    return timed(step), timed(forward)


def products(dtype, side, device):
    """A call that gives the seconds of one product of square matrices."""
    import torch

    matrix = torch.randn(side, side, device=device).mul(side**-0.5).to(dtype)  # products keep their size
    count = 4 if device == "cpu" else 100  # as in speed.py

    def multiply():
        x = matrix
        for _ in range(count):
            x = x @ matrix
        return x[0, 0].item()

    multiply()
    return lambda: timed(multiply)() / count


def flops(model):
    """Floating-point operations of one image's forward pass, counted as `unet.flops` does, by hooks."""
    import torch

    counts = []

    def count(layer, inputs, output):
        channels = 1 if isinstance(layer, torch.nn.Conv2d) else -1
        counts.append(2 * layer.weight.numel() * output.numel() // output.shape[channels])

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, kinds)]
    with torch.inference_mode():
        model(torch.zeros(1, 1, model.config.sample_size, model.config.sample_size), 1)
    for hook in hooks:
        hook.remove()
    return sum(counts)


if __name__ == "__main__" and find_spec("torch") and find_spec("diffusers"):
    serve(*map(int, sys.argv[1:]))
