"""What train.py and predict.py run on: batches, epochs, run folders, weights, inference."""
