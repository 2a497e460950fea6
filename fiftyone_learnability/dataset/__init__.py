"""The dataset: samples and images in, fields and registered runs out."""
