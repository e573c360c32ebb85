"""The official Python SDK, with its messages in a descriptor pool of their own.

They have the names of ours, so the two cannot live in one pool. The SDK itself is
as it comes from its package.
"""

from __future__ import annotations

import sys
from unittest import mock

from google.protobuf import descriptor_pool

if "centrifuge" not in sys.modules:
    _pool = descriptor_pool.DescriptorPool()
    with mock.patch.object(descriptor_pool, "Default", return_value=_pool):
        import centrifuge
else:
    import centrifuge

__all__ = ["centrifuge"]
