"""What a machine needs to know to read frames from a bucket and put masks there: small records that can be sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from crackmap.calibration.errors import UnreadableImageError
from crackmap.pipeline.journal import JournalRow
from crackmap.pipeline.products.publish import TEMPORARY_PREFIX, sha256_of, storing
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
class Mask:
    """A mask file as a row of the journal names it.

    Attributes:
        name: below masks/.
        size_bytes, sha256: of its content.
    """

    name: str
    size_bytes: int
    sha256: str


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

    def fetch_masks(self, wanted: Iterable[Mask], out: Path) -> list[str]:
        """Fetches the masks that are not there, or are others, as far as the bucket has them.

        Args:
            wanted: what is to be there.
            out: the output folder that gets them.

        Returns:
            The names of those that the bucket has not either; they are not in the folder any more.

        Raises:
            InputError, StorageError: the bucket cannot be read, or the folder not be written.
        """
        folder = out / MASKS
        missing = [mask for mask in wanted if not _is(folder / mask.name, mask)]
        if not missing:
            return []
        store = open_store(self.url)
        there = {item.key: item for item in store.list(self.url.key(f"{MASKS}/"))}
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)

        def fetched(mask: Mask) -> bool:
            path, item = folder / mask.name, there.get(self.url.key(f"{MASKS}/{mask.name}"))
            with storing(path):
                path.unlink(missing_ok=True)
                if item is None or item.size_bytes != mask.size_bytes:
                    return False
                new = path.with_name(f"{TEMPORARY_PREFIX}fetched-{mask.name}")
                store.fetch(item, new)
                if not _is(new, mask):
                    new.unlink()
                    return False
                new.replace(path)
            return True

        with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="masks") as pool:
            return [mask.name for mask, done in zip(missing, pool.map(fetched, missing), strict=True) if not done]


def wanted_masks(rows: Iterable[JournalRow]) -> Iterator[Mask]:
    """The masks that rows of a journal name."""
    return (Mask(row.mask_name, row.mask_bytes, row.mask_sha256) for row in rows if row.mask_name)


def _is(path: Path, mask: Mask) -> bool:
    try:
        return path.stat().st_size == mask.size_bytes and sha256_of(path) == mask.sha256
    except OSError:
        return False
