# %% [markdown]
# # Downstream tasks: labels of your own
#
# **At the end you will have** an honest answer to "are the factors of use for what I want to predict?": scores of
# factors, tracks and baselines on the same folds, with whole stretches of the chromosome held out, and the features
# as a table for a model of your own.
#
# It takes the extra `latent`: `pip install "avocado-imputation[latent]"`. The demo model again:

# %%
import numpy as np
import pandas as pd

import avocado
from avocado.downstream.classifiers import Trees
from avocado.downstream.study import study
from avocado.simulation.compendium import DemoSettings

demo = avocado.simulate("demo/compendium", settings=DemoSettings(sizes=(("chr20", 1_200_000),)))
store = avocado.ingest(demo / "compendium.tsv", "demo/store", demo / "demo.chrom.sizes", ["chr20"])
run = avocado.train(store, "joint", "chr20", min_steps=300, runs="demo/runs")
model = avocado.load_model(run.model)

# %% [markdown]
# ## A table of labels
#
# `chrom`, `start`, `end`, `label` and, where labels are of cell types, `cell`. Any will do: what is expressed, what
# replicates early, what a reporter assay found. Here: which windows of 1 kb are enhancers in a cell type? In the demo
# that is known, for it was simulated; for real data it may come from an experiment.

# %%
truth = np.load(demo / "truth.npz")
enhancer = truth["state_names"].tolist().index("enhancer")
windows = np.arange(40, 1_160_000 // 1000, 2) * 1000
labels = pd.concat(
    pd.DataFrame({
        "chrom": "chr20", "start": windows, "end": windows + 1000, "cell": cell,
        "label": [(states[start // 25 : start // 25 + 40] == enhancer).mean() >= 0.25 for start in windows],
    })
    for cell, states in zip(truth["cells"], truth["states.chr20"], strict=True)
)  # fmt: skip
labels["label"] = labels["label"].astype(int)
labels.groupby("cell")["label"].agg(["size", "mean"]).round(3).T

# %% [markdown]
# ## Scores, beside what needs no model
#
# Every set of features is scored twice, on random loci and with whole stretches held out: neighbouring loci resemble
# each other, and a model that remembers places does well among random ones. *Place alone* says how much that is
# worth; *average activity* is the label that the other cell types have at the locus, and what a model of a cell type
# has to beat. Average precision of all loci together:

# %%
scored = study(
    labels, "enhancers", store, model, cells=["stem1", "blood1"], features=["own", "factors"],
    classifier=Trees(folds=5),
)  # fmt: skip
scored.summary.pivot_table("all_loci", "features", ["cell", "held_out"], sort=False).round(2)

# %% [markdown]
# `scored.summary` has intervals beside these: with a few dozen enhancers they are wide. (The same from 20 folds, as
# in the paper: `Trees()`.)
#
# ## Features for a model of your own
#
# `avocado.embed` gives means of the factors over any places; with `cell=` the states of a cell type, which differ
# between cell types as genome factors do not. Whatever you train on them: hold out chromosomes, not random rows.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

mine = labels[labels["cell"] == "stem1"]
half = mine["start"].to_numpy() < 600_000
for name, cell in (("genome factors", None), ("states of stem1", "stem1")):
    table = avocado.embed(model, mine, cell=cell)
    features = table.filter(regex="bp_").to_numpy()
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    classifier.fit(features[half], table["label"][half])
    precision = average_precision_score(table["label"][~half], classifier.predict_proba(features[~half])[:, 1])
    print(f"{name}: {features.shape[1]} features, average precision {precision:.2f} on the other half")
print(f"base rate {mine['label'][~half].mean():.2f}")

# %% [markdown]
# In a terminal: `avocado downstream labels=my.tsv model=…` writes tables, a figure and a page. [Labels of your
# own](../downstream.md) has what was measured on real data.
#
# **Next:** [a new cell type](06_new_cell_type.md)
