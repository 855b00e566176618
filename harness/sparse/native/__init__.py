"""Machine code for the processor at hand, made at run time by LLVM (extra `sparse`).

`kernels` makes it, `threads` runs it; a program is a list of steps as `fields` describes them. What
each step does is written in `step_code` and the files it calls.
"""
