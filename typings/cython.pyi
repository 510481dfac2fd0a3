"""What the modules of the core use of Cython, as it is where nothing is compiled."""

from fastchat._core._cy import compiled as compiled
from fastchat._core._cy import critical_section as critical_section
from fastchat._core._cy import get_item as get_item

NULL: object
