"""What learns labels from features: boosted trees and logistic regression, as the Avocado paper has them (Methods)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avocado.downstream.splits import Split, random_splits, repeated_splits, whole_splits
from avocado.errors import InputError
from avocado.utils.settings import require

INNER = 3  # folds of the training loci, by which logistic regression chooses its strength


class Classifier(Protocol):
    """Learns from some loci and scores others."""

    def splits(self, n: int, groups: np.ndarray | None, seed: int) -> list[Split]:
        """Of n loci, dealt singly or, where there are groups (n,), with whole groups together."""
        ...

    def scores(self, features: np.ndarray, label: np.ndarray, split: Split) -> np.ndarray:
        """Scores (n_test,) of the loci of `split.test`: numbers, or log odds of True above those of the training loci.

        Above these, as a fold with few positives is trained with many: so the scores of several folds compare.
        features: float32 (n_loci, n_features), NaN for a missing value where the classifier takes one. label: bool or
        float (n_loci,).
        """
        ...


@dataclass(frozen=True)
class Trees:
    """XGBoost: up to 5,000 trees of depth 6, stopped when validation has not improved for 20.

    Validation is by average precision for labels of two classes, by squared error for numbers. Everything else is
    XGBoost's default. The best number of trees predicts, not the last.
    """

    folds: int = 20
    max_trees: int = 5_000
    depth: int = 6
    patience: int = 20
    threads: int = 1

    def __post_init__(self) -> None:
        require("trees", self, {"folds": 3, "max_trees": 1, "depth": 1, "patience": 1, "threads": 1})

    def splits(self, n: int, groups: np.ndarray | None, seed: int) -> list[Split]:
        """20 folds, of which the next one validates; 10 of whole groups, of which some have labels of one kind."""
        if groups is None:
            return random_splits(n, self.folds, seed)
        return whole_splits(groups, max(3, self.folds // 2), seed)

    def scores(self, features: np.ndarray, label: np.ndarray, split: Split) -> np.ndarray:
        """Scores of the test loci, see `Classifier`."""
        try:
            import xgboost
        except ImportError:
            raise InputError("boosted trees need xgboost: pip install 'avocado-imputation[latent]'") from None
        target = label.astype(np.float32)
        objective, metric = ("binary:logistic", "aucpr") if label.dtype == bool else ("reg:squarederror", "rmse")
        if metric == "aucpr" and len(np.unique(label[split.validation])) < 2:
            metric = "logloss"  # without both classes there is no average precision
        train, validation = (xgboost.DMatrix(features[rows], target[rows]) for rows in (split.train, split.validation))
        trees = xgboost.train(
            {"objective": objective, "eval_metric": metric, "max_depth": self.depth, "nthread": self.threads},
            train,
            self.max_trees,
            evals=[(validation, "validation")],
            early_stopping_rounds=self.patience,
            verbose_eval=False,
        )
        test, best = xgboost.DMatrix(features[split.test]), (0, trees.best_iteration + 1)
        found = trees.predict(test, iteration_range=best, output_margin=True)
        return found - _log_odds(label[split.train]) if label.dtype == bool else found


@dataclass(frozen=True)
class Logistic:
    """Logistic regression with 10 strengths from 1e-4 to 1e4, chosen by 3-fold cross-validation of the training loci.

    Scored 20 times by 5-fold cross-validation, with other folds each time. Features are standardised.
    """

    folds: int = 5
    repeats: int = 20
    strengths: int = 10

    def __post_init__(self) -> None:
        require("logistic", self, {"folds": 2, "repeats": 1, "strengths": 1})

    def splits(self, n: int, groups: np.ndarray | None, seed: int) -> list[Split]:
        """5 folds 20 times."""
        return repeated_splits(np.arange(n) if groups is None else groups, self.folds, self.repeats, seed)

    def scores(self, features: np.ndarray, label: np.ndarray, split: Split) -> np.ndarray:
        """Scores of the test loci, see `Classifier`. Raises ValueError for labels that are numbers."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        if label.dtype != bool:
            raise ValueError("logistic regression is for labels of two classes")
        target = label[split.train]
        if min(target.sum(), (~target).sum()) < INNER:
            return np.zeros(len(split.test))  # too few to choose a strength by: no more is known than the base rate
        scaler = StandardScaler().fit(features[split.train])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # weak penalties need not converge in 100 steps
            strength = self._strength(features[split.train], target)
            model = LogisticRegression(C=strength).fit(scaler.transform(features[split.train]), target)
        return model.decision_function(scaler.transform(features[split.test])) - model.intercept_[0]

    def _strength(self, features: np.ndarray, target: np.ndarray) -> float:
        """The strength of the highest accuracy, the first of several.

        From the strongest penalty to the weakest, each begins where the one before ended, which takes half of the time.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold
        from sklearn.preprocessing import StandardScaler

        strengths = np.logspace(-4, 4, self.strengths)
        accuracy = np.zeros(len(strengths))
        for train, test in StratifiedKFold(INNER).split(features, target):
            scaler, model = StandardScaler().fit(features[train]), LogisticRegression(warm_start=True)
            known, asked = scaler.transform(features[train]), scaler.transform(features[test])
            for number, strength in enumerate(strengths):
                model.set_params(C=strength).fit(known, target[train])
                accuracy[number] += model.score(asked, target[test])
        return float(strengths[accuracy.argmax()])


def _log_odds(label: np.ndarray) -> float:
    """Of True among labels (n,), one half of each kind added."""
    positive = label.sum() + 0.5
    return float(np.log(positive / (len(label) + 1 - positive)))
