"""From rows and documents to batches: mixtures, packing, token blocks, the miniworld."""
