"""Memory that one image needed is kept for the next."""

import ctypes

#: of glibc's malloc.h: freed memory at the end of the heap above which it goes back to the kernel,
#: and the size from which on a block is a mapping of its own, which goes back when it is freed
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 * 2**20  # all that an image of 10 million pixels takes while it is read
_OWN_MAPPING_BYTES = 32 * 2**20  # the arrays of such an image are smaller


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, up to 256 MB; say whether it could be told.

    An image takes a dozen arrays and buffers of 5 to 25 MB, each for some milliseconds. Left to
    itself glibc gives them back each time, and the kernel clears every page again: measured on a
    virtual machine, 24 of the 52 ms of CPU for decoding, page and files, in 1,500 page faults.
    Other C libraries have no such switch: there nothing changes.
    """
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is None:
        return False
    wanted = ((_TRIM_THRESHOLD, _KEPT_BYTES), (_MMAP_THRESHOLD, _OWN_MAPPING_BYTES))
    return all(tell(switch, value) == 1 for switch, value in wanted)
