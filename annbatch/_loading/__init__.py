"""One pass of a loader, from the rows that a sampler selects to the batches that the user gets."""
