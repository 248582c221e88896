"""
Which learning rate and width?
==============================

scikit-learn's search reaches every parameter of every part. Two of them matter first:
the learning rate, and the width of the encoder.
"""

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN
from skgnn_mtl.model_selection import LabelPresenceKFold

N_MOLECULES = 500
MAX_EPOCHS = 15
LRS = [3e-4, 1e-3, 3e-3, 1e-2]
WIDTHS = [16, 64, 128]

smiles, y = load_physchem(return_X_y=True)
X, y = SmilesToGraph().fit_transform(smiles[:N_MOLECULES]), y[:N_MOLECULES]

# %%
# The search
# ----------
# ``encoder__width`` is the width of the encoder. The score of the estimator is the mean
# of R2 over the tasks, each on its labelled rows.

search = GridSearchCV(
    MultiTaskGNNRegressor(GIN(), max_epochs=MAX_EPOCHS, random_state=0),
    {"lr": LRS, "encoder__width": WIDTHS},
    cv=LabelPresenceKFold(2, random_state=0),
    refit=False,
).fit(X, y)
print(search.best_params_, round(search.best_score_, 3))

# %%
# The answer
# ----------
# A narrow network needs a larger rate. The best cell lies inside of the grid or at its
# edge; at an edge, search on.

# The last parameter by name, lr, changes fastest.
scores = search.cv_results_["mean_test_score"].reshape(len(WIDTHS), len(LRS))
figure, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
image = ax.imshow(scores, cmap="viridis", vmin=max(scores.min(), 0), aspect="auto")
for row, values in enumerate(scores):
    for column, value in enumerate(values):
        colour = "black" if value > 0.75 * scores.max() else "white"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
ax.set_xticks(range(len(LRS)), [f"{lr:g}" for lr in LRS])
ax.set_yticks(range(len(WIDTHS)), WIDTHS)
ax.set(
    title=f"R2 after {MAX_EPOCHS} epochs, mean over tasks and folds",
    xlabel="learning rate",
    ylabel="width of the encoder",
)
figure.colorbar(image, label="R2 (1 is perfect)")
plt.show()
