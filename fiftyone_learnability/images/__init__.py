"""Image files into one uint8 array, and the cache of decoded images. Needs no FiftyOne."""
