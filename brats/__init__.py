"""What the scripts share about the data: cases, volumes, patches, scores, pictures."""
