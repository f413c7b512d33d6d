"""The linear systems of quadratic energies as sparse matrices, and peers that solve them.

Matrices are made from the solvers' own stencils, which the tests set against the energies.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from benchmarks.rows import Row, installed
from energynets.solvers import stencil
from energynets.solvers.solution import Solution


def told(solution: Solution, program: Any, note: str) -> Row:
    """What a row says of a solution, or a batch of them, beside time and error."""
    steps, residual = int(np.max(solution.steps)), float(np.max(solution.residual))
    converged = bool(np.all(solution.converged))
    return {
        "memory": program.memory_analysis().temp_size_in_bytes,
        "note": f"{steps} steps, residual {residual:.0e}, converged {converged}, {note}",
    }


class System:
    """A u = rhs for a stencil A of H×W pixels and right-hand sides H×W or H×W×K; float64."""

    def __init__(self, matrix: stencil.Stencil, rhs: np.ndarray):
        height, width = matrix.ground.shape
        number = np.arange(height * width).reshape(height, width)
        ends = [
            (number[first].ravel(), number[second].ravel(), np.asarray(plane[first]).ravel())
            for plane, (first, second) in stencil.pairs(matrix)
        ]
        first, second, edge = (np.concatenate(part) for part in zip(*ends, strict=True))
        there = edge != 0
        self.first, self.second, self.edge = first[there], second[there], edge[there]
        self.ground = np.asarray(matrix.ground, np.float64).ravel()
        self.shape = rhs.shape
        self.rhs = np.asarray(rhs, np.float64).reshape(number.size, -1)
        pairs = scipy.sparse.coo_array(
            (
                np.r_[self.edge, self.edge],
                (np.r_[self.first, self.second], np.r_[self.second, self.first]),
            ),
            shape=(number.size, number.size),
        ).tocsr()
        diagonal = np.asarray(pairs.sum(1)).ravel() + self.ground
        self.matrix = (scipy.sparse.diags_array(diagonal) - pairs).tocsc()
        self._lu: scipy.sparse.linalg.SuperLU | None = None
        self._lower = _lower_triangle(self.matrix) if installed("cvxopt") else None

    def spsolve(self) -> np.ndarray:
        return np.asarray(scipy.sparse.linalg.spsolve(self.matrix, self.rhs)).reshape(self.shape)

    def factored(self) -> scipy.sparse.linalg.SuperLU:
        """By SuperLU; kept for `refined` and `fill`."""
        self._lu = None  # so that two are never held
        self._lu = factored(self.matrix)
        return self._lu

    def splu(self) -> np.ndarray:
        return self.factored().solve(self.rhs).reshape(self.shape)

    def cholmod(self) -> np.ndarray:
        """CHOLMOD as cvxopt brings it: supernodal LLᵀ, minimum degree."""
        import cvxopt
        from cvxopt import cholmod

        lower, rhs = self._lower, cvxopt.matrix(self.rhs)
        cholmod.options["supernodal"] = 2
        factor = cholmod.symbolic(lower)
        cholmod.numeric(lower, factor)
        cholmod.solve(factor, rhs)
        return np.asarray(rhs).reshape(self.shape)

    def refined(self, rounds: int = 4) -> np.ndarray:
        """SuperLU's solution, its residuals in extended precision and from differences."""
        lu = self._lu or self.factored()
        u = np.zeros(self.rhs.shape, np.longdouble)
        for _ in range(rounds):
            flow = self.edge[:, None] * (u[self.second] - u[self.first])
            residual = self.rhs - self.ground[:, None] * u
            np.add.at(residual, self.first, flow)
            np.subtract.at(residual, self.second, flow)
            u += lu.solve(residual.astype(np.float64))
        return u.astype(np.float64).reshape(self.shape)

    def fill(self) -> int:
        """Bytes of SuperLU's factors."""
        lu = self._lu or self.factored()
        return 12 * (lu.L.nnz + lu.U.nnz)


def factored(matrix) -> scipy.sparse.linalg.SuperLU:
    """Minimum degree on Aᵀ + A, no pivoting, for a symmetric positive definite matrix."""
    return scipy.sparse.linalg.splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )


def _lower_triangle(matrix):
    """As cvxopt wants it."""
    import cvxopt

    lower = scipy.sparse.tril(matrix).tocoo()
    row, column = (index.astype(np.int64) for index in (lower.row, lower.col))
    return cvxopt.spmatrix(lower.data, row, column, matrix.shape)


def direct(system: System) -> dict[str, Callable[[], np.ndarray]]:
    """name -> call of the direct solvers that are there."""
    calls = {"splu": system.splu, "spsolve": system.spsolve}
    if installed("cvxopt"):
        calls["CHOLMOD"] = system.cholmod
    return calls
