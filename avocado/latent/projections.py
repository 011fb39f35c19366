"""What factors make alike: in two dimensions, as a tree, and whether these are known relatives.

The Avocado paper draws its factors by UMAP and looks at Euclidean distances of cell types (Fig. 3 and S5). How well
groups that are known, such as lineages, come out is a number here: of trees the adjusted Rand index, of neighbourhoods
the share of rows whose nearest neighbours are of their group, both beside what shuffled groups would have.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avocado.errors import InputError

METHODS = ("umap", "pca")
NEIGHBOURS, MIN_DISTANCE = 15, 0.1  # umap-learn's own; the paper names none
FEW = 6  # with fewer rows, UMAP arranges noise
NEAREST = 3  # that vote on the group of a row, or as many as the smallest group has others
SHUFFLES = 1000


@dataclass(frozen=True)
class Projection:
    """Rows in two dimensions."""

    places: np.ndarray  # float64 (n, 2)
    how: str  # method, settings and seed, for a caption
    axes: tuple[str, str]  # what the two are called


@dataclass(frozen=True)
class Recovery:
    """How well groups come out of distances; each beside what 95 % of shuffled groups stay below."""

    rows: int  # that are scored: those of groups that have two at least
    groups: int
    rand: float  # adjusted Rand index of a tree that is cut into as many clusters: 1 is perfect, 0 is chance
    rand_by_chance: float
    neighbours: int  # that vote: NEAREST, or as many as the smallest group has others
    accuracy: float  # share of the rows to which their nearest neighbours give the right group
    accuracy_by_chance: float


def project(
    factors: np.ndarray, method: str = "umap", *, seed: int = 0, neighbours: int = NEIGHBOURS,
    min_distance: float = MIN_DISTANCE,
) -> Projection:  # fmt: skip
    """Rows of factors (n, n_factors) in two dimensions, by UMAP (umap-learn) or as first two principal components.

    seed, neighbours, min_distance: of UMAP; of fewer rows than neighbours all others are neighbours, and fewer than
    FEW rows are shown as principal components, which the caption says. The same seed gives the same places on the same
    machine. Raises InputError for another method, no rows, and settings or a package that UMAP lacks.
    """
    if method not in METHODS:
        raise InputError(f"method={method}: there is {', '.join(METHODS)}")
    if not len(factors):
        raise InputError("there are no factors to project")
    if method == "pca" or len(factors) < FEW:
        places, shares = principal_components(np.asarray(factors, dtype=np.float64))
        why = "" if method == "pca" else f", as {len(factors)} rows are too few for UMAP"
        first, second = (f"{share:.0%} of the variance" for share in shares)
        axes = f"first component, {first}", f"second component, {second}"
        return Projection(places, f"Principal components{why}", axes)
    if neighbours < 2 or not 0 <= min_distance <= 1:
        raise InputError(f"neighbours={neighbours}, min_distance={min_distance}: expected 2 at least, and 0 to 1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Tensorflow is not installed
            import umap
    except ImportError:
        raise InputError(
            'method=umap needs the package umap-learn: pip install "avocado-imputation[latent]", or method=pca'
        ) from None
    n = min(neighbours, len(factors) - 1)
    # one thread: with several, UMAP's places would depend on which is faster
    fitted = umap.UMAP(n_neighbors=n, min_dist=min_distance, random_state=seed, n_jobs=1)
    places = fitted.fit_transform(np.asarray(factors, dtype=np.float32))
    how = f"UMAP of Euclidean distances, {n} neighbours, minimal distance {min_distance:g}, seed {seed}"
    return Projection(np.asarray(places, dtype=np.float64), how, ("UMAP 1", "UMAP 2"))


def principal_components(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 2) along the first two components, and their shares of the variance; 0 where there are fewer.

    Signs mean nothing, so the row farthest out along a component is on its positive side.
    """
    rows, sizes, _ = np.linalg.svd(table - table.mean(axis=0), full_matrices=False)
    n, total = min(2, len(sizes)), (sizes**2).sum()
    rows = rows * np.where(np.take_along_axis(rows, np.abs(rows).argmax(axis=0)[None], axis=0) < 0, -1, 1)
    places, shares = np.zeros((len(table), 2)), np.zeros(2)
    places[:, :n] = (rows * sizes)[:, :n]
    shares[:n] = sizes[:n] ** 2 / total if total > 0 else 0
    return places, shares


def distances(factors: np.ndarray) -> np.ndarray:
    """Euclidean distances of every two rows, float64 (n, n)."""
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(np.asarray(factors, dtype=np.float64)))


def tree(apart: np.ndarray) -> np.ndarray:
    """Hierarchical clustering by average linkage of distances (n, n), as scipy's linkage matrix (n − 1, 4).

    Its leaves are in the order that puts the closest next to each other.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    return linkage(squareform(apart, checks=False), "average", optimal_ordering=True)


def recovery(apart: np.ndarray, groups: Sequence[str], seed: int = 0) -> Recovery | None:
    """How well groups of the rows come out of their distances (n, n).

    Rows that have no other of their group are left out: they cannot be right. None where fewer than two groups are
    left. seed: of the shuffled groups.
    """
    from scipy.cluster.hierarchy import fcluster
    from sklearn.metrics import adjusted_rand_score

    _, of, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    kept = np.flatnonzero(sizes[of] > 1)
    n_groups = int((sizes > 1).sum())
    if n_groups < 2:
        return None
    apart, of = apart[np.ix_(kept, kept)], of[kept]
    clusters = fcluster(tree(apart), n_groups, "maxclust")
    closest = nearest(apart, min(NEAREST, int(sizes[sizes > 1].min()) - 1), precomputed=True)
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(of) for _ in range(SHUFFLES)]
    return Recovery(
        len(kept), n_groups,
        float(adjusted_rand_score(of, clusters)),
        float(np.quantile([adjusted_rand_score(its, clusters) for its in shuffled], 0.95)),
        closest.shape[1],
        neighbour_accuracy(closest, of),
        float(np.quantile([neighbour_accuracy(closest, its) for its in shuffled], 0.95)),
    )  # fmt: skip


def nearest(rows: np.ndarray, k: int = NEAREST, *, precomputed: bool = False) -> np.ndarray:
    """The k other rows that are nearest to each, the nearest first, int (n, k); fewer where there are not as many.

    rows: factors (n, n_factors), whose Euclidean distance counts, or, precomputed, distances (n, n).
    """
    from sklearn.neighbors import NearestNeighbors

    metric = "precomputed" if precomputed else "euclidean"
    return NearestNeighbors(n_neighbors=min(k, len(rows) - 1), metric=metric).fit(rows).kneighbors()[1]


def neighbour_accuracy(closest: np.ndarray, groups: np.ndarray) -> float:
    """Share of the rows whose group is that of most of their neighbours (n, k), the nearest of them where tied."""
    names, of = np.unique(groups, return_inverse=True)
    # what is added is below 1 in all, and more for a neighbour than for all that are farther away
    weights = 1 + 0.5 ** np.arange(1, closest.shape[1] + 1)
    votes = np.zeros((len(of), len(names)))
    for column, weight in enumerate(weights):
        votes[np.arange(len(of)), of[closest[:, column]]] += weight
    return float((votes.argmax(axis=1) == of).mean())


def parted(places: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """The part of each row, int (n_rows,), when a projection is parted into n by k-means."""
    from sklearn.cluster import KMeans

    if not 1 <= n <= len(places):
        raise InputError(f"clusters={n}: there are {len(places)} rows to part")
    return KMeans(n, n_init="auto", random_state=seed).fit_predict(places)
