"""Grids of conductors coarsened by joining strongly connected pixels: a hierarchy for multigrid.

Coarsening a picture by every second row and column fails where weights jump from pixel to pixel:
a patch of strongly connected pixels that only weak edges hold needs an unknown of its own, wherever
it lies and whatever its shape. Here the unknowns of a level are such patches. A level's pixels are
paired along edges that are heavy for both, what is left over joins its heaviest neighbour, and the
same is done once more with the pairs; all pixels of a patch then share one value.

Everything is kept as conductances, between patches and to the ground. The conductances of patches
are sums of those of their pixels, so nothing cancels and float32 is as good as float64, whatever
the ratio of the weights. Contracting a planar graph leaves it planar, so that n patches have at
most 3n edges and all sizes are known in advance.

Source: the pairs, and that a patch's edges must be heavy beside its diagonal, are those of Notay,
"An aggregation-based algebraic multigrid method" (2010); heaviest neighbours as in Koutis, Miller,
Tolliver, "Combinatorial preconditioners and multilevel solvers for problems in computer vision
and image processing" (2011). Ours are found for all pixels at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# A coarser level has room for this share of the patches; photographs need about a fifth.
_SHRINK = 4
# So many patches are solved by a dense inverse.
_DENSE = 256
_ROUNDS = 3
# An edge is heavy if it has this share of the heaviest edge of both its ends …
_HEAVY = 0.25
# … and of the diagonal of one end, so that sharing a value costs that end little.
_BOUND = 0.1
# A pixel whose diagonal is the ground's to this share is left to the smoother.
_GROUNDED = 0.25


class Graph(NamedTuple):
    """A u = ground u + Σ_j edges_ij (u_i - u_j); unused nodes and edges are 0."""

    ground: Float[Array, " n"]
    edges: Float[Array, " e"]
    first: Int[Array, " e"]
    second: Int[Array, " e"]


class Level(NamedTuple):
    """A graph, and the patch of each of its nodes; as many as there are patches if it has none."""

    graph: Graph
    parent: Int[Array, " n"]


def grid(
    ground: Float[Array, "h w"], right: Float[Array, "h w-1"], down: Float[Array, "h-1 w"]
) -> Graph:
    """The pixels in reading order; conductances to the ground, to the right and downwards."""
    height, width = ground.shape
    index = _numbers(height * width, jnp.int32).reshape(height, width)
    ends = [(index[:, :-1], index[:, 1:]), (index[:-1], index[1:])]
    first, second = (
        jnp.concatenate([end.ravel() for end in side]) for side in zip(*ends, strict=True)
    )
    return Graph(ground.ravel(), jnp.concatenate([right.ravel(), down.ravel()]), first, second)


def apply(graph: Graph, u: Float[Array, "k n"]) -> Float[Array, "k n"]:
    flow = graph.edges * (u[:, graph.first] - u[:, graph.second])
    return (graph.ground * u).at[:, graph.first].add(flow).at[:, graph.second].add(-flow)


def apply_grid(
    ground: Float[Array, "h w"],
    right: Float[Array, "h w-1"],
    down: Float[Array, "h-1 w"],
    u: Float[Array, "k n"],
) -> Float[Array, "k n"]:
    """`apply` for the graph of `grid`, by shifts."""
    pixels = u.reshape(-1, *ground.shape)
    total = ground * pixels
    for axis, edges in ((2, right), (1, down)):
        last = pixels.shape[axis] - 1
        here = jax.lax.slice_in_dim(pixels, 0, last, axis=axis)
        there = jax.lax.slice_in_dim(pixels, 1, None, axis=axis)
        flow = edges * (here - there)
        for sign, ends in ((1, (0, 1)), (-1, (1, 0))):
            total = total + sign * jnp.pad(
                flow, [ends if which == axis else (0, 0) for which in range(3)]
            )
    return total.reshape(u.shape)


def diagonal(graph: Graph) -> Float[Array, " n"]:
    return graph.ground.at[graph.first].add(graph.edges).at[graph.second].add(graph.edges)


def restrict(parent: Int[Array, " n"], u: Float[Array, "k n"], size: int) -> Float[Array, "k m"]:
    """The sums over patches."""
    return jnp.zeros((u.shape[0], size), u.dtype).at[:, parent].add(u, mode="drop")


def prolong(parent: Int[Array, " n"], u: Float[Array, "k m"]) -> Float[Array, "k n"]:
    """Every node has the value of its patch, and 0 if it has none."""
    return u.at[:, parent].get(mode="fill", fill_value=0)


def coarsen(graph: Graph) -> tuple[list[Level], Graph]:
    """Levels from the given graph, which is planar, to one of at most 256 nodes."""
    levels = []
    while graph.ground.size > _DENSE:
        size = -(-graph.ground.size // _SHRINK)
        parent = patches(graph, size)
        levels.append(Level(graph, parent))
        graph = contract(graph, parent, size)
    return levels, graph


def dense(graph: Graph) -> Float[Array, "n n"]:
    """The conductances between all nodes."""
    size = graph.ground.size
    edges = jnp.zeros((size, size), graph.edges.dtype)
    edges = edges.at[graph.first, graph.second].add(graph.edges)
    return edges + edges.T


def patches(graph: Graph, size: int) -> Int[Array, " n"]:
    """The patch of each node, numbered from 0, and `size` for a node without one.

    Without one are nodes that the ground holds, and, if there are more than `size` patches, those
    of the last ones.
    """
    nodes = graph.ground.size
    mass = diagonal(graph)
    kept = (mass > 0) & (graph.ground < _GROUNDED * mass)
    edges = jnp.where(kept[graph.first] & kept[graph.second], graph.edges, 0)
    # No two edges weigh the same, so that one of them is the heaviest everywhere.
    edges = edges * (1 + 0.01 * _scatter(edges.size, edges.dtype))
    own = _numbers(nodes, jnp.int32)

    def join(_: Array, root: Array) -> Array:
        first, second = root[graph.first], root[graph.second]
        between = jnp.where(first == second, 0, edges)
        whole = jnp.zeros_like(mass).at[root].add(mass)
        return _pairs(first, second, between, whole)[root]

    root = jax.lax.fori_loop(0, 2, join, own)
    leads = (root == own) & kept
    number = jnp.cumsum(leads, dtype=jnp.int32) - 1
    return jnp.where(kept, jnp.minimum(number[root], size), size)


def _pairs(first: Array, second: Array, edges: Array, mass: Array) -> Array:
    """The node that leads each node's pair, or the pair it joins."""
    nodes = mass.size
    own = _numbers(nodes, jnp.int32)

    def largest(values: Array, nothing: float) -> Array:
        empty = jnp.full((nodes,), nothing, values.dtype)
        return empty.at[first].max(values).at[second].max(values)

    heaviest = largest(edges, 0)
    heavy = (
        (edges > 0)
        & (edges >= _HEAVY * jnp.maximum(heaviest[first], heaviest[second]))
        & (edges >= _BOUND * jnp.minimum(mass[first], mass[second]))
    )

    def pair(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        root, free = state
        open_edges = jnp.where(heavy & free[first] & free[second], edges, 0)
        best = largest(open_edges, 0)
        chosen = (open_edges > 0) & (open_edges == best[first]) & (open_edges == best[second])
        lead = jnp.where(chosen, jnp.minimum(first, second), nodes)
        root = root.at[first].min(lead).at[second].min(lead)
        taken = jnp.zeros((nodes,), bool).at[first].max(chosen).at[second].max(chosen)
        return (root, free & ~taken), None

    start = own, jnp.ones((nodes,), bool)
    (root, free), _ = jax.lax.scan(pair, start, None, length=_ROUNDS)

    # What is left joins the pair at its heaviest edge, if that edge is heavy for it.
    held = heaviest >= _BOUND * mass
    target = jnp.full((nodes,), -1, jnp.int32)
    for here, there in ((first, second), (second, first)):
        found = (edges > 0) & (edges == heaviest[here])
        target = target.at[here].max(jnp.where(found, there, -1))
    joins = free & held & (target >= 0) & ~free[target]
    root = jnp.where(joins, root[target], root)
    # Where rounding made two edges equally heavy, three nodes may have met.
    return root[root]


def contract(graph: Graph, parent: Int[Array, " n"], size: int) -> Graph:
    """The conductances between patches, and to the ground and to nodes without a patch."""
    first, second = parent[graph.first], parent[graph.second]
    ground = jnp.zeros((size,), graph.ground.dtype).at[parent].add(graph.ground, mode="drop")
    for here, there in ((first, second), (second, first)):
        ground = ground.at[here].add(jnp.where(there == size, graph.edges, 0), mode="drop")

    room = 3 * size
    joined = (first != second) & (first < size) & (second < size) & (graph.edges > 0)
    low = jnp.where(joined, jnp.minimum(first, second), size)
    high = jnp.where(joined, jnp.maximum(first, second), size)
    low, high, edges = jax.lax.sort((low, high, graph.edges), num_keys=2)
    new = (jnp.diff(low, prepend=-1) != 0) | (jnp.diff(high, prepend=-1) != 0)
    # Edges that are not `joined` come last; they are put out of bounds.
    place = jnp.where(low < size, jnp.cumsum(new, dtype=jnp.int32) - 1, room)
    nothing = jnp.zeros((room,), jnp.int32)
    return Graph(
        ground,
        jnp.zeros((room,), edges.dtype).at[place].add(edges, mode="drop"),
        nothing.at[place].max(low, mode="drop"),
        nothing.at[place].max(high, mode="drop"),
    )


def _scatter(size: int, dtype) -> Array:
    """Numbers in [0, 1) that look random, the same for each run."""
    mixed = _numbers(size, jnp.uint32) * jnp.uint32(2654435761)
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(2246822519)
    return (mixed >> 8).astype(dtype) / 2**24


def _numbers(count: int, dtype) -> Array:
    """0, 1, …, kept from the compiler, which would compute whatever follows from them itself."""
    return jax.lax.optimization_barrier(jnp.arange(count, dtype=dtype))
