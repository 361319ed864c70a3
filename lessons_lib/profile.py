"""How big a run is: `smoke` (does it run at all), `cpu` (a laptop, minutes) or `gpu`."""

import os

PROFILES = ("smoke", "cpu", "gpu")


def name():
    """The profile of this run: the environment's LESSONS_PROFILE, else `gpu` if TensorFlow sees one, else `cpu`.

    Raises ValueError for a LESSONS_PROFILE that is none of the three.
    """
    chosen = os.environ.get("LESSONS_PROFILE")
    if chosen:
        if chosen not in PROFILES:
            raise ValueError(f"LESSONS_PROFILE: expected one of {', '.join(PROFILES)}; received {chosen!r}")
        return chosen
    import tensorflow as tf  # here, because only this question needs it

    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def choose(*, smoke, cpu, gpu):
    """The value for this run's profile: `STEPS = choose(smoke=40, cpu=600, gpu=6000)`."""
    return {"smoke": smoke, "cpu": cpu, "gpu": gpu}[name()]
