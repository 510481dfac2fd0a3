"""Types of the compiled scanner: those of its twin."""

from fastchat._scanner_py import as_bytes as as_bytes
from fastchat._scanner_py import check_terminators as check_terminators
from fastchat._scanner_py import cut_plainly as cut_plainly
from fastchat._scanner_py import drive as drive
from fastchat._scanner_py import find_first_terminator as find_first_terminator
from fastchat._scanner_py import find_prefix_at_end as find_prefix_at_end
from fastchat._scanner_py import find_terminator as find_terminator
