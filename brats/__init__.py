"""What the scripts share about the data: cases, volumes, normalization, patches, scores."""
