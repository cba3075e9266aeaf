"""Conformance suites that the author of an adapter, a sampler or an encoder runs on their own.

Each is a class of tests for pytest to collect from a subclass; this module itself imports no pytest.

>>> import annbatch.testing
>>> annbatch.testing.__all__
['AdapterTests', 'EncoderTests', 'SamplerTests']
"""

from __future__ import annotations

from ._adapters import AdapterTests as AdapterTests
from ._encoders import EncoderTests as EncoderTests
from ._samplers import SamplerTests as SamplerTests

__all__ = ["AdapterTests", "EncoderTests", "SamplerTests"]
