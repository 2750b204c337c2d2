"""The frames that a crew has to do, and what becomes of those at which workers are lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from crackmap.pipeline.frame_rows import Task

MOST_LOSSES = 4
"""Workers that are lost over one frame before it is given up: once in company, three times alone."""


class TaskQueue:
    """Frames to do: first those that were lost, which are given to a worker that does nothing else."""

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks = tasks
        self._again: deque[Task] = deque()
        self._ahead: Task | None = next(tasks, None)
        self._losses: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._again) or self._ahead is not None

    def losses(self, task: Task) -> int:
        """Workers that were lost while it was at hand."""
        return self._losses.get(task.frame.key, 0)

    def next(self, *, alone: bool) -> Task | None:
        """The next frame for a worker that has no other (`alone`), or has."""
        if alone and self._again:
            return self._again.popleft()
        task, self._ahead = self._ahead, next(self._tasks, None)
        return task

    def again(self, task: Task) -> bool:
        """Puts a frame back that was at hand when a worker was lost; False where that has happened too often."""
        losses = self._losses[task.frame.key] = self.losses(task) + 1
        if losses < MOST_LOSSES:
            self._again.append(task)
        return losses < MOST_LOSSES
