"""Training with torch: one run of one network, the tracker that scores it, devices, augmentation, samplers."""
