"""What a machine needs to know to read frames from a bucket and put masks there: small records that can be sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from crackmap.calibration.errors import UnreadableImageError
from crackmap.pipeline.records import Frame
from crackmap.pipeline.storage.bucket import Item, open_store
from crackmap.pipeline.storage.shadow import fetched, is_placeholder, item_of
from crackmap.pipeline.storage.urls import BucketUrl

MASKS = "masks"
"""Where the masks of a run lie, as `products.masks.MASKS_FOLDER` says."""

AT_A_TIME = 8
"""Files that are put or fetched side by side."""


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """One image as it was listed. Needs nothing of the machine that listed it but access to the bucket.

    Attributes:
        url: of the survey folder.
        item: the object.
    """

    url: BucketUrl
    item: Item

    def fetched(self, scratch: Path | None = None) -> AbstractContextManager[Path]:
        """The image as a file below `scratch`, with its name, size and time as listed; removed again at the end.

        Raises:
            UnreadableImageError: it was replaced or removed since; the reason begins with CHANGED.
            InputError, StorageError: it cannot be had, or not be written.
        """
        return fetched(self.url, self.item, self.item.key.rpartition("/")[2], scratch)


@dataclass(frozen=True, slots=True)
class RemoteImages:
    """The images of a survey in a bucket.

    Attributes:
        url: of the survey folder.
    """

    url: BucketUrl

    def image(self, frame: Frame) -> RemoteImage:
        """The image of a frame: as it was listed, on the machine that listed it; elsewhere as it is now.

        Raises:
            UnreadableImageError: there is none.
            InputError, StorageError: the server does not say.
        """
        if is_placeholder(frame.path) and frame.path.exists():
            return RemoteImage(*item_of(frame.path))
        item = open_store(self.url).look(self.url.key(frame.key))
        if item is None:
            raise UnreadableImageError(f"{frame.path.name}: its object is gone")
        return RemoteImage(self.url, item)

    @contextmanager
    def fetched(self, frame: Frame, scratch: Path | None = None) -> Iterator[Path]:
        """The image of a frame as a file; as `RemoteImage.fetched`."""
        with self.image(frame).fetched(scratch) as path:
            yield path


@dataclass(frozen=True, slots=True)
class RemoteOut:
    """The output of a run in a bucket.

    Attributes:
        url: that stands for the output folder.
    """

    url: BucketUrl

    def put_mask(self, path: Path) -> None:
        """Puts a finished mask file; called before the frame's row is kept.

        Raises:
            InputError, StorageError: it could not be put.
        """
        open_store(self.url).put(path, self.url.key(f"{MASKS}/{path.name}"))

    def fetch_masks(self, wanted: Iterable[tuple[str, int]], out: Path) -> None:
        """Fetches the masks that are not there, or have another size, as far as the bucket has them.

        Args:
            wanted: file name and size of each.
            out: the output folder that gets them.

        Raises:
            InputError, StorageError: the bucket cannot be read, or the folder not be written.
        """
        masks = out / MASKS
        missing = [(name, size) for name, size in wanted if _size(masks / name) != size]
        if not missing:
            return
        store = open_store(self.url)
        there = {item.key: item for item in store.list(self.url.key(f"{MASKS}/"))}
        masks.mkdir(parents=True, exist_ok=True)

        def fetch(name: str, size: int) -> None:
            item = there.get(self.url.key(f"{MASKS}/{name}"))
            if item is not None and item.size_bytes == size:
                new = masks / f".writing-fetched-{name}"
                store.fetch(item, new)
                new.replace(masks / name)

        with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="masks") as pool:
            for _ in pool.map(lambda pair: fetch(*pair), missing):
                pass


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
