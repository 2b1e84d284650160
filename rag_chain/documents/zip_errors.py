"""What zipfile raises for damage, for which it has no common root."""

import struct
import zlib
from zipfile import BadZipFile, LargeZipFile

# NotImplementedError for versions and methods, RuntimeError for passwords, ValueError for offsets and
# undecodable names, OverflowError for sizes that are lies.
BROKEN_ZIP = (
    BadZipFile,
    LargeZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)
