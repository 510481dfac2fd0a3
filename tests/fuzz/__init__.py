"""Targets of a fuzzer that is guided by coverage, with what it has found worth keeping.

make fuzz
"""
