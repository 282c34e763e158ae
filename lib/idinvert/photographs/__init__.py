"""Photographs: faces found, cut out as FFHQ's are, and put back.

`landmarks` finds the faces of a picture and where their eyes, noses and mouths are; `alignment`
cuts out the square in which a generator of FFHQ knows a face, and pastes such a square back;
`source` reads photographs from files this way. It needs the extra `idinvert[photographs]`, dlib.
"""

from .alignment import Square, align
from .landmarks import Face, find_faces
from .source import Photographs, faces_of

__all__ = ["Face", "Photographs", "Square", "align", "faces_of", "find_faces"]
