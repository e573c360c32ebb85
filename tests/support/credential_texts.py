"""What people put where the path of a credential belongs. None of it is one."""

from __future__ import annotations

import base64
import random

PEM = (
    "-----BEGIN PRIVATE KEY-----\nMIGTAgEAMBMGByqGSM49AgEG\n-----END PRIVATE KEY-----\n"
)
RANDOM = random.Random(8)
BASE64 = base64.b64encode(RANDOM.randbytes(3000)).decode()
CREDENTIALS = [
    '{"type": "service_account", "private_key": "hunter2"}',
    PEM,
    PEM.replace("\n", "\\n"),
    BASE64,
    base64.b64encode(RANDOM.randbytes(33)).decode(),
    base64.urlsafe_b64encode(RANDOM.randbytes(48)).decode(),
    "postgresql://user:hunter2@db/app",
    "host=db password=hunter2",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc4eC39HqLyjWDarj",
    "eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiI0MiJ9s3eOhujiyBjc4u21nuHkbcWJll4Um0QqGU3P",
    "one\ntwo",
    "hunter2\0",
    "hunter2\ud800",
    "hunter2" * 1000,
]
"""Each holds `hunter2` or is random; none is a credible path."""
