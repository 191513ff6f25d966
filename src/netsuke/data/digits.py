"""scikit-learn's handwritten digits: 1,797 images of 8x8, which come inside that package."""

from __future__ import annotations

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data.dataset import ArrayDataset

TEST_IMAGES = 360


def digits(path: str, split: str) -> ArrayDataset:
    """The 360 images held out ("test") or the other 1,437 ("train"), by one fixed shuffle. Images are (1, 8, 8).

    The source's grey levels 0 to 16 become 0 to 255. Raises Error if scikit-learn is not installed.
    """
    if path:
        raise Error(f"digits comes with scikit-learn and takes no path: say `digits`, not `digits:{path}`")
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise Error("digits comes with scikit-learn, which is not installed: pip install scikit-learn") from None
    source = load_digits()
    order = np.random.RandomState(0).permutation(len(source.target))  # RandomState's stream never changes
    chosen = order[:TEST_IMAGES] if split == "test" else order[TEST_IMAGES:]
    images = np.round(source.images[chosen] * (255 / 16)).astype(np.uint8)
    return ArrayDataset(f"digits {split}", tuple("0123456789"), images[:, None], source.target[chosen].astype(np.int64))
