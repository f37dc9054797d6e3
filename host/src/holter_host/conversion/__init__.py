"""Conversion of models: `convert` a SavedModel, or `bundle_tflite` a .tflite that exists.

TensorFlow and LiteRT are imported in a child process only, so importing this package costs nothing.
"""

from holter_host.conversion.options import (
    NORMALIZATIONS,
    QUANTIZATIONS,
    ConversionOptions,
    find_options,
)
from holter_host.conversion.process import Converter, Progress
from holter_host.conversion.run import bundle_tflite, convert

__all__ = [
    "NORMALIZATIONS",
    "QUANTIZATIONS",
    "ConversionOptions",
    "Converter",
    "Progress",
    "bundle_tflite",
    "convert",
    "find_options",
]
