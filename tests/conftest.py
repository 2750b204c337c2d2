"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Tests run side by side, one on each processor: threads of their own inside of each would wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# No test is one of time, of which a busy machine takes any.
settings.register_profile("crackmap", deadline=None)
settings.load_profile("crackmap")
