"""Runs the command line as several processes of ``accelerate launch``, as a person does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def launched(root: Path, arguments: list[str], processes: int = 2) -> subprocess.CompletedProcess[str]:
    """``postop`` with ``arguments`` as ``processes`` CPU processes, one thread each; raises when it fails."""
    options = ["--multi_gpu", "--num_processes", str(processes), "--main_process_port", str(free_port())]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *options, "--module", "PostOpPredictorLib"]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *arguments], env=environment, capture_output=True, encoding="utf-8", timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done
