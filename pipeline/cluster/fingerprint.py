"""What must be equal on all machines for a frame to give the same numbers on any of them."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import crackmap.calibration
import crackmap.pipeline
import crackmap.stages

LIBRARIES = ("torch", "torchvision", "segmentation-models-pytorch", "openvino", "numpy", "scipy", "opencv-python",
             "pillow", "rasterio", "shapely", "pyproj")  # fmt: skip
"""Those that a frame's numbers and its mask go through."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of one process.

    Attributes:
        crackmap: version.
        code: sha256 of all Python files of calibration, stages and pipeline, by name.
        python: «3.11».
        libraries: «numpy 2.3.1», one for each of LIBRARIES that is there.
    """

    crackmap: str
    code: str
    python: str
    libraries: tuple[str, ...]

    def differences(self, other: Fingerprint) -> list[str]:
        """What `other` has differently, «python 3.12 instead of 3.11»; empty if it is equal."""
        found = []
        for name in (field.name for field in fields(self) if field.name != "libraries"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                found.append(f"{name} {theirs[:16]} instead of {ours[:16]}")
        ours, theirs = (dict(item.split(" ", 1) for item in one.libraries) for one in (self, other))
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                found.append(f"{name} {theirs.get(name, 'missing')} instead of {ours.get(name, 'missing')}")
        return found


@cache
def fingerprint() -> Fingerprint:
    """Of this process."""
    python = ".".join(platform.python_version_tuple()[:2])
    found = tuple(f"{name} {found}" for name in LIBRARIES if (found := _version(name)))
    return Fingerprint(_version("crackmap"), _code_sha256(), python, found)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _code_sha256() -> str:
    digest = hashlib.sha256()
    for package in (crackmap.calibration, crackmap.stages, crackmap.pipeline):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
