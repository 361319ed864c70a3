"""Our steps beside those of diffusers' schedulers, run every week (newest.yml).

Its times count from 0, ours from 1. Its tables are float32, and are replaced here by ours. PyTorch and TensorFlow do not go
into one process, so this runs on JAX, with `pip install --group peer`:
KERAS_BACKEND=jax JAX_ENABLE_X64=1 python -m pytest --noconftest tests/test_diffusers.py
"""

from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import ops

from lessons_lib import sampling, schedule

if keras.backend.backend() == "tensorflow":
    pytest.skip("diffusers is PyTorch's, which TensorFlow's process cannot hold", allow_module_level=True)
diffusers = pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")

T = 1000
CHAINS = {"linear": schedule.linear(T), "cosine": schedule.cosine(T)}
SHAPE = (4, 8, 8, 1)


def scheduler(kind, chain, steps, clip, **options):
    made = kind(T, trained_betas=chain.beta[1:], clip_sample=clip, timestep_spacing="trailing", **options)
    made.alphas_cumprod = torch.tensor(chain.alpha_bar[1:])
    made.set_timesteps(steps)
    return made


def predict_noise(x_t, t):
    """No denoiser, but a function of both; it drives predictions out of [-1, 1], so that clipping matters."""
    return np.sin(3 * x_t) + np.cos(t).reshape(-1, 1, 1, 1)


def walk(theirs, chain, steps, eta, clip, large=False):
    """Each step by both, from the same x_t with the same noise; gives how far they come apart, as parts of the largest x_0."""
    times = sampling.time_grid(T, steps)
    assert theirs.timesteps.tolist() == [t - 1 for t in times[:-1]]
    apart, x_t = 0.0, np.random.default_rng(0).standard_normal(SHAPE)
    for t, s in pairwise(times):
        noise_pred = predict_noise(x_t, np.full(len(x_t), t))
        noise = torch.randn(SHAPE, generator=torch.manual_seed(int(t)), dtype=torch.float64)
        std = sampling.sigma_hat(chain, t, s) if large else None
        made = sampling.reverse_step(x_t, noise_pred, t, s, chain, eta, noise.numpy(), noise_std=std, clip=clip)
        if isinstance(theirs, diffusers.DDIMScheduler):
            options = {"eta": eta, "use_clipped_model_output": True, "variance_noise": noise}
        else:
            options = {"generator": torch.manual_seed(int(t))}
        other = theirs.step(torch.tensor(noise_pred), int(t) - 1, torch.tensor(x_t), **options)
        x_t, x_0 = (ops.convert_to_numpy(x) for x in made)
        pairs = [(x_0, other.pred_original_sample)]
        if s or not large:  # that scheduler adds noise in the last of fewer steps, which the paper does not
            pairs.append((x_t, other.prev_sample))
        apart = max(apart, *(np.abs(one - their.numpy()).max() / max(1, np.abs(x_0).max()) for one, their in pairs))
    return apart


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("steps", [5, 50, 1000])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_our_steps_are_the_ddim_schedulers(chain, steps, clip, eta):
    theirs = scheduler(diffusers.DDIMScheduler, CHAINS[chain], steps, clip)
    assert walk(theirs, CHAINS[chain], steps, eta, clip) < 1e-11


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("steps", [5, 50, 1000])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_eta_1_is_the_ddpm_scheduler(chain, steps, clip, large):
    kind = "fixed_large" if large else "fixed_small"
    theirs = scheduler(diffusers.DDPMScheduler, CHAINS[chain], steps, clip, variance_type=kind)
    assert walk(theirs, CHAINS[chain], steps, 1.0, clip, large) < 1e-9  # it adds 1e-10 of noise in its last step
