"""`make lock`: resolve the newest versions that pyproject.toml allows, and try the locks on every platform."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, "-m", "uv", "--quiet", "pip"]
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-pc-windows-msvc")


def main():
    """Write both locks; raises CalledProcessError where one cannot be resolved or installed."""
    for extra, lock, options in (
        ("cpu", "requirements.lock", []),
        ("gpu", "requirements-gpu.lock", ["--constraints", "requirements.lock"]),  # the same versions of all else
    ):
        command = [
            *UV,
            "compile",
            "pyproject.toml",
            "--extra",
            extra,
            "--group",
            "dev",
            "--universal",
            "--python-version",
            PYTHONS[0],
        ]
        command += ["--generate-hashes", "--no-annotate", "--upgrade", "--no-config", "--custom-compile-command", "make lock"]
        subprocess.run([*command, *options, "--output-file", lock], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        for platform in PLATFORMS:
            for python in PYTHONS:
                print(f"{lock} on {platform}, Python {python}", flush=True)
                with tempfile.TemporaryDirectory() as target:
                    install = [*UV, "install", "--dry-run", "--require-hashes", "--requirements", lock, "--target", target]
                    install += ["--only-binary", ":all:", "--no-binary", "promise"]  # nothing else may need a compiler
                    subprocess.run([*install, "--python-platform", platform, "--python-version", python], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
