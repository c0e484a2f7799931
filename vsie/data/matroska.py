"""Is a Matroska (or WebM) file whole? Its chain of elements says so, which FFmpeg does not.

The container counts no frames, and FFmpeg gets over damage in silence: it looks for the next cluster and reads on, so that of
a file with an overwritten middle a video with a hole comes out, or an error, as the bytes fall. A hole in the times proves
nothing, as video of a variable frame rate has pauses. But every element says how long it is (RFC 8794), what may stand in a
segment and in a cluster is known (RFC 9559), and so the chain is followed, header by header: a few bytes per frame are
read. Damage inside of a frame's own bytes is for the decoder to find.
"""

from __future__ import annotations

import mmap
import os

MAGIC = b"\x1a\x45\xdf\xa3"
SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
ANYWHERE = {0xEC, 0xBF}  # Void, CRC-32
IN_SEGMENT = {0x114D9B74, 0x1549A966, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367} | ANYWHERE
"""SeekHead, Info, Tracks, Cluster, Cues, Attachments, Chapters, Tags."""
IN_CLUSTER = {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF} | ANYWHERE
"""Timestamp, SilentTracks, Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock."""


def broken_at(path: str | os.PathLike) -> int | None:
    """The byte at which the chain of elements of a Matroska file breaks before the file ends.

    None where it does not: for a whole file, for one that is cut off (an element is longer than what is left: the duration
    tells of that), and for a file that is no Matroska. Elements of unknown length, as live recordings have, are followed.
    """
    with open(path, "rb") as file:
        if file.read(4) != MAGIC:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _follow(data)


def _follow(data: mmap.mmap) -> int | None:
    end = len(data)
    place = _header(data, 0, end)[2]
    if place is None:
        return 0
    while place < end:  # the top level: one segment as a rule
        name, start, stop = _header(data, place, end)
        if name != SEGMENT and name not in ANYWHERE and name != 0x1A45DFA3:
            return place
        if name == SEGMENT:
            broken, stop = _segment(data, start, end if stop is None else min(stop, end))
            if broken is not None:
                return broken
        if stop is None or stop > end:
            return None
        place = stop
    return None


def _segment(data: mmap.mmap, place: int, end: int) -> tuple[int | None, int]:
    """Where the children of a segment break, if they do, and where the segment ends."""
    while place < end:
        name, start, stop = _header(data, place, end)
        if name is None and end - place < 12:
            return None, end  # cut off within a header
        if name not in IN_SEGMENT:
            return place, end
        if name == CLUSTER:
            known = stop is not None
            broken, reached = _cluster(data, start, min(stop, end) if known else end, known)
            if broken is not None:
                return broken, end
            stop = stop if known else reached
        if stop is None or (stop > end and end < len(data)):
            return place, end
        if stop > end:
            return None, end  # cut off
        place = stop
    return None, end


def _cluster(data: mmap.mmap, place: int, end: int, known: bool) -> tuple[int | None, int]:
    """Where the children of a cluster break, if they do, and where it ends: at `end`, or at the next child of the segment."""
    while place < end:
        name, _, stop = _header(data, place, end)
        if name is None and end == len(data) and end - place < 12:
            return None, end
        if not known and name in IN_SEGMENT - ANYWHERE:
            return None, place
        if name not in IN_CLUSTER or stop is None or (stop > end and end < len(data)):
            return place, end
        place = min(stop, end)
    return None, end


def _header(data: mmap.mmap, place: int, end: int) -> tuple[int | None, int, int | None]:
    """Name, first byte of the content and the byte behind it (None: of unknown length) of the element at `place`.

    The name is None where there is no header that can be read.
    """
    head = data[place : min(place + 12, end)]
    width = 9 - head[0].bit_length() if head else 9
    if width > 4 or len(head) <= width:
        return None, place, None
    name = int.from_bytes(head[:width])
    count = 9 - head[width].bit_length()
    if count > 8 or len(head) < width + count:
        return None, place, None
    size = int.from_bytes(head[width : width + count]) & ((1 << 7 * count) - 1)
    start = place + width + count
    return name, start, None if size == (1 << 7 * count) - 1 else start + size
