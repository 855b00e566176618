"""A sparse matrix times a table of rows, by the sparse kernels that PyTorch ships."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

KERNELS = ("bag", "csr")


@dataclass
class Entries:
    """A sparse matrix in CSR form: output row i sums values[k] * table[columns[k]] over
    offsets[i] <= k < offsets[i+1]. Indices int32, values float32."""

    offsets: Tensor
    columns: Tensor
    values: Tensor
    width: int

    @classmethod
    def sorted_by_row(
        cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]
    ) -> Entries:
        """From coordinates in any order; within a row the given order stays."""
        order = rows.argsort(stable=True)
        counts = torch.bincount(rows, minlength=shape[0])
        offsets = torch.zeros(shape[0] + 1, dtype=torch.int64)
        torch.cumsum(counts, 0, out=offsets[1:])
        return cls(
            offsets.to(torch.int32),
            columns[order].to(torch.int32),
            values[order].contiguous(),
            shape[1],
        )

    @classmethod
    def of_matrix(cls, matrix: Tensor) -> Entries:
        """All non-zeros of a dense (M, K) matrix."""
        rows, columns = matrix.nonzero().unbind(1)
        return cls.sorted_by_row(
            rows, columns, matrix[rows, columns], (len(matrix), matrix.shape[1])
        )

    @property
    def height(self) -> int:
        return len(self.offsets) - 1


class BagProduct:
    """The product as a weighted embedding bag: FBGEMM's generated kernels keep a row in registers
    while they sum its entries, and threads share the rows."""

    def __init__(self, entries: Entries) -> None:
        self.columns, self.offsets, self.values = entries.columns, entries.offsets, entries.values

    def __call__(self, table: Tensor) -> Tensor:
        return torch.embedding_bag(
            table, self.columns, self.offsets, False, 0, False, self.values, True
        )[0]


class CsrProduct:
    """The product as CSR matrix times dense matrix: MKL's kernel where PyTorch has it."""

    def __init__(self, entries: Entries) -> None:
        self.matrix = csr_matrix(entries)
        self.result: Tensor | None = None

    def __call__(self, table: Tensor) -> Tensor:
        if self.result is None:
            self.result = table.new_empty(self.matrix.shape[0], table.shape[1])
        return torch.addmm(self.result, self.matrix, table, beta=0, out=self.result)


Product = BagProduct | CsrProduct


def product(kernel: str, entries: Entries) -> Product:
    """The product of `entries` by "bag" or "csr"."""
    return BagProduct(entries) if kernel == "bag" else CsrProduct(entries)


def csr_matrix(entries: Entries) -> Tensor:
    """The entries as a torch CSR tensor."""
    with warnings.catch_warnings():  # torch announces the layout as beta
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            entries.offsets,
            entries.columns,
            entries.values,
            (entries.height, entries.width),
            check_invariants=False,
        )
