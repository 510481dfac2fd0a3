"""Types of the compiled module: those of its twin."""

from types import ModuleType

from fastchat._scanner_py import check_terminators as check_terminators
from fastchat._scanner_py import cut_lines as cut_lines
from fastchat._scanner_py import cut_lines_of_several as cut_lines_of_several
from fastchat._scanner_py import find_first_terminator as find_first_terminator
from fastchat._scanner_py import find_line_end as find_line_end
from fastchat._scanner_py import find_prefix_at_end as find_prefix_at_end
from fastchat._scanner_py import find_terminator as find_terminator
from fastchat._scanner_py import find_terminators as find_terminators
from fastchat._scanner_py import held_back as held_back
from fastchat._scanner_py import join_begun as join_begun
from fastchat._scanner_py import join_checked as join_checked
from fastchat._scanner_py import lines_of as lines_of
from fastchat._scanner_py import only_line as only_line

COMPANIONS: dict[str, ModuleType]
