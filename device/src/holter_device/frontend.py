"""Where `holter.frontend` was before host and device shared it."""

from holter.frontend import FULL_SCALE_COUNTS, FrontEnd

__all__ = ["FULL_SCALE_COUNTS", "FrontEnd"]
