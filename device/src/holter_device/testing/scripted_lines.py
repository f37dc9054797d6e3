"""Lead-off lines that do what a test says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ..leadoff import Edge


class ScriptedLines:
    """LeadOffLines that give these edges, in order of time.

    Attributes:
        closed: whether they were let go of.
    """

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._edges = deque(sorted(edges, key=lambda edge: edge.time_ns))
        self.closed = False

    def read(self, until_ns: int) -> list[Edge]:
        """The edges up to a time that no call gave before."""
        edges = []
        while self._edges and self._edges[0].time_ns <= until_ns:
            edges.append(self._edges.popleft())
        return edges

    def close(self) -> None:
        """Let go of the lines."""
        self.closed = True
