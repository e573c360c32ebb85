"""What can be set, and the loader; it touches no other room and opens nothing.

`load_config` is the way in, `Config` what everybody else reads.
"""

from tocsin.config.faults import ConfigError, ConfigFault
from tocsin.config.loader import LoadedConfig, load_config
from tocsin.config.pem import PemError, load_pem
from tocsin.config.root import Config

__all__ = [
    "Config",
    "ConfigError",
    "ConfigFault",
    "LoadedConfig",
    "PemError",
    "load_config",
    "load_pem",
]
