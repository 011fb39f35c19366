"""What linear models read out of genome factors, or out of tracks: plain functions on arrays.

Features and targets belong to the same rows, bins or genes. Rows of one group, a 5-kbp block, are never on both sides
of a fold. Features are standardised with the training rows, and penalties are chosen inside them: on a quarter of the
groups, set apart, after which the model is fitted to all of the training rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

PENALTIES = (1e-2, 1.0, 1e2, 1e3, 1e4, 1e5, 1e6)  # of ridge regression on standardised features
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # of logistic regression: inverse penalties
RARE = 20  # states with fewer bins are left out


def bin_factors(f25: np.ndarray, f250: np.ndarray, f5k: np.ndarray) -> np.ndarray:
    """All genome factors of every bin (blocks, 200, f25 + f250 + f5k) from the three parts of `model.split_block`."""
    parts = [part.repeat(f25.shape[1] // part.shape[1], axis=1) for part in (f25, f250, f5k)]
    return np.concatenate(parts, axis=2)


def group_folds(groups: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """The fold of every row (n,): groups are dealt out at random, as many to each fold. ValueError for fewer groups."""
    names, number = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise ValueError(f"{len(names)} groups for {folds} folds")
    return (np.random.default_rng(seed).permutation(len(names)) % folds)[number]


def r2(observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of the variance that is explained, of each column (n_targets,); nan where a column is constant."""
    total = ((observed - observed.mean(axis=0)) ** 2).sum(axis=0)
    error = ((observed - predicted) ** 2).sum(axis=0)
    return 1 - error / np.where(total > 0, total, np.nan)


def readout_r2(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    folds: int = 5,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
) -> np.ndarray:
    """Cross-validated R² of ridge regression (n_targets,), each target with a penalty of its own in every fold.

    features (n, n_features), targets (n, n_targets), groups (n,). Predictions of all folds are scored together.
    """
    fold = group_folds(groups, folds, seed)
    predicted = np.empty(targets.shape)
    for number in range(folds):
        train, test = fold != number, fold == number
        predicted[test] = _ridge(features[train], targets[train], groups[train], features[test], seed, penalties)
    return r2(targets, predicted)


def transfer_r2(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    elsewhere: np.ndarray,
    targets_elsewhere: np.ndarray,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
) -> np.ndarray:
    """R² (n_targets,) of ridge regression that is fitted in one place and applied to the features of another."""
    return r2(targets_elsewhere, _ridge(features, targets, groups, elsewhere, seed, penalties))


def state_scores(
    features: np.ndarray,
    states: np.ndarray,
    groups: np.ndarray,
    folds: int = 5,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
) -> tuple[float, float]:
    """Cross-validated balanced accuracy and macro average precision of a ridge classifier of states (n,).

    All states weigh the same. Those with fewer than RARE bins or in fewer groups than folds are left out; nan, nan
    where only one stays.
    """
    from sklearn.metrics import average_precision_score, balanced_accuracy_score
    from sklearn.utils.class_weight import compute_sample_weight

    names, number, count = np.unique(states, return_inverse=True, return_counts=True)
    in_groups = np.array([len(np.unique(groups[number == state])) for state in range(len(names))])
    kept = ((count >= RARE) & (in_groups >= folds))[number]
    features, groups = features[kept], groups[kept]
    names, number = np.unique(states[kept], return_inverse=True)
    if len(names) < 2:
        return np.nan, np.nan
    is_state = np.eye(len(names))[number]
    fold = group_folds(groups, folds, seed)
    decision = np.empty(is_state.shape)
    for k in range(folds):
        train, test = fold != k, fold == k
        weights = compute_sample_weight("balanced", number[train])
        decision[test] = _ridge(
            features[train], is_state[train], groups[train], features[test], seed, penalties, weights, together=True
        )
    precisions = [average_precision_score(of, scores) for of, scores in zip(is_state.T, decision.T, strict=True)]
    return float(balanced_accuracy_score(number, decision.argmax(axis=1))), float(np.mean(precisions))


def expression_score(features: np.ndarray, expressed: np.ndarray, folds: int = 5, seed: int = 0) -> float:
    """Cross-validated average precision of logistic regression: which genes are expressed, bool (n_genes,).

    Genes are dealt to folds so that each has as large a share of expressed ones. nan with fewer than two genes of a
    kind for each fold. A score that says nothing is the share of expressed genes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(expressed.sum(), (~expressed).sum()) < 2 * folds:
        return np.nan
    score = np.empty(len(expressed))
    grid = {"logisticregression__C": list(STRENGTHS)}
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, expressed):
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
        inner = StratifiedKFold(3, shuffle=True, random_state=seed)
        search = GridSearchCV(model, grid, scoring="average_precision", cv=inner)
        with warnings.catch_warnings():
            # weak penalties that are not chosen need not converge
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(features[train], expressed[train])
        score[test] = search.predict_proba(features[test])[:, 1]
    return float(average_precision_score(expressed, score))


def _ridge(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    elsewhere: np.ndarray,
    seed: int,
    penalties: Sequence[float],
    weights: np.ndarray | None = None,
    together: bool = False,
) -> np.ndarray:
    """Predictions (n, n_targets) for the rows of `elsewhere`; together: one penalty for all targets."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    # in double precision: of several hundred factors, which resemble each other, single precision leaves few digits
    features, elsewhere = (np.asarray(scaler.transform(rows), dtype=np.float64) for rows in (features, elsewhere))
    apart = group_folds(groups, 4, seed + 1) == 0
    of_training = None if weights is None else weights[~apart]
    errors = []
    for penalty in penalties:
        ridge = Ridge(penalty, solver="cholesky").fit(features[~apart], targets[~apart], sample_weight=of_training)
        error = (ridge.predict(features[apart]).reshape(targets[apart].shape) - targets[apart]) ** 2
        errors.append(np.average(error, axis=0, weights=None if weights is None else weights[apart]))
    table = np.array(errors)
    if together:
        table = np.tile(table.mean(axis=1, keepdims=True), (1, table.shape[1]))
    best = np.array(penalties)[table.argmin(axis=0)]
    ridge = Ridge(best, solver="cholesky")  # pyright: ignore[reportArgumentType]
    ridge.fit(features, targets, sample_weight=weights)
    return ridge.predict(elsewhere).reshape(len(elsewhere), -1)
