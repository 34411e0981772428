"""TensorRT engines: made on the GPU that runs them, from an ONNX artifact, and kept as a cache beside it.

::

    artifact ─► shapes from its spec and its data ─► key ─► cache ─► plan, verified ─► runner
                                                      │ not there, or not as it was written
                                                      └─► build ─► judged ─► cache

An engine fits one GPU, driver and TensorRT, two builds of it differ, and it holds machine code: so it is never an
artifact, never inside a bento, and never opened unless its key and its hash are those that were written.
What needs no GPU (`profiles`, `key`, `cache`) imports none of its libraries.
"""

from __future__ import annotations

from toolkit.engines.cache import EngineCache, Look
from toolkit.engines.flags import Flags
from toolkit.engines.gpu import Gpu, describe_gpu
from toolkit.engines.key import EngineKey
from toolkit.engines.profiles import Profile, derive_profiles

__all__ = ["EngineCache", "EngineKey", "Flags", "Gpu", "Look", "Profile", "derive_profiles", "describe_gpu"]
