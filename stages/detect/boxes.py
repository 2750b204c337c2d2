"""From what the detector's net says at its anchors to boxes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image, nms


def best_boxes(
    net: RetinaNet,
    size_wh_px: tuple[int, int],
    scores: NDArray[np.float32],
    logits: NDArray[np.float32],
    deltas: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes of one image, one at most for each place of each pyramid level: that of the best anchor there.

    torchvision keeps the best thousand anchors of a level, of which many lie on the same crack; where much is cracked,
    what is left of it then depends on the size of the tile.

    Args:
        net: whose anchors, thresholds and box coder are used.
        size_wh_px: of the image before it was padded to multiples of 32.
        scores: (1, places) as DetectGraph gives them.
        logits: (1, anchors).
        deltas: (1, anchors, 4).

    Returns:
        (N, 4) left, top, right, bottom in pixels of what the net saw, and (N,) scores, best first.
    """
    width, height = (-(-side // 32) * 32 for side in size_wh_px)
    anchors = _anchors(net.anchor_generator, net.backbone.finest_stride_px, net.backbone.with_anchors, width, height)
    a_place = net.anchor_generator.num_anchors_per_location()[0]
    wanted = np.flatnonzero(scores[0] > net.score_thresh)
    chosen = torch.from_numpy(wanted * a_place + logits[0].reshape(-1, a_place)[wanted].argmax(axis=1))
    decoded = net.box_coder.decode_single(torch.from_numpy(deltas[0])[chosen], anchors[chosen])
    boxes, score = clip_boxes_to_image(decoded, (size_wh_px[1], size_wh_px[0])), torch.from_numpy(scores[0, wanted])
    kept = nms(boxes, score, net.nms_thresh)
    return boxes[kept].double().numpy(), score[kept].double().numpy()


@lru_cache(maxsize=8)
def _anchors(generator: AnchorGenerator, stride_px: int, levels: int, width: int, height: int) -> torch.Tensor:
    """(anchors, 4) of an image, in the order of the scores."""
    maps = []
    for level in range(levels):
        step = stride_px * 2**level
        maps.append(torch.empty(1, 1, -(-height // step), -(-width // step)))
    images = ImageList(torch.empty(1, 3, height, width), [(height, width)])
    anchors: torch.Tensor = generator(images, maps)[0]
    return anchors
