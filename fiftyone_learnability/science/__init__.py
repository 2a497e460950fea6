"""The science, free of FiftyOne: scores, the tracker, networks, augmentation, one training run."""
