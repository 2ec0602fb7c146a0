"""How long OpenMP's threads spin before they sleep; imported before torch, or it has no effect.

Left alone, GNU OpenMP spins some 300,000 times while it waits for another thread. On a machine that others use
too, the thread waited for may not be running at all: a training step on 2 busy cores took 3.8 s so, and 0.54 s
with 2,000 spins (medians of 40 steps, CNN on MNIST, PGD-5). Whoever has set either variable is left alone.
"""

import os

SPINS = "2000"

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
