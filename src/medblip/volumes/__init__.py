"""One scan: read and checked, turned upright, cut to the head, scaled, cached.

``medblip.volumes.slices`` draws a cube; it is imported on its own, since drawing is slow to load.
"""

from medblip.volumes.cache import load_cube, map_cube_array, read_cube, write_cube
from medblip.volumes.cube import Cube, SourceFacts
from medblip.volumes.limits import ReadLimits
from medblip.volumes.orientation import to_ras
from medblip.volumes.preprocessing import Preprocessing, preprocess
from medblip.volumes.reading import read_volume, scan_sha256
from medblip.volumes.volume import Volume

__all__ = [
    "Cube",
    "Preprocessing",
    "ReadLimits",
    "SourceFacts",
    "Volume",
    "load_cube",
    "map_cube_array",
    "preprocess",
    "read_cube",
    "read_volume",
    "scan_sha256",
    "to_ras",
    "write_cube",
]
