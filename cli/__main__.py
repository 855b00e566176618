"""python -m cli, for torchrun --nproc-per-node N -m cli train ..."""

from cli import main

main(prog_name="bench")
